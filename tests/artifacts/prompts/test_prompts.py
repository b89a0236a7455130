"""Prompt sets: texts, labels, groups and pairs, and each mistake in a file."""

import json
from pathlib import Path

import numpy as np
import pytest
from errors import raises
from hypothesis import given, settings
from hypothesis import strategies as st

from circuit.artifacts.prompts.prompts import Prompt, PromptSet
from circuit.artifacts.prompts.read import read_prompts
from circuit.errors import ArtifactError, DataError

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)


def a_set(**changes) -> PromptSet:
    prompts = [{"text": "a b = ", "label": "yes"}, {"text": "a b =", "label": None}]
    return PromptSet.model_validate(
        {"name": "s", "labels": ["no", "yes"], "prompts": prompts, **changes}
    )


@settings(max_examples=30, deadline=None)
@given(st.lists(texts, min_size=1, max_size=4))
def test_texts_come_back_to_the_character(tmp_path_factory, some):
    path = tmp_path_factory.mktemp("p") / "p.json"
    made = a_set(prompts=[Prompt(text=text) for text in some])
    made.save(path)
    assert read_prompts(path) == made
    assert read_prompts(path).texts == some


def test_spaces_and_a_null_label_are_kept(tmp_path: Path):
    a_set().save(tmp_path / "p.json")
    loaded = read_prompts(tmp_path / "p.json")
    assert loaded.texts == ["a b = ", "a b ="]
    assert loaded.prompts[1].label is None
    assert [list(each) for each in loaded.y()] == [[0], [1]]


def test_prompts_without_a_group_are_grouped_by_text():
    made = a_set(
        prompts=[
            {"text": t, "group": g} for t, g in (("a", None), ("a", None), ("b", None), ("a", "g"))
        ]
    )
    assert len(set(made.groups())) == 3
    assert made.groups()[3] == "g"


def test_only_whole_pairs_are_pairs():
    rows = [
        ("a", "no", "1"),
        ("b", "yes", "1"),
        ("c", "yes", "2"),
        ("d", "no", "3"),
        ("e", "no", "3"),
        ("f", "yes", None),
    ]
    made = a_set(prompts=[{"text": t, "label": y, "pair": p} for t, y, p in rows])
    np.testing.assert_array_equal(made.pairs(), [[1, 0]])
    assert made.subset([0]).pairs().shape == (0, 2)


def test_a_subset_keeps_the_order_asked_for():
    part = a_set().subset([1, 0], "part")
    assert (part.name, part.texts) == ("part", ["a b =", "a b = "])


@pytest.mark.parametrize(
    ("changes", "code", "fields"),
    [
        (
            {"prompts": [{"text": "a", "label": "maybe"}]},
            "unknown-label",
            {"prompt": 0, "label": "maybe"},
        ),
        ({"prompts": [{"text": "  "}]}, "empty-prompt", {"text": "  "}),
        ({"prompts": []}, "no-prompts", {}),
        ({"labels": ["a", "a"]}, "duplicate-label", {}),
    ],
)
def test_bad_sets_name_the_file(tmp_path: Path, changes: dict, code: str, fields: dict):
    document = {
        "schema": "circuit.prompts/1",
        "name": "s",
        "labels": ["no", "yes"],
        "prompts": [{"text": "a"}],
    }
    path = tmp_path / "p.json"
    path.write_text(json.dumps({**document, **changes}))
    with raises(DataError, code, **fields):
        read_prompts(path)


def test_a_field_of_the_wrong_type_is_named(tmp_path: Path):
    path = tmp_path / "p.json"
    path.write_text(
        '{"schema": "circuit.prompts/1", "name": "s", "prompts": [{"text": 3}, {"txt": "a"}]}'
    )
    with raises(ArtifactError, "invalid-field"):
        read_prompts(path)


def test_a_byte_order_mark_is_read_and_nan_is_refused(tmp_path: Path):
    path = tmp_path / "p.json"
    prompts = '[{"text": "NaN", "metadata": {"x": 1}}]'
    text = f'{{"schema": "circuit.prompts/1", "name": "s", "prompts": {prompts}}}'
    path.write_text("\ufeff" + text)
    (prompt,) = read_prompts(path).prompts
    assert (prompt.text, prompt.metadata) == ("NaN", {"x": 1})
    path.write_text(text.replace('{"x": 1}', '{"x": NaN}'))
    with raises(ArtifactError, "not-json"):
        read_prompts(path)
    path.write_text(text[:-1])
    with raises(ArtifactError, "not-json"):
        read_prompts(path)
