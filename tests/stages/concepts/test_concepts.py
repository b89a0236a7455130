"""The concept library: what a vector is made of, what it never saw, and what adding it is measured by."""

import json
import shlex
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from errors import raises
from in_process import invoke, run

from circuit.artifacts.manifest.manifest import digest
from circuit.artifacts.prompts.concept_files import (
    concepts,
    find_concept,
    make_concept,
    read_concept,
    save_concept,
    user_concepts,
)
from circuit.artifacts.prompts.read import read_prompts
from circuit.artifacts.steering_files.files import read_directions
from circuit.errors import ArtifactError, CircuitError, UsageError
from circuit.model.sites.sites import hidden_states
from circuit.present.document import Table
from circuit.stages.concepts import own, scan
from circuit.stages.concepts.build import build
from circuit.stages.concepts.fit import ConceptTexts
from circuit.stages.concepts.library import (
    Contents,
    concept_directions,
    depths,
    layers_of,
    library_archive,
    one_layer,
)
from circuit.stages.concepts.pictures import draw_scan, draw_trial
from circuit.stages.concepts.request import CreateRequest, ScanRequest
from circuit.stages.concepts.scan import STRENGTHS, Scan
from circuit.stages.concepts.trial import Ingredient, Trial, layer_note, parse_mix, try_concepts
from circuit.stages.options import ModelOptions
from circuit.stages.rows.prompting import encode
from circuit.stages.run import SILENT
from circuit.values.prompt_format import RAW
from circuit.values.sampling import Sampling
from circuit.values.sites import Site

WORDS = ("red", "green", "blue", "white", "black", "grey", "brown", "pink")
POSITIVE = [f"{a} {b} day" for a in WORDS for b in ("sunny", "warm")]
NEUTRAL = [f"{a} {b} day" for a in WORDS for b in ("usual", "plain")]
SHORT = Sampling(6)


