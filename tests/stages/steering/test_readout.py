"""The read-out: log-probabilities of answers as they follow the prompt, and what makes them mean something."""

import numpy as np
import pytest
from checkpoints import unit_vector
from errors import raises

from circuit.artifacts.prompts.prompts import Prompt
from circuit.artifacts.steering_files.files import Direction
from circuit.errors import UsageError
from circuit.model.prompts.continuations import answer_ids, prefilled
from circuit.model.prompts.tokens import encode_prompts
from circuit.stages.rows.prompting import encode
from circuit.stages.steering.intervention import Intervention
from circuit.stages.steering.readout import Readout, reader, spellings
from circuit.values.prompt_format import RAW, PromptFormat


@pytest.fixture(scope="module")
def steering(llama):
    return Intervention.of(Direction("r", "resid_post", 1, unit_vector(llama.d_model), 1.0))


def read(model, readout, texts, steering, c=0.0, expected=None, form=RAW):
    prompts = [
        Prompt(text=t, expected=e)
        for t, e in zip(texts, expected or [None] * len(texts), strict=True)
    ]
    return reader(model, readout, prompts, encode(model, texts, form)).measure(steering.at(c))


def log_softmax(model, ids):
    import mlx.core as mx

    logits = np.array(model.network(mx.array(ids[None]))[0].astype(mx.float32), np.float64)
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


def test_m_is_the_log_ratio_of_the_summed_spellings(llama, steering):
    found = read(llama, Readout(("Yes", "yes"), ("No",)), ["Is it?"], steering)
    prompt = encode_prompts(llama, ["Is it?"])[0].ids

    def log_p(answer):
        whole = np.concatenate([prompt, np.frombuffer(answer.encode(), np.uint8)])
        ids = encode_prompts(llama, [f"Is it?{answer}"])[0].ids
        assert len(ids) == len(whole)
        rows = log_softmax(llama, ids)
        return sum(rows[t - 1, ids[t]] for t in range(len(prompt), len(ids)))

    yes, no = np.logaddexp(log_p("Yes"), log_p("yes")), log_p("No")
    assert found.m[0] == pytest.approx(yes - no, abs=1e-4)
    assert found.pmass is not None
    assert found.pmass[0] == pytest.approx(np.exp(yes) + np.exp(no), rel=1e-3)
    assert not found.valid[0]


def test_without_negative_answers_the_rest_is_negative(llama, steering):
    found = read(llama, Readout(("Y",)), ["Is it?"], steering)
    ids = encode_prompts(llama, ["Is it?Y"])[0].ids
    log_p = log_softmax(llama, ids)[-2, ids[-1]]
    assert found.m[0] == pytest.approx(log_p - np.log1p(-np.exp(log_p)), abs=1e-4)
    assert found.pmass is None
    assert found.valid.all()


def test_a_spelling_that_begins_with_another_is_in_it_already(llama, steering):
    short = read(llama, Readout(("Y",), ("N",)), ["Is it?"], steering)
    both = read(llama, Readout(("Yes", "Y"), ("N",)), ["Is it?"], steering)
    assert both.m[0] == pytest.approx(short.m[0], abs=1e-6)
    with raises(UsageError, "nested-answers"):
        read(llama, Readout(("Yes",), ("Y",)), ["Is it?"], steering)


def test_a_prefill_is_part_of_the_prompt(llama, steering):
    readout = Readout(("Y",), ("N",))
    begun = read(llama, Readout(("Y",), ("N",), prefill=" It is"), ["Is it?"], steering, 0.3)
    whole = read(llama, readout, ["Is it? It is"], steering, 0.3)
    assert begun.m[0] == pytest.approx(whole.m[0], abs=1e-4)


def test_answers_change_sides_where_the_negative_one_is_expected(llama, steering):
    readout = Readout(("(A)",), ("(B)",))
    texts = ["Which? (A) good (B) bad ", "Which? (A) bad (B) good "]
    found = read(llama, readout, texts, steering, expected=["(A)", "(B)"])
    plain = read(llama, readout, texts, steering)
    assert found.m[0] == pytest.approx(plain.m[0])
    assert found.m[1] == pytest.approx(-plain.m[1])
    prompts = [Prompt(text="a", expected="(A)"), Prompt(text="b", expected="(B)")]
    assert readout.described(prompts).order_balanced is True
    assert readout.described([*prompts[:1] * 9, prompts[1]]).order_balanced is False
    assert readout.described([Prompt(text="a")]).order_balanced is None
    assert readout.described(prompts).readout == readout


def test_a_criterion_is_judged_on_what_is_written(llama, steering):
    found = read(llama, Readout(criterion="regex:."), ["a", "b"], steering)
    assert found.m.tolist() == [1.0, 1.0]
    assert found.texts is not None
    none = read(llama, Readout(criterion="regex:^$", max_tokens=3), ["a", "b"], steering)
    assert none.m.tolist() == [0.0, 0.0]


def test_answers_are_tokenised_with_what_precedes_them(llama):
    prompts = encode_prompts(llama, ["one", "two "])
    found = answer_ids(prompts, [["x", "xy"], ["z"]])
    assert [len(ids) for ids in found[0]] == [1, 2]
    assert found[0][1][:1] == found[0][0]
    assert len(prefilled(prompts, "ab")[0].ids) == len(prompts[0].ids) + 2


def test_chat_answers_follow_the_template(llama, steering):
    form = PromptFormat(chat=True)
    found = read(llama, Readout(("Y",), ("N",)), ["Is it?"], steering, form=form)
    assert np.isfinite(found.m[0])


def test_steering_moves_it_and_zero_does_not(llama, steering):
    readout = Readout(("Y",), ("N",))
    m = [read(llama, readout, ["Is it?", "Or not?"], steering, c).m for c in (0.0, 0.0, 1.0)]
    assert np.array_equal(m[0], m[1])
    assert not np.allclose(m[0], m[2])


@pytest.mark.parametrize(
    ("readout", "code"),
    [
        (Readout(), "no-readout"),
        (Readout(("a",), criterion="number"), "two-readouts"),
        (Readout((), ("a",)), "option-needed"),
        (Readout((), ("a",), criterion="number"), "option-needed"),
        (Readout(("a", "b"), ("b",)), "ambiguous-answer"),
    ],
)
def test_a_readout_that_is_none_is_refused(readout, code):
    with raises(UsageError, code):
        readout.check([Prompt(text="a")])


def test_an_expected_text_is_needed_where_it_is_the_criterion():
    with pytest.raises(UsageError, match="needs prompts with an expected text"):
        Readout(criterion="expected").check([Prompt(text="a")])


def test_spellings_keep_their_spaces():
    assert spellings("Yes| yes|YES ") == ("Yes", " yes", "YES ")
    assert spellings(None) == ()
    for bad in ("", "a||b", "a|a"):
        with raises(UsageError, "invalid-spellings", spellings=bad):
            spellings(bad)
