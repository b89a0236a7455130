"""A scope touches its tokens and no others, in whole passes and in generation with a cache, in batches and alone."""

import mlx.core as mx
import numpy as np
import pytest
from checkpoints import unit_vector
from errors import raises

from circuit.errors import ModelError, UsageError
from circuit.model.forward.generate import generate, stream
from circuit.model.forward.scopes import ALL, parse_scope, prompt_lengths, tokens_in_scope
from circuit.model.forward.teacher_forcing import Text, token_log_probs
from circuit.model.interventions.steering import Steering, is_scoped, steered
from circuit.model.prompts.tokens import encode_prompts
from circuit.model.sites.sites import hidden_states
from circuit.values.sampling import Sampling
from circuit.values.sites import Site

SCOPES = ("all", "prompt", "generated", "last:2")
TEXTS = ["Hello", "A longer prompt than that", "x", "Hello there", "yz"]


def inside(scope, n, start):
    at = np.arange(n)
    return {
        "all": at >= 0,
        "prompt": at < start,
        "generated": at >= start,
        "last:2": (at < start) & (at >= start - 2),
    }[scope]


@pytest.mark.parametrize("scope", SCOPES)
def test_whole_passes(identity_llama, scope):
    model, v = identity_llama, unit_vector(identity_llama.d_model)
    ids, starts, site = mx.array([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]]), [3, 4], Site("resid_post", 0)
    plain = np.array(hidden_states(model, ids, [site])[site])
    with (
        steered(model, [Steering(Site("resid_post", 0), v, 0.5, scope=parse_scope(scope))]),
        prompt_lengths(model, starts),
    ):
        moved = np.array(hidden_states(model, ids, [site])[site])
    where = np.stack([inside(scope, 5, start) for start in starts])
    assert np.array_equal(moved[~where], plain[~where])
    expected = plain + 0.5 * np.linalg.norm(plain, axis=-1, keepdims=True) * v
    np.testing.assert_allclose(moved[where], expected[where], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("site", ["resid_post", "resid_pre"])
@pytest.mark.parametrize("scope", SCOPES)
def test_generation_equals_whole_passes(llama, scope, site):
    """Token by token without a cache, with the mask made by hand; in a batch, alone, and streamed."""
    layers = [0, 2]  # the last block, too: the pass is counted after it
    v, scoped = unit_vector(llama.d_model), parse_scope(scope)
    steerings = [Steering(Site(site, layer), v, 1.5, scope=scoped) for layer in layers]
    prompts = encode_prompts(llama, TEXTS)
    with steered(llama, steerings):
        together = generate(llama, prompts, Sampling(5), in_step=is_scoped(steerings))
        alone = [generate(llama, [p], Sampling(5), in_step=True)[0] for p in prompts]
        streamed = [list(stream(llama, p, Sampling(5))) for p in prompts]
        by_hand = [whole_passes(llama, prompt.ids.tolist(), 5) for prompt in prompts]
    assert [one.ids for one in together] == [one.ids for one in alone] == by_hand
    assert [[i for piece in pieces for i in piece.ids] for pieces in streamed] == by_hand
    assert ["".join(piece.text for piece in pieces) for pieces in streamed] == [
        one.text for one in together
    ]


def whole_passes(model, ids, n):
    start = len(ids)
    for _ in range(n):
        with prompt_lengths(model, [start]):
            ids = [*ids, int(mx.argmax(model.network(mx.array([ids]))[0, -1]))]
    return ids[start:]


def test_scopes_differ(llama):
    prompts = encode_prompts(llama, TEXTS)

    def answers(scope):
        with steered(
            llama,
            [
                Steering(
                    Site("resid_post", 1), unit_vector(llama.d_model), 3.0, scope=parse_scope(scope)
                )
            ],
        ):
            return [one.ids for one in generate(llama, prompts, Sampling(6), in_step=True)]

    assert len({str(answers(scope)) for scope in SCOPES}) == len(SCOPES)


def test_small_batches_in_step_are_the_same(llama):
    prompts = encode_prompts(llama, TEXTS)
    with steered(
        llama,
        [
            Steering(
                Site("resid_post", 1), unit_vector(llama.d_model), 3.0, scope=parse_scope("prompt")
            )
        ],
    ):
        whole, pairs = (
            [one.ids for one in generate(llama, prompts, batch_size=n, in_step=True)]
            for n in (32, 2)
        )
    assert whole == pairs


def test_a_scope_needs_to_know_where_prompts_end(llama):
    with steered(
        llama,
        [
            Steering(
                Site("resid_post", 0), unit_vector(llama.d_model), 1.0, scope=parse_scope("prompt")
            )
        ],
    ):
        with raises(ModelError, "prompt-lengths-unknown"):
            llama.network(mx.array([[1, 2]]))
    assert tokens_in_scope(ALL, 3) is True


def test_generated_tokens_alone_leave_the_first_choice_alone(llama):
    text = Text(np.array([3, 1, 4, 1, 5, 9], np.int32), 3)
    plain = token_log_probs(llama, [text])[0]
    with steered(
        llama,
        [
            Steering(
                Site("resid_post", 1),
                unit_vector(llama.d_model),
                3.0,
                scope=parse_scope("generated"),
            )
        ],
    ):
        moved = token_log_probs(llama, [text])[0]
    assert moved[0] == plain[0]
    assert (moved[1:] != plain[1:]).all()


@pytest.mark.parametrize("text", ["last", "last:0", "last:x", "first", "", "prompt:1"])
def test_other_scopes_are_refused(text):
    with raises(UsageError, "unknown-scope", scope=text):
        parse_scope(text)
    assert str(parse_scope("last:3")) == "last:3"
