"""Heads made to look somewhere are found there; scores of even attention are what counting gives; patterns are the model's."""

import numpy as np
import pytest
from errors import raises

from circuit.errors import UsageError
from circuit.introspect.attention.head_scores import patterns, repeated_tokens
from circuit.introspect.inputs.choices import parse_numbers
from circuit.introspect.questions.attention import (
    attention,
    draw_attention,
    present,
)
from circuit.methods.geometry.head_patterns import SCORES, head_scores, uniform
from circuit.present.terminal import terminal
from circuit.stages.rows.prompt_input import PromptInput
from circuit.stages.rows.prompting import encode
from circuit.values.prompt_format import RAW

TOKENS = [5, 7, 9, 5, 7, 9]


def looking(key_of):
    """A pattern (6, 1, 6) whose query t looks at key_of(t) alone."""
    pattern = np.zeros((6, 1, 6))
    for t in range(6):
        pattern[t, 0, key_of(t)] = 1
    return pattern


@pytest.mark.parametrize(
    ("name", "key_of"),
    [
        ("previous", lambda t: max(t - 1, 0)),
        ("first", lambda _: 0),
        ("self", lambda t: t),
        ("duplicate", lambda t: max(t - 3, 0)),
        ("induction", lambda t: max(t - 2, 0)),
    ],
)
def test_a_head_of_each_kind_scores_one(name, key_of):
    scores = {k: float(v[0]) for k, v in head_scores(looking(key_of), TOKENS).items()}
    assert set(scores) == set(SCORES)
    assert scores[name] == 1
    assert scores["entropy"] == 0
    others = {k: v for k, v in scores.items() if k not in (name, "entropy")}
    assert max(others.values()) < 0.7


def test_even_attention():
    even = uniform(TOKENS)
    assert even["entropy"] == pytest.approx(1)
    assert even["previous"] == even["first"] == pytest.approx(np.mean(1 / np.arange(2, 7)))
    assert even["duplicate"] == even["induction"] == pytest.approx(np.mean(1 / np.arange(4, 7)))
    assert np.isnan(uniform([1, 2, 3])["induction"])


def test_a_planted_head_attends_evenly_and_all_heads_are_scored(chain, tmp_path):
    found = attention(chain, PromptInput(["xay.", "hello"]), layers=[0, 2], heads=[(0, 1)])
    one = {s.score: s for s in found.scores if (s.layer, s.head) == (0, 1)}
    for name in SCORES:
        assert one[name].value == pytest.approx(found.uniform[name], abs=1e-5)
    assert one["induction"].interval is not None
    assert {(s.layer, s.head) for s in found.scores} == {(k, h) for k in (0, 2) for h in range(4)}
    weights = np.array(found.patterns[0][0].weights)
    np.testing.assert_allclose(
        weights, np.tril(np.ones((5, 5))) / np.arange(1, 6)[:, None], atol=1e-6
    )
    draw_attention(found, tmp_path / "patterns.png")
    text = terminal(present(found))
    assert "Patterns of L0.H1" in text
    assert "the picture those of 'xay.'" in text
    assert "2 independent prompts: an example" in text
    draw_attention(attention(chain, PromptInput(["xay."]), layers=[0]), tmp_path / "scores.png")


def test_patterns_are_rows_of_the_model_and_sequences_are_said_twice(llama):
    (prompt,) = encode(llama, ["Hello"], RAW)
    found = patterns(llama, prompt.ids, [1])[1]
    np.testing.assert_allclose(found.sum(axis=2), 1, atol=1e-5)
    assert not np.triu(found[:, 0], 1).any()
    for ids in repeated_tokens(llama, 3, n=2, length=5):
        assert len(ids) == 11
        np.testing.assert_array_equal(ids[1:6], ids[6:])
        assert len(set(ids.tolist())) == 6
    assert [a.tolist() for a in repeated_tokens(llama, 3)] == [
        a.tolist() for a in repeated_tokens(llama, 3)
    ]


def test_a_layer_of_a_head_counts_from_the_end(llama):
    last, first = (
        attention(llama, PromptInput(["abc"]), layers=[0], heads=[(layer, 1)]).patterns
        for layer in (-1, llama.n_layers - 1)
    )
    assert last == first
    assert last[0][0].layer == llama.n_layers - 1


def test_heads_that_there_are_not(llama):
    assert parse_numbers("head", "3.0, -1.2") == [(3, 0), (-1, 2)]
    for bad in ("3", "a.b", "1."):
        with raises(UsageError, "not-a-head"):
            parse_numbers("head", bad)
    for head, code in (((0, 4), "component-out-of-range"), ((3, 0), "layer-out-of-range")):
        with raises(UsageError, code):
            attention(llama, PromptInput(["a"]), layers=[0], heads=[head])


@pytest.mark.parity
@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "gemma3_text", "gpt2"])
def test_patterns_equal_the_attentions_of_transformers(family, tmp_path):
    torch = pytest.importorskip("torch")
    from torch_pairs import make_pair

    theirs, ours = make_pair(family, tmp_path)
    theirs.set_attn_implementation("eager")
    ids = np.array([7, 3, 9, 1, 5, 2, 8, 4, 6, 3, 11, 7, 15, 2, 9, 31, 22, 17, 90, 45])
    with torch.no_grad():
        expected = theirs(torch.tensor(ids[None]), output_attentions=True).attentions
    found = patterns(ours, ids, range(4))
    for layer, weights in enumerate(expected):
        theirs_here = weights[0].numpy().swapaxes(0, 1)
        np.testing.assert_allclose(found[layer], theirs_here, atol=1e-5)
