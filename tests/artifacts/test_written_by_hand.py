"""Files that people write: what is read, and what is said about each mistake."""

import json

import pytest

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
    ("text", "words"),
    [
        (VECTOR.replace("coefficient", "coeficient"), "did you mean `coefficient`?"),
        (VECTOR + "vector: 1\n", "did you mean `vectors`?"),
        (VECTOR.replace("    layer: 3\n", ""), "`happy` has no layer"),
        (VECTOR.replace("2.0", "strong"), "coefficient"),
        (VECTOR.replace("2.0", "'2.0'"), "coefficient"),
        (VECTOR.replace("2.0", ".nan"), "coefficient"),
        (VECTOR.replace("2.0", "true"), "coefficient"),
        (VECTOR + "    normalize: maybe\n", "normalize"),
        (VECTOR + "    normalize: true\n    rule: norm\n", "both `rule` and `normalize`"),
        (VECTOR.replace(PAIR, "scope: all"), "nothing to be made from"),
        (VECTOR + "    file: x.npz\n", "both a prompt and a file"),
        (VECTOR + VECTOR.removeprefix("vectors:\n"), "two vectors are called `happy`"),
        ("vectors: []\n", "lists no vectors"),
        ("- name: happy\n", "not a mapping"),
        ("just words", "not a mapping"),
        ("", "not a mapping"),
        ("vectors: [1]\n", "not a mapping"),
        ("vectors:\n  - name: a: b\n", "line 2"),
        ("vectors: !!python/object:os.system []\n", "is not YAML"),
    ],
)
def test_each_mistake_is_named(tmp_path, text, words):
    with pytest.raises(CircuitError) as found:
        config(tmp_path, text)
    assert words in found.value.message + found.value.hint
    assert "steering.yaml" in found.value.message


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
    ("text", "words"),
    [
        ("", "holds no questions"),
        ("[]", "holds no questions"),
        ("questions: []", "holds no questions"),
        ("question: [a]", "did you mean `questions`?"),
        ("just words", "not a list"),
        ("- 3\n", "question 1"),
        ("- ''\n", "has no text"),
        ("- {id: a, paraphrases: []}\n", "has no text"),
        ("- {id: a, paraphrase: [b]}\n", "did you mean `paraphrases`?"),
        ("- {id: a, question: b}\n- {id: a, question: c}\n", "two questions have the id `a`"),
        ("- {id: a, question: b, samples_per_paraphrase: 0}\n", "samples_per_paraphrase"),
    ],
)
def test_each_mistake_in_questions_is_named(tmp_path, text, words):
    with pytest.raises(CircuitError) as found:
        questions(tmp_path, text)
    assert words in found.value.message + found.value.hint


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"there is no file"):
        Questions.load(tmp_path / "none.yaml")
