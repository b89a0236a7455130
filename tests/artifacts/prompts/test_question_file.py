"""Questions as people write them: every form is read, every mistake is named."""

import json

import pytest
from errors import raises

from circuit.artifacts.prompts.question_file import Questions
from circuit.errors import ArtifactError, CircuitError


def questions(tmp_path, text, name="questions.yaml"):
    path = tmp_path / name
    path.write_text(text)
    return Questions.load(path)


def test_questions_in_every_form(tmp_path):
    text = """
- id: quick_buck
  type: free_form_judge_0_100
  paraphrases:
    - "a "
    - b
  system: Be brief.
  samples_per_paraphrase: 3
  judge: someone
  judge_prompts: {aligned: "..."}
- Why?
- question: What?
  expected: "4"
"""
    found = questions(tmp_path, text)
    first, second, third = found.asked
    assert (first.id, first.paraphrases, first.system) == ("quick_buck", ("a ", "b"), "Be brief.")
    assert first.samples_per_paraphrase == 3
    assert (second.id, second.paraphrases) == ("2", ("Why?",))
    assert (third.paraphrases, third.expected) == (("What?",), "4")
    assert found.ignored == ("judge", "judge_prompts", "type")
    as_json = json.dumps({"questions": ["a ", {"id": 7, "question": "b"}]})
    assert [q.id for q in questions(tmp_path, as_json, "q.json").asked] == ["1", "7"]


def test_a_prompt_set_is_a_list_of_questions(tmp_path):
    document = {"schema": "circuit.prompts/1", "name": "x", "labels": ["a", "b"]}
    document["prompts"] = [
        {"text": "one ", "label": "a", "group": "g"},
        {"text": "two", "expected": "2"},
    ]
    found = questions(tmp_path, json.dumps(document), "prompts.json")
    assert [q.paraphrases for q in found.asked] == [("one ",), ("two",)]
    assert (found.asked[0].group, found.asked[0].label, found.asked[1].expected) == ("g", "a", "2")


@pytest.mark.parametrize(
    ("text", "code", "fields"),
    [
        ("", "no-questions", {}),
        ("[]", "no-questions", {}),
        ("questions: []", "no-questions", {}),
        ("question: [a]", "unknown-key", {"key": "question"}),
        ("just words", "not-questions", {}),
        ("- 3\n", "not-a-question", {"number": 1}),
        ("- ''\n", "question-without-text", {"id": "1"}),
        ("- {id: a, paraphrases: []}\n", "question-without-text", {"id": "a"}),
        ("- {id: a, paraphrase: [b]}\n", "unknown-key", {"key": "paraphrase"}),
        ("- {id: a, question: b}\n- {id: a, question: c}\n", "duplicate-question", {"id": "a"}),
        (
            "- {id: a, question: b, samples_per_paraphrase: 0}\n",
            "invalid-field",
            {"field": "asked.0.samples_per_paraphrase"},
        ),
    ],
)
def test_each_mistake_in_questions_is_named(tmp_path, text, code, fields):
    with raises(CircuitError, code, **fields):
        questions(tmp_path, text)


def test_a_missing_file_is_named(tmp_path):
    with raises(ArtifactError, "file-not-found"):
        Questions.load(tmp_path / "none.yaml")