@pytest.fixture
def library(tmp_path, monkeypatch):
    """An empty library of one's own, and an empty cache."""
    monkeypatch.setenv("CIRCUIT_CONCEPTS", str(tmp_path / "own"))
    monkeypatch.setenv("CIRCUIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "own"


@pytest.fixture
def sunny(library):
    save_concept("sunny", make_concept("sunny", POSITIVE, NEUTRAL))
    return "sunny"


def test_depths_are_fractions():
    assert depths(32) == {"early": 8, "middle": 16, "late": 24}
    assert depths(6) == {"early": 1, "middle": 3, "late": 4}
    assert [one_layer(name, 32) for name in ("early", "late", "50%", "-1")] == [8, 24, 16, 31]
    assert "16 of 32 (middle, 50% of the way)" in layer_note(16, 32)
    assert layer_note(5, 20) == layer_note(depths(20)["early"], 20)


def built(model, names, layers=None, **more):
    """Build concepts by name."""
    files = {name: find_concept(name) for name in names}
    return build(model, Contents(files, layers_of(layers, model.n_layers)), SILENT, **more)


@pytest.mark.slow
def test_the_library_has_51_vectors_and_is_built_once(library, tmp_path, monkeypatch):
    found = json.loads(run("concepts build -m tiny -o all --json", tmp_path, monkeypatch))
    assert len(found["directions"]) == 51
    assert len({each["name"] for each in found["directions"]}) == 17
    again = invoke(shlex.split("concepts build -m tiny --json"))
    assert "reused" in again.stderr
    assert json.loads(again.stdout)["directions"] == found["directions"]
    held = read_directions(tmp_path / "all")
    assert {d.layer for d in held} == {1, 3, 4}
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
    result = built(llama, [sunny], "1")
    (direction,) = read_directions(result.archive)
    prompts = read_prompts(user_concepts()["sunny"])
    texts = ConceptTexts.of(prompts)
    assert len(texts.held_out.rows) == 8
    fitted = [prompts.texts[row] for row in texts.fitted.rows]
    rows, y = mean_states(llama, fitted, 1), texts.fitted.y
    difference = rows[y == 1].mean(axis=0) - rows[y == 0].mean(axis=0)
    assert np.allclose(direction.vector * direction.norm, difference, atol=1e-4)
    assert not {prompts.texts[row] for row in texts.held_out.rows} & set(fitted)
    assert not set(texts.held_out.groups) & set(texts.fitted.groups)


def test_minimal_pairs_and_few_texts(llama, library):
    prompts = read_prompts(concepts()["happy"])
    texts = ConceptTexts.of(prompts)
    rows = [*texts.fitted.rows, *texts.held_out.rows]
    assert len(rows) == 80
    assert {prompts.prompts[row].category for row in rows} == {"contrast"}
    few = make_concept("few", POSITIVE[:2], NEUTRAL[:2])
    assert not len(ConceptTexts.of(few).held_out.rows)
    save_concept("few", few)
    assert "auroc" not in built(llama, ["few"], "0").directions[0].quality


def test_equal_builds_are_equal_bytes(llama, sunny, tmp_path):
    folder = built(llama, [sunny]).archive.parent
    before = {p.name: digest(p) for p in folder.iterdir()}
    built(llama, [sunny], force=True)
    assert {p.name: digest(p) for p in folder.iterdir()} == before


def test_the_library_is_used_by_every_archive_that_holds_a_layer(llama, sunny):
    contents = Contents({sunny: find_concept(sunny)}, (0, 1))
    assert not library_archive(llama, contents, SILENT).reused
    folder = contents.stem(llama).parent
    n = len(list(folder.iterdir()))
    (found,) = concept_directions(llama, sunny, [1], SILENT)
    assert (found.layer, len(list(folder.iterdir()))) == (1, n)
    concept_directions(llama, sunny, [2], SILENT)
    assert len(list(folder.iterdir())) == 2 * n
    assert library_archive(llama, contents, SILENT).reused


def test_a_copy_of_the_archive_is_reused_and_another_file_refused(library, tmp_path, monkeypatch):
    line = "concepts build -m tiny --concepts happy --layers 1 -o copy"
    run(line, tmp_path, monkeypatch)
    before = digest(tmp_path / "copy.json")
    assert "reused" in invoke(shlex.split(line)).stderr
    done = invoke(shlex.split(line.replace("happy", "sad")))
    assert (done.exit_code, done.error.code) == (1, "output-exists")
    assert digest(tmp_path / "copy.json") == before


def created(name, positive, neutral, **more):
    """Make a concept without a model."""
    no_model = ModelOptions(model="")
    request = CreateRequest(name=name, model=no_model, positive=positive, neutral=neutral, **more)
    return own.CREATE.run(request).result


def test_own_concepts_are_kept_listed_and_removed(llama, library, tmp_path):
    assert created("calm_sea", POSITIVE, NEUTRAL).n == 32
    built(llama, ["calm_sea"], "0,1")
    entry = next(each for each in own.listed(llama.id).concepts if each.name == "calm_sea")
    assert entry.category == "own"
    assert [each.layer for each in entry.layers] == [0, 1]
    with raises(ArtifactError, "output-exists"):
        created("calm_sea", POSITIVE[1:], NEUTRAL[1:])
    # A damaged file in the cache is nobody's library.
    (tmp_path / "cache/concepts/damaged.json").write_text('{"schema": "circuit.directions/2"')
    assert own.listed(llama.id).concepts
    own.remove("calm_sea")
    assert "calm_sea" not in {each.name for each in own.listed(llama.id).concepts}
    assert not list((tmp_path / "cache").rglob("calm_sea*"))


def test_a_concept_is_created_and_built_in_one_go(library, tmp_path, monkeypatch):
    line = 'concepts create rainy -m tiny --positive "It rained." --neutral "It was." --json'
    found = json.loads(run(line, tmp_path, monkeypatch))
    assert (found["name"], found["n"], len(found["directions"])) == ("rainy", 2, 3)
    assert Path(found["file"]).is_file()
    removed = json.loads(run("concepts remove rainy --json", tmp_path, monkeypatch))
    assert removed == {"removed": found["file"]}


@pytest.mark.parametrize(
    ("name", "positive", "neutral", "code"),
    [
        ("happy", ["a"], ["b"], "builtin-concept"),
        ("a+b", ["a"], ["b"], "invalid-name"),
        ("new", ["a"], [], "concept-without-texts"),
        ("new", [], ["a"], "concept-without-texts"),
        ("new", [], [], "no-texts"),
        ("new", [" "], ["a"], "empty-prompt"),
    ],
)
def test_texts_that_make_no_concept_are_refused(library, name, positive, neutral, code):
    with raises(CircuitError, code):
        created(name, positive, neutral)


def test_texts_are_given_once(library, tmp_path):
    with raises(UsageError, "option-given-twice"):
        created("new", ["a"], ["b"], texts=tmp_path / "texts.yaml")


def test_texts_from_files(library, tmp_path):
    path = tmp_path / "texts.yaml"
    path.write_text("positive: [a , b]\nneutral: [c, d]\n")
    found = read_concept(path, "mine")
    assert found.labels == ("neutral", "mine")
    assert found.pairs().tolist() == [[0, 2], [1, 3]]
    for text, code in (
        ("positve: [a]\n", "unknown-key"),
        ("- a\n", "not-a-concept"),
        ("positive: a\nneutral: [b]\n", "not-a-concept"),
        ("positive: [a]\n", "concept-without-texts"),
    ):
        path.write_text(text)
        with raises(CircuitError, code):
            read_concept(path, "mine")
    document = {"schema": "circuit.prompts/1", "name": "x", "labels": ["a", "b", "c"]}
    (tmp_path / "set.json").write_text(json.dumps({**document, "prompts": [{"text": "a"}]}))
    with raises(ArtifactError, "two-labels-expected", count=3):
        read_concept(tmp_path / "set.json", "mine")


def test_mixes_as_they_are_written():
    assert parse_mix("happy:1.5+formal:-0.5+sad", 2) == (
        Ingredient("happy", 1.5),
        Ingredient("formal", -0.5),
        Ingredient("sad", 2),
    )
    for text, code in (
        ("hapy", "unknown-concept"),
        ("happy:much", "not-a-number"),
        ("happy:nan", "not-a-number"),
        ("", "unknown-concept"),
    ):
        with raises(UsageError, code):
            parse_mix(text, 1)
    with raises(UsageError, "unknown-concept") as found:
        parse_mix("Hapy", 1)
    assert found.value.hint.startswith("did you mean `happy`?")


def test_a_trial_has_the_unsteered_answer_as_its_baseline(llama, sunny, tmp_path):
    def tried(strength):
        mix = (Ingredient(sunny, strength),)
        return try_concepts(llama, Trial(mix=mix, prompts=("red ", "blue"), sampling=SHORT))

    nothing, much = tried(0.0), tried(30.0)
    for answer in nothing.answers:
        assert answer.plain.text == answer.steered.text
        assert answer.steered.log_p == answer.steered.log_p_steered
    assert [a.plain for a in much.answers] == [a.plain for a in nothing.answers]
    assert all(a.steered.kl > 0 for a in much.answers)
    assert much == tried(30.0)
    assert much.answers[0].steered.tokens
    assert "30 sunny" in draw_trial(much, tmp_path / "t.png", force=False)
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")


def test_a_trial_is_kept_and_its_picture_drawn_again(library, tmp_path, monkeypatch):
    line = "concepts try happy:2 -m tiny -p red -n 3 -o t.json --plot t.png --json"
    found = run(line, tmp_path, monkeypatch)
    picture = (tmp_path / "t.png").read_bytes()
    (tmp_path / "t.png").unlink()
    done = invoke(shlex.split(line))
    assert "reused" in done.stderr
    assert "t.png: The answer to 'red'" in done.stderr
    assert done.stdout == found
    assert (tmp_path / "t.png").read_bytes() == picture
    other = invoke(shlex.split(line.replace("happy:2", "happy:3")))
    assert (other.exit_code, other.error.code) == (1, "output-exists")


def test_nothing_added_has_no_effect_and_does_no_damage(llama, sunny, tmp_path):
    scanned = Scan(
        name=sunny,
        over="strengths",
        layers="1",
        strengths=(0.0, 20.0),
        prompts=("red",),
        controls=2,
        sampling=SHORT,
    )
    result = scan.scan(llama, scanned)
    zero, much = result.points
    assert (zero.effect, zero.kl, zero.p) == ((0, 0, 0), (0, 0, 0), 1)
    assert zero.answers[0].text == result.unsteered[0].text
    assert zero.random_effects == zero.random_kl == [0, 0]
    assert much.kl[1] > 0
    assert (result.n_held_out, result.n_groups) == (8, 4)
    assert 0 < much.p <= 1
    caption = draw_scan(result, tmp_path / "scan.png", force=False)
    assert "was not fitted to" in caption
    assert scan.present(result).every(Table)


def test_a_concept_of_one_pair_has_damage_and_no_effect(llama, library, tmp_path):
    save_concept("one", make_concept("one", ["a sunny day"], ["a day"]))
    scanned = Scan(name="one", over="layers", layers="all", strengths=(5.0,), controls=0)
    result = scan.scan(llama, scanned)
    assert [point.layer for point in result.points] == [0, 1, 2]
    assert all(point.effect is None and point.p is None for point in result.points)
    assert all(point.kl[0] > 0 for point in result.points)
    draw_scan(result, tmp_path / "scan.png", force=False)


def test_a_scan_is_kept_as_it_was_printed(library, tmp_path, monkeypatch):
    line = "concepts scan happy -m tiny --layers 2 -c 2 --controls 1 -p red -n 3 -o s.json"
    text = run(line, tmp_path, monkeypatch)
    results = json.loads((tmp_path / "s.json").read_text())["results"]
    assert run(line, tmp_path, monkeypatch) == text
    assert json.loads(run(f"{line} --json", tmp_path, monkeypatch)) == results


def test_scans_as_they_are_requested(llama, library):
    tiny = ModelOptions(model="tiny")

    def planned(name="happy", **more):
        return scan.plan(ScanRequest(name=name, model=tiny, **more))

    assert planned(over="strengths").known["strengths"] == STRENGTHS
    assert planned().known["strengths"] == (1.5,)
    assert (STRENGTHS[0], STRENGTHS[-1], len(STRENGTHS)) == (0.5, 5.0, 10)
    for arguments, code in (
        ({"name": "hapy"}, "unknown-concept"),
        ({"over": "depth"}, "unknown-scan"),
        ({"strengths": "1,2"}, "one-strength-expected"),
        ({"strengths": "much"}, "not-a-number"),
    ):
        with raises(UsageError, code):
            planned(**arguments)
    with raises(UsageError, "one-layer-expected", n_layers=2):
        planned(over="strengths", layers="0,1").begin(llama)
    with raises(UsageError, "layer-out-of-range"):
        planned(layers="9").begin(llama)
