"""Variants that branch off at a layer equal their own whole passes, in every family."""

import mlx.core as mx
import numpy as np
import pytest
from architectures import CONFIGS
from checkpoints import unit_vector
from scipy.special import log_softmax

from circuit.errors import ModelError
from circuit.model.checkpoint.taps import Tap, tapped
from circuit.model.forward import teacher_forcing as forced
from circuit.model.forward.branches import Variant, branched, keeping_states, unchanged
from circuit.model.forward.scopes import parse_scope
from circuit.model.forward.teacher_forcing import (
    Text,
    answer_log_probs,
    divergences,
    predictions,
    variant_predictions,
)
from circuit.model.interventions.edits import Edit, edited, edited_variant
from circuit.model.interventions.steering import Steering, steered, steered_variant
from circuit.model.sites.sites import why_absent
from circuit.values.sites import Site

RNG = np.random.default_rng(1)
# Longer than the sliding windows of the small checkpoints, and of unequal length.
TEXTS = [
    Text(RNG.integers(0, 256, n).astype(np.int32), start)
    for n, start in ((14, 9), (21, 20), (6, 1), (17, 11), (14, 3))
]


def push(model, layer, site="resid_post", coefficient=0.6, seed=0, **more):
    return Steering(Site(site, layer), unit_vector(model.d_model, seed), coefficient, **more)


def assert_close(ours, theirs):
    scale = max(float(np.abs(each.log_probs).max(initial=0)) for each in theirs)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.log_probs, b.log_probs, rtol=1e-5, atol=1e-5 * scale)


def under(model, steerings, texts=TEXTS):
    """Return the predictions of whole passes, each of them steered from the first block on."""
    with steered(model, steerings):
        return predictions(model, texts)


@pytest.mark.parametrize("family", sorted(CONFIGS))
def test_every_family_branches_at_every_layer(of, family):
    model = of(family)
    last = model.n_layers - 1
    several = [
        *([push(model, layer, seed=layer)] for layer in range(model.n_layers)),
        [push(model, 0, "resid_pre", -0.4)],
        [push(model, last, "resid_pre", 0.4, operator="ablate")],
        [push(model, 1, seed=5), push(model, last, seed=6)],
        [],
        [push(model, 1, coefficient=-1.2)],
    ]
    found = variant_predictions(model, TEXTS, [steered_variant(model, s) for s in several])
    for steerings, ours in zip(several, found, strict=True):
        assert_close(ours, under(model, steerings))


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "mixtral", "cohere"])
@pytest.mark.parametrize("site", ["attn_out", "mlp_out", "z", "mlp_act", "resid_pre"])
def test_sites_inside_a_block_branch_below_it(of, family, site):
    model = of(family)
    if (why := why_absent(model, site, 2)) is not None:
        pytest.skip(why)
    several = [
        [Edit(Site(site, layer), lambda h, f=factor: h * f)]
        for layer in (0, 2)
        for factor in (0.0, 0.5, 2.0)
    ]
    found = variant_predictions(model, TEXTS, [edited_variant(model, edits) for edits in several])
    for edits, ours in zip(several, found, strict=True):
        with edited(model, edits):
            assert_close(ours, predictions(model, TEXTS))


@pytest.mark.parametrize("scope", ["prompt", "generated", "last:2"])
@pytest.mark.parametrize("operator", ["add", "clamp", "angular"])
def test_each_variant_has_its_own_scope_operator_and_dose(llama, scope, operator):
    several = [
        [push(llama, 1, coefficient=c, operator=op, scope=parse_scope(tokens), seed=k)]
        for k, (c, op, tokens) in enumerate(
            [(0.5, operator, scope), (-0.7, operator, scope), (0.5, "preserve", "all")]
        )
    ]
    found = variant_predictions(llama, TEXTS, [steered_variant(llama, s) for s in several])
    for steerings, ours in zip(several, found, strict=True):
        assert_close(ours, under(llama, steerings))


@pytest.mark.parametrize("numbers", [263 * 12, 2**25])
def test_batches_are_cut_alike_whatever_fits(llama, monkeypatch, numbers):
    monkeypatch.setattr(forced, "HEAD_NUMBERS", numbers)
    variants = [steered_variant(llama, [push(llama, 1, seed=k)]) for k in range(40)]
    found = variant_predictions(llama, TEXTS, variants)
    for k in (0, 17, 39):
        assert_close(found[k], under(llama, [push(llama, 1, seed=k)]))


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "mixtral", "qwen3_next"])
def test_divergences_are_those_of_two_whole_passes(of, family):
    model = of(family)
    several = [[push(model, layer, coefficient=c)] for layer in (0, 2) for c in (0.3, -2.0)]
    found = divergences(model, TEXTS, [steered_variant(model, s) for s in several])
    for steerings, ours in zip(several, found, strict=True):
        for text, one in zip(TEXTS, ours, strict=True):
            base = whole(model, text)
            with steered(model, steerings):
                moved = whole(model, text)
            kl = (np.exp(moved) * (moved - base)).sum(axis=-1)
            np.testing.assert_allclose(one.kl, kl, rtol=1e-4, atol=1e-5)


def whole(model, text):
    logits = np.array(model.network(mx.array(text.ids[None])))[0, text.start - 1 : -1]
    return log_softmax(logits.astype(np.float64), axis=-1)


def test_answers_of_several_tokens_are_read_under_each_variant(llama):
    prompts, answers = [text.ids for text in TEXTS], [[[7], [8, 9], [8, 10]]] * len(TEXTS)
    several = [[push(llama, 1, seed=k)] for k in range(3)]
    found = answer_log_probs(llama, prompts, answers, [steered_variant(llama, s) for s in several])
    for steerings, ours in zip(several, found, strict=True):
        with steered(llama, steerings):
            (theirs,) = answer_log_probs(llama, prompts, answers, [unchanged(llama)])
        np.testing.assert_allclose(np.array(ours), np.array(theirs), rtol=1e-5)


def test_blocks_below_the_branch_are_not_computed(llama):
    ids = mx.array([[1, 2, 3, 4]])
    with keeping_states(llama, [2]) as states:
        expected = llama.network(ids)
    poisoned = Tap(llama.blocks[0], after=lambda h: h * mx.array(np.nan))
    with tapped([poisoned]), branched(llama, [Variant((), 2)], states[2]):
        np.testing.assert_array_equal(np.array(llama.network(ids)), np.array(expected))
    assert sorted(states) == [2]


def test_a_tap_of_a_variant_that_does_not_fire_is_an_error(llama):
    import mlx.nn as nn

    stray = Tap(nn.Linear(2, 2), after=lambda h: h, name="elsewhere")
    one = steered_variant(llama, [push(llama, 1)])
    with pytest.raises(ModelError, match="never ran"):
        variant_predictions(llama, TEXTS, [one, Variant((stray,), 2)])


def test_the_lowest_of_several_interventions_is_where_a_variant_branches(llama):
    depths = [
        steered_variant(llama, steerings).depth
        for steerings in (
            [push(llama, 2), push(llama, 1)],
            [push(llama, 0)],
            [push(llama, 0, "resid_pre")],
            [push(llama, 0, coefficient=0), push(llama, 2, "resid_pre")],
            [],
        )
    ]
    assert depths == [2, 1, 0, 2, llama.n_layers]
    edits = [Edit(Site("z", 2), lambda h: h), Edit(Site("attn_out", 1), lambda h: h)]
    assert edited_variant(llama, edits).depth == 1
