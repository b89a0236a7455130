"""Steering vectors in YAML: every form is read, each mistake is named."""

import pytest
from errors import raises

from circuit.artifacts.steering_files.config import SteeringConfig
from circuit.errors import CircuitError

PAIR = "positive_prompt: I am glad\n    negative_prompt: I am sad"
VECTOR = f"vectors:\n  - name: happy\n    {PAIR}\n    layer: 3\n    coefficient: 2.0\n"


def config(tmp_path, text):
    path = tmp_path / "steering.yaml"
    path.write_text(text)
    return SteeringConfig.load(path)


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
  - {name: file, file: sub/d.npz, direction: mood, coefficient: 0.5, rule: norm,
     operator: affine, scope: "last:2"}
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
