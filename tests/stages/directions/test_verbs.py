"""``directions compare``, ``show``, ``transfer``, the corpus, the tokens; and what they must refuse or say."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from planted_archive import Prompt, PromptSet, prompt_set, write_planted

from circuit.artifacts.activations.activations import Activations
from circuit.artifacts.steering_files.files import Direction, read_directions, write_npz
from circuit.errors import ArtifactError, DataError, ModelError, UsageError
from circuit.methods.quality.chance_cosine import cosine_bound
from circuit.stages.directions.compare import compare_directions
from circuit.stages.directions.run import Choices, directions
from circuit.stages.directions.show import show_directions
from circuit.stages.directions.tokens import promoted_tokens
from circuit.stages.directions.transfer import Request, transfer_directions
from circuit.values.identity import ModelIdentity

PAIR = ("no_tool", "tool")


def labelled(rows, *, name="set"):
    """A prompt set of ``(label, group)``, each with a text of its own."""
    prompts = tuple(
        Prompt(text=f"{name} {i}", label=label, group=group)
        for i, (label, group) in enumerate(rows)
    )
    return PromptSet(name=name, labels=PAIR, prompts=prompts)


def elsewhere():
    """The prompts of ``prompt_set`` in other words and from other templates, after as many without a label.

    ``write_planted`` draws the noise row by row: so the labelled rows get noise of their own.
    """
    own = prompt_set(edge=False).prompts
    before = tuple(Prompt(text=f"before {i}") for i in range(len(own)))
    moved = (replace(p, text=f"other {p.text}", group=f"other {p.group}") for p in own)
    return PromptSet(name="elsewhere", labels=PAIR, prompts=(*before, *moved))


def vector(d, *places):
    found = np.zeros(d)
    found[list(places)] = 1
    return found / np.linalg.norm(found)


def saved(path, v, *, layer=1, site="resid_post", model="planted"):
    identity = ModelIdentity(id=model)
    direction = Direction(
        name=path.stem, site=site, layer=layer, vector=v, norm=2.0, model=identity
    )
    write_npz(path, direction)
    return path


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """An archive, directions fitted to it, and an archive of other prompts with the same truth."""
    folder = tmp_path_factory.mktemp("fitted")
    write_planted(folder / "a", n_layers=2, d=48)
    write_planted(folder / "other", prompts=elsewhere(), n_layers=2, d=48)
    directions(folder / "a", folder / "d", Choices(per_category=True, n_boot=100))
    return folder


@pytest.mark.parametrize(("d", "pairs"), [(4, 1), (64, 1), (64, 45)])
def test_the_bound_of_the_largest_cosine_is_that_of_random_directions(d, pairs):
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(2, 4000, pairs, d))
    a, b = drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)
    largest = np.abs((a * b).sum(axis=-1)).max(axis=1)
    assert np.mean(largest > cosine_bound(d, pairs=pairs)) == pytest.approx(0.05, abs=0.012)


def test_compare_says_what_is_orthogonal_and_what_is_not(tmp_path):
    files = [
        saved(tmp_path / "x.npz", vector(64, 0)),
        saved(tmp_path / "y.npz", vector(64, 1)),
        saved(tmp_path / "near.npz", vector(64, 0, 5, 6, 7)),
        saved(tmp_path / "same.npz", -vector(64, 1)),
        saved(tmp_path / "far.npz", vector(64, 1), layer=0),
    ]
    results = compare_directions(files)
    (found,) = results["places"]
    assert found["names"] == ["x", "y", "near", "same"]
    assert found["matrix"][0] == [1, 0, 0.5, 0]
    assert found["counts"] == {"orthogonal": 4, "correlated": 1, "aligned": 1}
    assert found["largest"]["cosine"] == -1
    assert not found["orthogonal"]
    assert found["chance"]["mean"] == pytest.approx(np.sqrt(2 / (np.pi * 64)), abs=1e-5)
    assert [each["name"] for each in results["alone"]] == ["far"]
    assert compare_directions(files[:2])["places"][0]["orthogonal"]


def test_random_directions_are_called_orthogonal(tmp_path):
    rng, wrong = np.random.default_rng(1), 0
    for i in range(40):
        drawn = rng.normal(size=(5, 32))
        files = [
            saved(tmp_path / f"{i}_{k}.npz", v / np.linalg.norm(v)) for k, v in enumerate(drawn)
        ]
        wrong += not compare_directions(files)["places"][0]["orthogonal"]
    assert wrong <= 6


def test_compare_names_the_file_where_names_are_equal(fitted, tmp_path):
    directions(fitted / "other", tmp_path / "d", Choices(n_boot=20))
    found = compare_directions([fitted / "d.safetensors", tmp_path / "d.safetensors"])
    late = found["places"][1]
    twice = [name for name in late["names"] if name.startswith("tool_vs_no_tool (")]
    assert len(twice) == 2
    assert late["same_weights"]
    i, j = (late["names"].index(name) for name in twice)
    # The label is the same, the categories within it lie elsewhere: (9 + 0 … 6) / (9 + 6).
    assert 0.5 < late["matrix"][i][j] < 0.95
    assert late["pairs"]


def test_what_cannot_be_compared_is_refused(tmp_path):
    here = saved(tmp_path / "here.npz", vector(16, 0))
    there = saved(tmp_path / "there.npz", vector(16, 0), layer=3)
    wide = saved(tmp_path / "wide.npz", vector(32, 0))
    with pytest.raises(
        DataError, match="no two of the 2 directions lie at the same site"
    ) as caught:
        compare_directions([here, there])
    assert (
        caught.value.hint
        == "they lie at resid_post 1, resid_post 3; fit them at one layer with --layer"
    )
    with pytest.raises(DataError, match=r"has 16 entries, .* has 32, both at resid_post 1"):
        compare_directions([here, wide])
    with pytest.raises(ArtifactError):
        compare_directions([here, tmp_path / "missing.npz"])
    other = saved(tmp_path / "model.npz", vector(16, 0), model="another")
    assert not compare_directions([here, other])["places"][0]["same_weights"]


def test_show_has_quality_and_provenance(fitted, tmp_path):
    results, chosen = show_directions(fitted / "d", layers="-1")
    assert len(chosen) == 7
    first = results["directions"][0]
    assert (first["name"], first["recommended"]) == ("tool_vs_no_tool", True)
    assert first["quality"]["auroc"][0] > 0.9
    assert results["provenance"]["made from"].startswith("a.json (")
    assert "method mean_diff" in results["provenance"]["choices"]
    named, _ = show_directions(fitted / "d.json", name="category:email")
    assert [each["layer"] for each in named["directions"]] == [0, 1]
    with pytest.raises(UsageError, match="holds no direction `tol`"):
        show_directions(fitted / "d", name="tol")
    plain, _ = show_directions(saved(tmp_path / "one.npz", vector(16, 0)))
    assert plain["directions"][0]["quality"] == {}
    assert plain["provenance"]["model"] == "planted"


def test_a_direction_carries_to_other_prompts_with_the_same_truth(fitted):
    request = Request(name="tool_vs_no_tool", n_boot=200)
    results = transfer_directions(fitted / "d", fitted / "other", request)
    early, late = results["directions"]
    assert late["auroc"][0] > 0.95
    assert early["auroc"][1] < 0.5 < early["auroc"][2]
    assert late["p_any"] < 0.002
    assert late["shuffled"][0] == pytest.approx(0.5, abs=0.03)
    home, _ = show_directions(fitted / "d", layers="1")
    assert late["at_home"] == home["directions"][0]["quality"]["auroc"]
    assert (results["n"], results["n_groups"], results["n_left_out"]) == (120, 30, 0)
    assert results["overlap_known"]


def test_noise_of_the_other_archive_scores_at_chance(fitted, tmp_path):
    covered = 0
    for seed in range(20):
        rows = [(label, f"{label} {i % 12}") for label in PAIR for i in range(24)]
        write_planted(
            tmp_path / f"{seed}",
            prompts=labelled(rows, name=f"n{seed}"),
            n_layers=9,
            d=48,
            layers=(0, 1),
            seed=100 + seed,
        )
        request = Request(name="tool_vs_no_tool", layers="0", n_boot=200)
        found = transfer_directions(fitted / "d", tmp_path / f"{seed}", request)["directions"][0]
        covered += found["auroc"][1] <= 0.5 <= found["auroc"][2]
    assert covered >= 17


def test_prompts_of_the_fit_are_left_out_and_the_same_archive_is_refused(fitted, tmp_path):
    with pytest.raises(DataError, match="were fitted on"):
        transfer_directions(fitted / "d", fitted / "a")
    own, others = prompt_set(edge=False).prompts, elsewhere().prompts
    mixed = PromptSet(name="mixed", labels=PAIR, prompts=(*own[:20], *others))
    write_planted(tmp_path / "mixed", prompts=mixed, n_layers=2, d=48)
    request = Request(name="tool_vs_no_tool", n_boot=50)
    results = transfer_directions(fitted / "d", tmp_path / "mixed", request)
    assert (results["n"], results["n_left_out"]) == (120, 20)
    write_planted(tmp_path / "seen", n_layers=2, d=48, seed=3)
    with pytest.raises(DataError, match="0 groups had no part in the fit"):
        transfer_directions(fitted / "d", tmp_path / "seen", request)


def test_labels_of_another_dataset_are_refused_until_they_are_named(fitted, tmp_path):
    other = {"tool": "call", "no_tool": "talk", None: None}
    renamed = tuple(replace(p, label=other[p.label]) for p in elsewhere().prompts)
    prompts = PromptSet(name="renamed", labels=("talk", "call"), prompts=renamed)
    write_planted(tmp_path / "b", prompts=prompts, n_layers=2, d=48)
    request = Request(name="tool_vs_no_tool", n_boot=50)
    with pytest.raises(DataError, match="has the labels talk, call") as caught:
        transfer_directions(fitted / "d", tmp_path / "b", request)
    assert caught.value.hint == "name those that mean the same with --positive, --negative"
    named = replace(request, positive="call", negative="talk")
    assert transfer_directions(fitted / "d", tmp_path / "b", named)["positive_label"] == "call"
    with pytest.raises(UsageError, match="lead between different labels"):
        transfer_directions(fitted / "d", tmp_path / "b")


def test_places_that_the_other_archive_lacks_are_refused(fitted, tmp_path):
    request = Request(name="tool_vs_no_tool")
    write_planted(tmp_path / "wide", prompts=elsewhere(), n_layers=2, d=64)
    with pytest.raises(DataError, match="has 48 entries, .* has width 64"):
        transfer_directions(fitted / "d", tmp_path / "wide", request)
    write_planted(tmp_path / "short", prompts=elsewhere(), n_layers=1, d=48)
    with pytest.raises(UsageError, match="holds no layer 1 of `resid_post`"):
        transfer_directions(fitted / "d", tmp_path / "short", request)
    write_planted(tmp_path / "mean", prompts=elsewhere(), n_layers=2, d=48, positions=("mean",))
    with pytest.raises(UsageError, match="no position `last`"):
        transfer_directions(fitted / "d", tmp_path / "mean", request)


def test_imbalance_is_said_in_words(fitted, tmp_path):
    rows = [("tool", f"t{i}") for i in range(4)] + [("no_tool", f"n{i % 40}") for i in range(200)]
    write_planted(tmp_path / "a", prompts=labelled(rows), n_layers=2, d=48)
    notes = []
    directions(tmp_path / "a", tmp_path / "d", Choices(layers="1", n_boot=50), note=notes.append)
    request = Request(name="tool_vs_no_tool", layers="1", n_boot=50)
    transfer_directions(fitted / "d", tmp_path / "a", request, note=notes.append)
    said = "4 prompts of `tool` against 200 of `no_tool`; the scores are no surer than 4 prompts"
    assert sum(said in note for note in notes) == 2
    assert any("`tool` comes from 4 groups of prompts, so there are 4 folds" in n for n in notes)


def test_repeated_rows_are_merged_and_counted(fitted, tmp_path):
    own = elsewhere().prompts[120:]
    doubled = (*own, *(replace(p, group=f"copy {i}") for i, p in enumerate(own[:9])))
    prompts = PromptSet(name="r", labels=PAIR, prompts=doubled)
    write_planted(tmp_path / "a", prompts=prompts, n_layers=2, d=48)
    notes = []
    found, _ = directions(
        tmp_path / "a", tmp_path / "d", Choices(layers="1", n_boot=50), note=notes.append
    )
    assert "9 of 129 prompts repeat another one; they share its group" in notes
    assert (found["layers"][0]["n"], found["layers"][0]["n_groups"]) == (129, 30)
    request = Request(name="tool_vs_no_tool", layers="1", n_boot=50)
    assert transfer_directions(fitted / "d", tmp_path / "a", request)["n_groups"] == 30


def centred(archive, layer, rows):
    """The direction that the formula gives: mean of the tool rows minus the mean of ``rows``."""
    opened = Activations.open(archive)
    H = opened.read("resid_post", layer).astype(np.float64)
    tool = np.array([p.label == "tool" for p in opened.prompts])
    others = [H[~tool & np.array([p.label is not None for p in opened.prompts])], *rows]
    v = H[tool].mean(axis=0) - np.concatenate(others).mean(axis=0)
    return v / np.linalg.norm(v)


def test_mean_centered_takes_the_prompts_beside_the_two_classes(tmp_path):
    extra = tuple(Prompt(text=f"plain {i}", category="smalltalk") for i in range(60))
    prompts = PromptSet(name="c", labels=PAIR, prompts=(*prompt_set(edge=False).prompts, *extra))
    write_planted(tmp_path / "a", prompts=prompts, n_layers=2, d=48)
    notes, how = [], Choices(method="mean_centered", n_boot=50)
    results, _ = directions(tmp_path / "a", tmp_path / "d", how, note=notes.append)
    assert "mean_centered: a corpus of 60 prompts of neither class (tool_vs_no_tool)" in notes
    beside = Activations.open(tmp_path / "a").read("resid_post", 1)[120:]
    found = read_directions(tmp_path / "d")[1].vector
    assert found @ centred(tmp_path / "a", 1, [beside]) == pytest.approx(1, abs=1e-5)
    assert found @ centred(tmp_path / "a", 1, []) < 0.999
    assert results["layers"][1]["auroc"][0] > 0.9
    assert (results["best"]["layer"], results["best"]["auroc"], results["transfer"]) == (
        1,
        None,
        None,
    )
    assert any("the choice of a layer is not scored" in note for note in notes)


def test_mean_centered_takes_the_corpus_of_another_archive(fitted, tmp_path):
    plain = tuple(Prompt(text=f"plain {i}") for i in range(40))
    own = prompt_set(edge=False).prompts
    corpus = PromptSet(name="corpus", prompts=(*plain, *(Prompt(text=p.text) for p in own[:5])))
    write_planted(tmp_path / "corpus", prompts=corpus, n_layers=2, d=48, seed=4)
    how = Choices(method="mean_centered", layers="1", n_boot=50, corpus=tmp_path / "corpus")
    notes = []
    directions(fitted / "a", tmp_path / "d", how, note=notes.append)
    assert "mean_centered: a corpus of 40 prompts of neither class (tool_vs_no_tool)" in notes
    beside = Activations.open(tmp_path / "corpus").read("resid_post", 1)[:40]
    found = read_directions(tmp_path / "d")[0].vector
    assert found @ centred(fitted / "a", 1, [beside]) == pytest.approx(1, abs=1e-5)
    assert "corpus.json" in show_directions(tmp_path / "d")[0]["provenance"]["made from"]
    _, again = directions(fitted / "a", tmp_path / "d", how)
    assert again


def test_a_corpus_that_cannot_serve_is_refused(fitted, tmp_path):
    with pytest.raises(UsageError, match="`mean_diff` compares with the negative class only"):
        directions(fitted / "a", tmp_path / "d", Choices(corpus=fitted / "other"))
    write_planted(tmp_path / "wide", prompts=elsewhere(), n_layers=2, d=64)
    how = Choices(method="mean_centered", corpus=tmp_path / "wide")
    with pytest.raises(DataError, match="has width 64 at `resid_post`, .* has 48"):
        directions(fitted / "a", tmp_path / "d", how)
    write_planted(tmp_path / "same", n_layers=2, d=48, prompts=prompt_set(edge=False), seed=2)
    how = Choices(method="mean_centered", corpus=tmp_path / "same")
    with pytest.raises(DataError, match="shares a text or a group with the two classes"):
        directions(fitted / "a", tmp_path / "d", how)
    alone = PromptSet(name="two", labels=PAIR, prompts=prompt_set(edge=False).prompts)
    write_planted(tmp_path / "two", prompts=alone, n_layers=1, d=48)
    notes = []
    how = Choices(method="mean_centered", n_boot=20)
    directions(tmp_path / "two", tmp_path / "e", how, note=notes.append)
    assert any("so this is the difference of means" in note for note in notes)


def test_the_row_of_the_head_promotes_its_own_token(llama):
    from mlx.utils import tree_flatten

    head = np.array(dict(tree_flatten(llama.network.parameters()))["lm_head.weight"])
    row = head[65] - head.mean(axis=0)
    identity = llama.identity
    direction = Direction(
        name="a",
        site="resid_post",
        layer=1,
        norm=1.0,
        model=identity,
        vector=(row / np.linalg.norm(row)).astype(np.float32),
        format="raw",
    )
    found = promoted_tokens(llama, direction, top=3)
    assert found["promoted"][0]["id"] == 65
    first = found["promoted"][0]
    assert first["difference"] > found["random"][1] > 0
    assert first["low"] <= first["difference"] <= first["high"]
    turned = replace(direction, vector=-direction.vector)
    assert promoted_tokens(llama, turned, top=3)["suppressed"][0]["id"] == 65
    foreign = replace(direction, model=replace(identity, weights_sha256="0"))
    with pytest.raises(ModelError, match="made with other weights"):
        promoted_tokens(llama, foreign)


def test_the_step_is_the_linearised_effect_up_to_the_third_order(llama):
    from circuit.model.gradients.tail_difference import tail_difference

    rng = np.random.default_rng(2)
    h = rng.normal(size=(4, 32)).astype(np.float32)
    v = vector(32, 3).astype(np.float32)
    size = np.linalg.norm(h, axis=1, keepdims=True)
    small, large = (tail_difference(llama, h, c * size * v) / c for c in (0.02, 0.1))
    np.testing.assert_allclose(large, small, atol=0.03 * np.abs(small).max())
    np.testing.assert_allclose(small.mean(axis=1), 0, atol=1e-4)
