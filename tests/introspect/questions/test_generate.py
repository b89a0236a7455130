"""When an answer begins, on answers whose tokens are known."""

import numpy as np
import pytest
from errors import raises

from circuit.errors import UsageError
from circuit.introspect.inputs.per_prompt import expected_texts, value_of
from circuit.introspect.inputs.variants import variants
from circuit.introspect.questions.generate import generate_answers, onset
from circuit.methods.text.criteria import match_span
from circuit.stages.rows.prompt_input import PromptInput
from circuit.stages.rows.prompting import encode
from circuit.values.prompt_format import RAW
from circuit.values.sampling import Sampling


def test_the_first_token_that_carries_the_answer(llama):
    """A token is a byte here, so that its number is that of the character."""
    for text, expected, at in (("so 75.", "75", 3), ("75", "75", 0), (" 175, 75", "75", 6)):
        ids = llama.tokenizer.encode(text, add_special_tokens=False)
        start, _ = match_span("expected", text, expected=expected)
        assert onset(llama, ids, start) == at
    assert match_span("expected", "750", expected="75") is None


def test_answers_are_those_of_greedy_decoding(llama):
    from circuit.model.forward.generate import generate

    given = PromptInput(["Hello", "1 + 1 = "])
    found = generate_answers(llama, given, Sampling(5), chat=False, criterion="regex:.")
    plain = generate(llama, encode(llama, given.texts, RAW), Sampling(5))
    assert [each.text for each in found.answers] == [each.text for each in plain]
    assert [each.onset for each in found.answers] == [0, 0]
    assert (found.ways[0].n, found.ways[0].found) == (2, 2)


def test_four_ways_of_asking(llama):
    found = generate_answers(llama, PromptInput(["1 + 1 = "]), Sampling(2), compare_format=True)
    assert [each.way for each in found.answers] == [
        "raw, no blank",
        "raw, blank",
        "chat, no blank",
        "chat, blank",
    ]
    assert [each.prompt for each in found.answers] == ["1 + 1 =", "1 + 1 = "] * 2
    assert {each.expected for each in found.answers} == {"2"}
    assert found.answers[1].n_prompt_tokens == found.answers[0].n_prompt_tokens + 1
    only_raw = variants(["a"], RAW, template=False)
    assert [each.name for each in only_raw] == ["raw, no blank", "raw, blank"]


def test_what_is_expected():
    sums = {"50 + 25 =": "75", "say 7*6= ": "42", "8 - 9 =": "-1", "9 / 3 =": "3"}
    assert {text: value_of(text) for text in sums} == sums
    assert [value_of(text) for text in ("9 / 2 =", "1 / 0 =", "Hello", "1 + 1 = 2")] == [None] * 4
    two = PromptInput(["a", "1 + 1 ="])
    assert expected_texts(two, None, None) == [None, "2"]
    assert expected_texts(two, "x", None) == ["x", "x"]
    assert expected_texts(two, "x|y", "expected") == ["x", "y"]
    assert expected_texts(two, None, "number") == [None, None]
    with raises(UsageError, "expected-per-prompt", n_texts=3, n=2):
        expected_texts(two, "x|y|z", None)
    for empty in ("", "x|"):
        with raises(UsageError, "empty-expected-text"):
            expected_texts(two, empty, None)
    with raises(UsageError, "conflicting-options"):
        expected_texts(two, "x", "number")
    with pytest.raises(UsageError):
        expected_texts(two, None, "regex:[")
    with pytest.raises(UsageError, match="needs prompts with an expected text"):
        expected_texts(two, None, "expected")


def test_without_an_answer_to_look_for_nothing_is_judged(llama):
    found = generate_answers(llama, PromptInput(["Hello"]), Sampling(3), chat=False)
    assert (found.ways, found.criterion) == ([], None)
    assert found.answers[0].at_once is None
    assert np.isfinite(found.answers[0].n_prompt_tokens)
