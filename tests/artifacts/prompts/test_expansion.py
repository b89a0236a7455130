"""Templates: the prompts that are drawn from them, and each mistake in them."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from errors import raises
from hypothesis import given, settings
from hypothesis import strategies as st

from circuit.artifacts.prompts.builtin import builtin_probes, builtin_sets, find_set
from circuit.artifacts.prompts.expansion import expand, fillings
from circuit.artifacts.prompts.read import read_prompts
from circuit.artifacts.prompts.templates import TemplateSet, fill_slots, slot_names
from circuit.errors import ArtifactError, CircuitError, DataError, UsageError

DATA = Path(__file__).parents[1] / "data"


WEATHER, SUMS = DATA / "weather.json", DATA / "sums.json"


def template_file(tmp_path: Path, *items: dict, **changes) -> Path:
    document = {
        "schema": "circuit.templates/1",
        "name": "t",
        "format": "raw",
        "labels": ["no", "yes"],
        "slots": {"n": {"range": [1, 3]}, "w": ["x"]},
        "items": items,
    }
    path = tmp_path / "t.json"
    path.write_text(json.dumps({**document, **changes}))
    return path


def test_expansion_gives_what_is_asked_for():
    made = expand(TemplateSet.load(WEATHER), per_tool=12, no_tool=30)
    assert Counter(p.expected_tool for p in made.prompts if p.label) == {
        "get_weather": 12,
        "set_timer": 12,
        None: 30,
    }
    assert Counter(p.category for p in made.prompts)["creative"] == 15
    assert [p.label for p in made.prompts if p.metadata.get("edge")] == [None] * 8
    assert len(set(made.texts)) == len(made.texts)
    assert made.tools is not None
    assert made.tools[0]["function"]["name"] == "get_weather"
    assert any(text.endswith("minutes, {loud}.") for text in made.texts)
    assert set(made.groups()) >= {"weather/0", "weather/1", "timer/0", "ambiguous/0"}


def test_expansion_is_a_function_of_its_seed(tmp_path: Path):
    sets = [expand(TemplateSet.load(WEATHER), no_tool=30, seed=seed) for seed in (1, 1, 2)]
    for number, made in enumerate(sets):
        made.save(tmp_path / f"{number}.json")
    first, again, other = [(tmp_path / f"{number}.json").read_bytes() for number in range(3)]
    assert first == again != other
    # The same today and on any machine: no generator of Python or numpy decides.
    assert expand(TemplateSet.load(SUMS), size=1).texts == ["99 + 30 = ", "99 + 30 ="]


def test_a_smaller_set_is_part_of_a_larger_one():
    small, large = (expand(TemplateSet.load(SUMS), size=size).texts for size in (10, 40))
    assert set(small) < set(large)


def test_edge_cases_can_be_left_out():
    made = expand(TemplateSet.load(WEATHER), no_tool=10, edge_cases=False)
    assert all(p.label for p in made.prompts)


def test_pairs_share_slots_group_and_expected_answer():
    made = expand(TemplateSet.load(SUMS), size=10)
    assert len(made.pairs()) == 10
    for positive, negative in made.pairs():
        plus, minus = made.prompts[positive], made.prompts[negative]
        assert plus.text == minus.text + " "
        assert (plus.label, minus.label) == ("computed", "text")
        assert (plus.group, plus.expected) == (minus.group, minus.expected)
        assert plus.expected == str(eval(minus.text.removesuffix(" =")))


def test_a_template_file_is_a_prompt_set_of_default_size():
    assert len(read_prompts(SUMS).pairs()) == 100


def test_without_a_size_the_classes_are_equal(tmp_path: Path):
    path = template_file(
        tmp_path,
        {"category": "a", "label": "yes", "templates": ["{n}"]},
        {
            "category": "b",
            "label": "no",
            "templates": ["no {n} {m}"],
            "slots": {"m": {"range": [1, 9]}},
        },
    )
    made = expand(TemplateSet.load(path))
    assert Counter(p.label for p in made.prompts) == {"yes": 3, "no": 3}
    assert made.parameters["size"] == 3
    with raises(DataError, "too-few-fillings") as caught:
        expand(TemplateSet.load(path), size=4)
    assert "at most 3" in caught.value.hint


def test_no_text_is_drawn_twice(tmp_path: Path):
    path = template_file(
        tmp_path,
        {"category": "a", "label": "yes", "templates": ["{n}", "{m}"], "slots": {"m": [1, 9]}},
    )
    assert sorted(expand(TemplateSet.load(path)).texts) == ["1", "2", "3", "9"]


@pytest.mark.parametrize(
    ("item", "code", "fields"),
    [
        ({"label": "yes", "templates": ["{q}"]}, "slot-without-values", {"slot": "q"}),
        ({"label": "yes", "templates": ["{n"]}, "stray-brace", {}),
        (
            {"label": "maybe", "templates": ["a"]},
            "unknown-label",
            {"category": "c", "label": "maybe"},
        ),
        ({"templates": ["a"]}, "item-without-label", {"category": "c"}),
        ({"label": "yes"}, "item-kinds", {"category": "c"}),
        (
            {"label": "yes", "templates": ["{w}"], "expected": {"add": ["w", "n"]}},
            "operands-not-integers",
            {"category": "c"},
        ),
        (
            {
                "label": "yes",
                "templates": ["{w}"],
                "expected": {"add": ["w", "n"], "sub": ["n", "n"]},
            },
            "invalid-field",
            {"field": "items.0.expected.str"},
        ),
        (
            {"label": "yes", "templates": ["{v}"], "slots": {"v": []}},
            "slot-without-values",
            {"slot": "v"},
        ),
        (
            {"label": "yes", "templates": ["a"], "colour": 1},
            "invalid-field",
            {"field": "items.0.colour"},
        ),
    ],
)
def test_bad_templates_are_an_error(tmp_path: Path, item: dict, code: str, fields: dict):
    path = template_file(tmp_path, {"category": "c", **item})
    with raises(CircuitError, code, **fields):
        expand(TemplateSet.load(path))


def test_tools_must_be_a_list_beside_the_file(tmp_path: Path):
    path = template_file(
        tmp_path, {"category": "c", "label": "no", "templates": ["a"]}, tools="t.json"
    )
    with raises(ArtifactError, "not-tools"):
        TemplateSet.load(path)


def test_braces():
    assert fill_slots("{a}{{b}} {a}", {"a": 1}) == "1{b} 1"
    assert list(slot_names("{a} {{b}} {c}")) == ["a", "c"]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 12), max_size=4), st.text(max_size=3))
def test_fillings_are_a_permutation(sizes, key):
    found = list(fillings(sizes, key))
    assert len(found) == len(set(found)) == np.prod(sizes, dtype=int)
    assert all(0 <= i < n for each in found for i, n in zip(each, sizes, strict=True))


def test_built_in_sets_are_found_by_name():
    # A set and a probe may share a name: the set is found.
    for name, path in {**builtin_probes(), **builtin_sets()}.items():
        assert find_set(name) == path
    assert find_set("my/templates.json") == Path("my/templates.json")
    with raises(UsageError, "unknown-prompt-set"):
        find_set("nothing")
