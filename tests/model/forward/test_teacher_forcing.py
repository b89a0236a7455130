"""Log-probabilities and divergences of given text equal what one whole pass a text gives."""

import mlx.core as mx
import numpy as np
import pytest
from architectures import CONFIGS
from checkpoints import unit_vector
from scipy.special import log_softmax

from circuit.model.forward import teacher_forcing as forced
from circuit.model.forward.branches import unchanged
from circuit.model.forward.teacher_forcing import (
    Text,
    answer_log_probs,
    divergences,
    predictions,
    token_log_probs,
)
from circuit.model.interventions.edits import Edit, edited
from circuit.model.interventions.steering import Steering, steered, steered_variant
from circuit.values.sites import Site

RNG = np.random.default_rng(0)
TEXTS = [
    Text(RNG.integers(0, 256, n).astype(np.int32), start)
    for n, start in ((6, 2), (9, 9 - 1), (4, 1), (12, 5))
]


def log_p(model, ids):
    return log_softmax(np.array(model.network(mx.array(ids[None])))[0].astype(np.float64), axis=-1)


def test_log_probs_of_padded_batches_equal_single_passes(llama, monkeypatch):
    expected = []
    for text in TEXTS:
        full = log_p(llama, text.ids)
        expected.append([full[t - 1, text.ids[t]] for t in range(text.start, len(text.ids))])
    for numbers in (forced.HEAD_NUMBERS, 263 * 12):  # and with one row a batch
        monkeypatch.setattr(forced, "HEAD_NUMBERS", numbers)
        for ours, theirs in zip(token_log_probs(llama, TEXTS), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=2e-5)


@pytest.mark.parametrize("family", sorted(CONFIGS))
def test_only_what_is_read_goes_through_the_head_of_any_family(of, family):
    model = of(family)
    for text, ours in zip(TEXTS[:2], predictions(model, TEXTS[:2]), strict=True):
        full = log_p(model, text.ids)[text.start - 1 :]
        after = text.ids[text.start :]
        np.testing.assert_allclose(ours.log_probs, full[np.arange(len(after)), after], atol=5e-5)
        likely = full[np.arange(len(full)), ours.top1]
        np.testing.assert_allclose(likely, full.max(axis=-1), atol=5e-5)


def test_a_prompt_without_an_answer_says_what_would_follow(llama):
    texts = [Text(text.ids[: text.start], text.start) for text in TEXTS]
    for text, ours in zip(texts, predictions(llama, texts), strict=True):
        assert ours.log_probs.shape == (0,)
        assert ours.top1.tolist() == [log_p(llama, text.ids)[-1].argmax()]


def test_what_is_not_a_number_is_nobodys_likeliest(llama):
    with edited(llama, [Edit(Site("resid_post", 2), lambda h: h * mx.array(np.nan))]):
        for ours in predictions(llama, TEXTS):
            assert set(ours.top1.tolist()) == {-1}


def test_divergence_is_the_formula_and_zero_without_an_intervention(llama):
    steerings = [Steering(Site("resid_post", 1), unit_vector(llama.d_model), 2.0)]
    (found,) = divergences(llama, TEXTS, [steered_variant(llama, steerings)])
    for text, one in zip(TEXTS, found, strict=True):
        base = log_p(llama, text.ids)[text.start - 1 : -1]
        with steered(llama, steerings):
            moved = log_p(llama, text.ids)[text.start - 1 : -1]
        np.testing.assert_allclose(one.kl, (np.exp(moved) * (moved - base)).sum(-1), atol=2e-5)
        assert one.agree.tolist() == (moved.argmax(-1) == base.argmax(-1)).tolist()
        assert len(one.kl) == len(text.ids) - text.start
    for one in divergences(llama, TEXTS, [unchanged(llama)])[0]:
        assert not one.kl.any()
        assert one.agree.all()


def test_answers_are_summed_over_their_tokens(llama):
    prompts = [RNG.integers(0, 256, n).astype(np.int32) for n in (5, 3)]
    answers = [[[7], [8, 9], [8, 10], [8, 9, 11]], [[1], [2], [3, 4, 5]]]
    (found,) = answer_log_probs(llama, prompts, answers, [unchanged(llama)])
    for prompt, listed, ours in zip(prompts, answers, found, strict=True):
        for answer, value in zip(listed, ours, strict=True):
            full = log_p(llama, np.concatenate([prompt, answer]).astype(np.int32))
            wanted = sum(full[len(prompt) - 1 + i, token] for i, token in enumerate(answer))
            np.testing.assert_allclose(value, wanted, atol=2e-5)
