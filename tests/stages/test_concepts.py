"""The concept library: what a vector is made of, what it never saw, and what adding it is measured by."""

import json
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from circuit.artifacts.manifest.manifest import digest
from circuit.artifacts.prompts.concept_files import (
    concepts,
    make_concept,
    read_concept,
    save_concept,
    user_concepts,
)
from circuit.artifacts.prompts.read import read_prompts
from circuit.artifacts.steering_files.files import read_directions
from circuit.errors import CircuitError, UsageError
from circuit.model.sites.sites import hidden_states
from circuit.stages.concepts.fit import Texts, held_out_texts
from circuit.stages.concepts.library import build, create, depths, listed, one_layer, remove
from circuit.stages.concepts.pictures import draw_scan, draw_trial
from circuit.stages.concepts.scan import STRENGTHS, planned, scan
from circuit.stages.concepts.try_concepts import (
    Ingredient,
    Trial,
    layer_note,
    parse_mix,
    try_concepts,
)
from circuit.stages.rows.prompting import encode
from circuit.values.prompt_format import RAW
from circuit.values.sampling import Sampling
from circuit.values.sites import Site

WORDS = ("red", "green", "blue", "white", "black", "grey", "brown", "pink")
POSITIVE = [f"{a} {b} day" for a in WORDS for b in ("sunny", "warm")]
NEUTRAL = [f"{a} {b} day" for a in WORDS for b in ("usual", "plain")]
SHORT = Sampling(6)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """An empty library of one's own, and an empty cache."""
    monkeypatch.setenv("CIRCUIT_CONCEPTS", str(tmp_path / "own"))
    monkeypatch.setenv("CIRCUIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "own"


@pytest.fixture
def sunny(own):
    save_concept("sunny", make_concept("sunny", POSITIVE, NEUTRAL))
    return "sunny"


def test_depths_are_fractions():
    assert depths(32) == {"early": 8, "middle": 16, "late": 24}
    assert depths(6) == {"early": 1, "middle": 3, "late": 4}
    assert [one_layer(name, 32) for name in ("early", "late", "50%", "-1")] == [8, 24, 16, 31]
    assert "16 of 32 (middle, 50% of the way)" in layer_note(16, 32)
    assert layer_note(5, 20) == layer_note(depths(20)["early"], 20)


@pytest.mark.slow
def test_the_library_has_51_vectors_and_is_built_once(llama, own, tmp_path):
    results, reused = build(llama, out=tmp_path / "library")
    assert (len(results["directions"]), reused) == (51, False)
    assert len({each["name"] for each in results["directions"]}) == 17
    again, reused = build(llama)
    assert reused
    assert again["directions"] == results["directions"]
    held = read_directions(tmp_path / "library")
    assert {d.layer for d in held} == {0, 1, 2}
    assert all(
        d.quality["auroc"][1] <= d.quality["auroc"][0] <= d.quality["auroc"][2] for d in held
    )
    assert all(d.extra["n_held_out"] == 20 for d in held)  # 10 of 40 pairs


def mean_states(llama, texts, layer):
    """Mean over the tokens but the first, of each text."""
    site, rows = Site("resid_post", layer), []
    for each in encode(llama, texts, RAW):
        states = np.array(hidden_states(llama, mx.array(each.ids[None]), [site])[site])[0]
        rows.append(states[1:].mean(axis=0))
    return np.stack(rows)


def test_a_vector_is_the_difference_of_means_of_the_texts_that_are_not_held_out(llama, sunny):
    results, _ = build(llama, [sunny], "1")
    (direction,) = read_directions(Path(results["archive"]))
    prompts = read_prompts(user_concepts()["sunny"])
    texts = Texts.of(prompts)
    assert texts.held_out.sum() == 8
    fitted = [prompts.texts[row] for row in texts.rows[~texts.held_out]]
    rows, y = mean_states(llama, fitted, 1), texts.y[~texts.held_out]
    difference = rows[y == 1].mean(axis=0) - rows[y == 0].mean(axis=0)
    assert np.allclose(direction.vector * direction.norm, difference, atol=1e-4)
    held_out, _, groups = held_out_texts(prompts)
    assert not set(held_out) & set(fitted)
    assert not set(groups) & set(texts.groups[~texts.held_out])


def test_minimal_pairs_and_few_texts(llama, own):
    prompts = read_prompts(concepts()["happy"])
    kept = Texts.of(prompts)
    assert len(kept.rows) == 80
    assert {prompts.prompts[row].category for row in kept.rows} == {"contrast"}
    few = make_concept("few", POSITIVE[:2], NEUTRAL[:2])
    assert not Texts.of(few).held_out.any()
    save_concept("few", few)
    results, _ = build(llama, ["few"], "0")
    assert "auroc" not in results["directions"][0]


def test_equal_builds_are_equal_bytes(llama, sunny, tmp_path):
    first, _ = build(llama, [sunny])
    before = {p.name: digest(p) for p in Path(first["archive"]).parent.iterdir()}
    build(llama, [sunny], force=True)
    assert {p.name: digest(p) for p in Path(first["archive"]).parent.iterdir()} == before


def test_own_concepts_are_kept_listed_and_removed(llama, own, tmp_path):
    created = create("calm_sea", None, POSITIVE, NEUTRAL)
    assert created["n"] == 32
    build(llama, ["calm_sea"], "0,1")
    entry = next(each for each in listed(llama.id) if each["name"] == "calm_sea")
    assert entry["category"] == "own"
    assert [each["layer"] for each in entry["layers"]] == [0, 1]
    with pytest.raises(CircuitError, match="holds something else"):
        create("calm_sea", None, POSITIVE[1:], NEUTRAL[1:])
    remove("calm_sea")
    assert "calm_sea" not in {each["name"] for each in listed(llama.id)}
    assert not list((tmp_path / "cache").rglob("calm_sea*"))


@pytest.mark.parametrize(
    ("name", "positive", "neutral", "words"),
    [
        ("happy", ["a"], ["b"], "built-in"),
        ("a+b", ["a"], ["b"], "invalid concept name"),
        ("new", ["a"], [], "no neutral text"),
        ("new", [], ["a"], "no positive text"),
        ("new", [], [], "no texts are given"),
        ("new", [" "], ["a"], "is empty"),
    ],
)
def test_texts_that_make_no_concept_are_refused(own, name, positive, neutral, words):
    with pytest.raises(CircuitError, match=words):
        create(name, None, positive, neutral)


def test_texts_from_files(own, tmp_path):
    path = tmp_path / "texts.yaml"
    path.write_text("positive: [a , b]\nneutral: [c, d]\n")
    found = read_concept(path, "mine")
    assert found.labels == ("neutral", "mine")
    assert found.pairs().tolist() == [[0, 2], [1, 3]]
    for text, words in (
        ("positve: [a]\n", "unknown key"),
        ("- a\n", "holds no concept"),
        ("positive: a\nneutral: [b]\n", "lists of texts"),
        ("positive: [a]\n", "no neutral text"),
    ):
        path.write_text(text)
        with pytest.raises(CircuitError, match=words):
            read_concept(path, "mine")
    document = {"schema": "circuit.prompts/1", "name": "x", "labels": ["a", "b", "c"]}
    (tmp_path / "set.json").write_text(json.dumps({**document, "prompts": [{"text": "a"}]}))
    with pytest.raises(CircuitError, match="has 3"):
        read_concept(tmp_path / "set.json", "mine")


def test_mixes_as_they_are_written():
    assert parse_mix("happy:1.5+formal:-0.5+sad", 2) == (
        Ingredient("happy", 1.5),
        Ingredient("formal", -0.5),
        Ingredient("sad", 2),
    )
    for text, words in (("hapy", "hapy"), ("happy:much", "much"), ("happy:nan", "nan"), ("", "``")):
        with pytest.raises(UsageError, match=words):
            parse_mix(text, 1)
    with pytest.raises(UsageError) as found:
        parse_mix("Hapy", 1)
    assert found.value.hint.startswith("did you mean `happy`?")


def test_a_trial_stands_beside_the_plain_answer(llama, sunny, tmp_path):
    def tried(strength, **more):
        trial = Trial((Ingredient(sunny, strength),), ("red ", "blue"), sampling=SHORT)
        return try_concepts(llama, trial, **more)[0]

    nothing, much = tried(0.0), tried(30.0)
    for answer in nothing["answers"]:
        assert answer["plain"]["text"] == answer["steered"]["text"]
        assert answer["steered"]["log_p"] == answer["steered"]["log_p_steered"]
    assert [a["plain"] for a in much["answers"]] == [a["plain"] for a in nothing["answers"]]
    assert all(a["steered"]["kl"] > 0 for a in much["answers"])
    assert tried(30.0, out=tmp_path / "t.json") == much == tried(30.0, out=tmp_path / "t.json")
    assert "tokens" in much["answers"][0]["steered"]
    draw_trial(much, tmp_path / "t.png", force=False)
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_added_has_no_effect_and_does_no_damage(llama, sunny, tmp_path):
    asked = planned(sunny, "strengths", "1", "0,20", prompts=("red",), controls=2, sampling=SHORT)
    results, _ = scan(llama, asked)
    zero, much = results["points"]
    assert (zero["effect"], zero["kl"], zero["p"]) == ([0, 0, 0], [0, 0, 0], 1)
    assert zero["answers"][0]["text"] == results["unsteered"][0]["text"]
    assert zero["random_effects"] == zero["random_kl"] == [0, 0]
    assert much["kl"][1] > 0
    assert (results["n_held_out"], results["n_groups"]) == (8, 4)
    assert 0 < much["p"] <= 1
    caption = draw_scan(results, tmp_path / "scan.png", force=False)
    assert "no part in the direction" in caption


def test_a_concept_of_one_pair_has_damage_and_no_effect(llama, own, tmp_path):
    save_concept("one", make_concept("one", ["a sunny day"], ["a day"]))
    results, _ = scan(llama, planned("one", "layers", None, "5", controls=0))
    assert [point["layer"] for point in results["points"]] == [0, 1, 2]
    assert all(point["effect"] is None and point["p"] is None for point in results["points"])
    assert all(point["kl"][0] > 0 for point in results["points"])
    draw_scan(results, tmp_path / "scan.png", force=False)


def test_scans_as_they_are_asked_for(llama):
    assert planned("happy", "strengths", None, None).strengths == STRENGTHS
    assert (STRENGTHS[0], STRENGTHS[-1], len(STRENGTHS)) == (0.5, 5.0, 10)
    for arguments, words in (
        (("hapy", "layers", None, None), "unknown concept"),
        (("happy", "depth", None, None), "unknown scan"),
        (("happy", "layers", None, "1,2"), "one strength"),
        (("happy", "layers", None, "much"), "not a finite number"),
    ):
        with pytest.raises(UsageError, match=words):
            planned(*arguments)
    with pytest.raises(UsageError, match="names 2 layers"):
        scan(llama, planned("happy", "strengths", "0,1", None))
    with pytest.raises(UsageError, match="out of range"):
        scan(llama, planned("happy", "layers", "9", None))
