"""Similarity of prompts: cosines of the states; planted labels are found, random ones are not."""

import mlx.core as mx
import numpy as np
import pytest
from errors import raises

from circuit.errors import UsageError
from circuit.introspect.attention.attended import attended
from circuit.introspect.inputs.per_prompt import labels_of
from circuit.introspect.questions.layer import layer_similarity
from circuit.methods.geometry.label_similarity import separation
from circuit.methods.geometry.similarity import cosine_matrix
from circuit.model.forward.token_states import token_states
from circuit.model.sites.sites import hidden_states
from circuit.stages.rows.prompt_input import PromptInput
from circuit.stages.rows.prompting import encode
from circuit.values.prompt_format import RAW
from circuit.values.sites import Site

TEXTS = ["1 + 1 = ", "1 + 1 =", "Hello"]


def test_cosines_are_those_of_the_states(llama):
    found = layer_similarity(llama, PromptInput(TEXTS), ["a", "b", "b"], layers="0,2")
    for layer in found.layers:
        site = Site("resid_post", layer.layer)
        states = np.stack(
            [
                np.array(hidden_states(llama, mx.array(p.ids[None]), [site])[site])[0, -1]
                for p in encode(llama, TEXTS, RAW)
            ]
        )
        np.testing.assert_allclose(layer.matrix, cosine_matrix(states), atol=1e-4)
        centred = cosine_matrix(states - states.mean(axis=0))
        np.testing.assert_allclose(layer.centred_matrix, centred, atol=1e-3)
        assert layer.raw.within[0] == pytest.approx(layer.matrix[1][2], abs=1e-6)
        between = np.mean([layer.matrix[0][1], layer.matrix[0][2]])
        assert layer.raw.between == [pytest.approx(between, abs=1e-6), None, None]
        assert layer.raw.p is None


def test_two_prompts_have_no_centred_cosine(llama):
    (layer, *_) = layer_similarity(llama, PromptInput(TEXTS[:2]), ["a", "b"]).layers
    assert (layer.centred, layer.raw.within) == (None, None)


def planted(rng, gap, n=20, d=30):
    y = np.arange(n) % 2
    rows = rng.standard_normal((n, d)) + gap * y[:, None] * np.eye(d)[0]
    return cosine_matrix(rows - rows.mean(axis=0)), ["ab"[k] for k in y], [str(i) for i in range(n)]


def test_planted_labels_separate_and_none_do_not():
    found = separation(*planted(np.random.default_rng(0), 8.0))
    assert found.p < 0.01
    assert found.separation[1] > 0
    null = [separation(*planted(np.random.default_rng(s), 0.0), n_boot=200) for s in range(40)]
    assert np.mean([each.p < 0.05 for each in null]) < 0.2
    assert np.mean([each.separation[1] > 0 for each in null]) < 0.2


def test_a_row_drawn_twice_is_no_pair_with_itself():
    """With all similarities of different rows equal every resample gives that number."""
    S = np.full((6, 6), 0.25)
    np.fill_diagonal(S, 1)
    found = separation(S, list("aaabbb"), list("abcdef"))
    assert found.within == [0.25, 0.25, 0.25]
    assert found.separation == [0, 0, 0]


def test_attention_of_the_last_token(llama):
    (prompt,) = encode(llama, ["Hello"], RAW)
    site = Site("attn_pattern", 1)
    whole = np.array(hidden_states(llama, mx.array(prompt.ids[None]), [site])[site])[0, -1]
    found = token_states(llama, prompt.ids.tolist(), [], last=[site])[site][-1]
    np.testing.assert_allclose(found, whole, atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    said = attended(1, found, list("sHello"), top=6)
    assert said.first == pytest.approx(whole[:, 0].mean(), abs=1e-5)
    assert (said.previous, said.itself) == pytest.approx(whole[:, -2:].mean(axis=0), abs=1e-5)
    assert sum(weight for _, _, weight in said.top) == pytest.approx(1, abs=1e-4)
    uniform = attended(0, np.full((2, 4), 0.25), list("abcd"))
    assert uniform.entropy == pytest.approx(np.log(4))


def test_labels_as_they_are_given(llama):
    assert labels_of(PromptInput(["a", "b"]), "x, y") == ["x", "y"]
    assert labels_of(PromptInput(["a", "b"]), None) == ["0", "1"]
    for labels in ("x", "x,y,z"):
        with raises(UsageError, "labels-per-prompt", n=2):
            labels_of(PromptInput(["a", "b"]), labels)
    with raises(UsageError, "empty-label"):
        labels_of(PromptInput(["a", "b"]), "x,")
    with raises(UsageError, "too-few-prompts", n=1):
        layer_similarity(llama, PromptInput(["a"]), ["x"])


def test_two_groups_a_label_make_no_interval():
    """A resample that draws one group for all of a label has no pair within it."""
    S, labels = planted(np.random.default_rng(0), 8.0, n=4)[:2]
    few = separation(S, labels, ["0", "1", "2", "3"])
    for mean in (few.within, few.between, few.separation):
        assert mean[0] is not None
        assert mean[1:] == [None, None]
    S, labels, groups = planted(np.random.default_rng(0), 8.0, n=10)
    assert None not in separation(S, labels, groups).separation
