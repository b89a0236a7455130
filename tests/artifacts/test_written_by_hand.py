"""Files that people write: what is read, and what is said about each mistake."""

import json

import pytest
from errors import raises

from circuit.artifacts.prompts.question_file import Questions
from circuit.artifacts.steering_files.config import SteeringConfig
from circuit.errors import ArtifactError, CircuitError

PAIR = "positive_prompt: I am glad\n    negative_prompt: I am sad"
VECTOR = f"vectors:\n  - name: happy\n    {PAIR}\n    layer: 3\n    coefficient: 2.0\n"


def config(tmp_path, text):
    path = tmp_path / "steering.yaml"
    path.write_text(text)
    return SteeringConfig.load(path)


def questions(tmp_path, text, name="questions.yaml"):
    path = tmp_path / name
    path.write_text(text)
    return Questions.load(path)


def test_every_form_of_a_vector(tmp_path):
    text = """
vectors:
  - name: "pair"
    positive_prompt: "I consider security."
    negative_prompt: "I ignore security."
    layer: 15
    coefficient: 2.0
    normalize: true
  - {name: single, positive_prompt: I am helpful., layer: 50%, coefficient: -2}
  - {name: file, file: sub/d.npz, direction: mood, coefficient: 0.5, rule: norm, operator: affine, scope: "last:2"}
"""
    pair, single, held = config(tmp_path, text).vectors
    assert (pair.layer, pair.coefficient, pair.normalize, pair.rule) == (15, 2.0, True, None)
    assert (single.negative_prompt, single.layer, single.coefficient) == (None, "50%", -2)
    assert (held.rule, held.operator, held.scope, held.direction) == (
        "norm",
        "affine",
        "last:2",
        "mood",
    )
    found = SteeringConfig.load(tmp_path / "steering.yaml").files(tmp_path / "steering.yaml")
    assert found == {"file": tmp_path / "sub" / "d.npz"}


@pytest.mark.parametrize(
    ("text", "code", "fields"),
    [
        (VECTOR.replace("coefficient", "coeficient"), "unknown-key", {"key": "coeficient"}),
        (VECTOR + "vector: 1\n", "unknown-key", {"key": "vector"}),
        (VECTOR.replace("    layer: 3\n", ""), "vector-layer", {"vector": "happy"}),
        (VECTOR.replace("2.0", "strong"), "invalid-field", {"field": "vectors.0.coefficient.int"}),
        (VECTOR.replace("2.0", "'2.0'"), "invalid-field", {"field": "vectors.0.coefficient.int"}),
        (VECTOR.replace("2.0", ".nan"), "invalid-field", {"field": "vectors.0.coefficient"}),
        (VECTOR.replace("2.0", "true"), "invalid-field", {"field": "vectors.0.coefficient.int"}),
        (VECTOR + "    normalize: maybe\n", "invalid-field", {"field": "vectors.0.normalize"}),
        (
            VECTOR + "    normalize: true\n    rule: norm\n",
            "rule-and-normalize",
            {"vector": "happy"},
        ),
        (VECTOR.replace(PAIR, "scope: all"), "vector-source", {"vector": "happy"}),
        (VECTOR + "    file: x.npz\n", "vector-source", {"vector": "happy"}),
        (VECTOR + VECTOR.removeprefix("vectors:\n"), "duplicate-vector", {"vector": "happy"}),
        ("vectors: []\n", "no-vectors", {}),
        ("- name: happy\n", "not-a-steering-config", {}),
        ("just words", "not-a-steering-config", {}),
        ("", "not-a-steering-config", {}),
        ("vectors: [1]\n", "not-a-steering-config", {}),
        ("vectors:\n  - name: a: b\n", "not-yaml", {"line": 2}),
        ("vectors: !!python/object:os.system []\n", "not-yaml", {"line": 1}),
    ],
)
def test_each_mistake_is_named(tmp_path, text, code, fields):
    with raises(CircuitError, code, **fields):
        config(tmp_path, text)


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
