"""Taps change nothing unless asked to, and leave nothing behind."""

import threading

import mlx.core as mx
import numpy as np
import pytest
from errors import raises

from circuit.errors import ModelError
from circuit.model.checkpoint.taps import Tap, past_taps, tapped

IDS = mx.array([[3, 1, 4, 1, 5]])


def test_logits_are_bit_identical_under_taps(llama):
    plain = np.array(llama.network(IDS))
    with tapped([Tap(b, before=lambda h: h, after=lambda h: h) for b in llama.blocks]):
        assert np.array_equal(np.array(llama.network(IDS)), plain)
    assert np.array_equal(np.array(llama.network(IDS)), plain)


def test_classes_are_restored_also_after_an_exception(llama):
    before = [type(block) for block in llama.blocks]
    with (
        pytest.raises(ZeroDivisionError),
        tapped([Tap(b, after=lambda h: h) for b in llama.blocks]),
    ):
        assert [type(block) for block in llama.blocks] != before
        raise ZeroDivisionError
    assert [type(block) for block in llama.blocks] == before
    assert all("_circuit_taps" not in block.__dict__ for block in llama.blocks)


def test_parameters_and_isinstance_survive(llama):
    block = llama.blocks[0]
    names = sorted(block.parameters())
    with tapped([Tap(block, after=lambda h: h)]):
        llama.network(IDS)
        assert sorted(block.parameters()) == names
        assert isinstance(block, type(llama.blocks[1]))


def test_taps_nest_and_the_inner_ones_see_what_the_outer_ones_did(llama):
    seen = []
    outer = Tap(llama.blocks[1], after=lambda h: h + 1)
    inner = Tap(llama.blocks[1], after=lambda h: seen.append(h) or h)
    plain = []
    with tapped([Tap(llama.blocks[1], after=lambda h: plain.append(h) or h)]):
        llama.network(IDS)
    with tapped([outer]), tapped([inner]):
        llama.network(IDS)
    assert np.array_equal(np.array(seen[0]), np.array(plain[0] + 1))


def test_a_tap_that_did_not_fire_is_an_error(llama):
    with raises(ModelError, "module-not-run", module="resid_post.7"):
        with tapped([Tap(llama.blocks[0], after=lambda h: h, name="resid_post.7")]):
            pass


def test_a_tap_may_run_its_own_module_past_the_taps(llama):
    block, inputs, outputs = llama.blocks[0].mlp, [], []

    def twice(hidden):
        inputs.append(hidden)
        outputs.append(past_taps(block)(hidden))
        return hidden

    with tapped([Tap(block, before=twice)]):
        llama.network(IDS)
    assert len(inputs) == 1
    assert np.array_equal(np.array(outputs[0]), np.array(block(inputs[0])))
    assert np.array_equal(np.array(past_taps(block)(inputs[0])), np.array(outputs[0]))


def test_a_tap_sees_only_its_own_thread(llama):
    seen, other = [], []

    def elsewhere():
        with tapped([Tap(llama.blocks[0], after=lambda h: other.append(h) or h)]):
            llama.network(mx.array([[7]]))

    with tapped([Tap(llama.blocks[0], after=lambda h: seen.append(h) or h)]):
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert not seen
        llama.network(IDS)
    assert [h.shape for h in seen + other] == [(1, 5, 32), (1, 1, 32)]
    assert "_circuit_taps" not in llama.blocks[0].__dict__
