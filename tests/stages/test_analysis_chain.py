"""analyze → directions → visualize on archives with known truth, and on what they must refuse."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from planted_archive import Prompt, PromptSet, prompt_set, write_planted

from circuit.artifacts.activations.activations import Activations
from circuit.artifacts.activations.arrangement import ArrayPlan
from circuit.artifacts.activations.writer import ActivationsWriter
from circuit.artifacts.manifest.manifest import Run, digest
from circuit.artifacts.manifest.origin import Origin
from circuit.artifacts.steering_files.files import read_steering_file
from circuit.cli.analysis_text import analysis_text
from circuit.cli.directions_text import directions_text
from circuit.errors import ArtifactError, DataError, UsageError
from circuit.stages.analyze.run import analyze
from circuit.stages.checks.verify import verify
from circuit.stages.directions.run import Choices, directions
from circuit.stages.figures.visualize import Choices as Drawing
from circuit.stages.figures.visualize import visualize
from circuit.stages.report.report import report


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder in which the archive has been analysed and its directions fitted."""
    folder = tmp_path_factory.mktemp("run")
    write_planted(folder / "activations", sites=("embed", "resid_post"), seed=1)
    notes = []
    archive = folder / "activations.safetensors"
    results, _ = analyze(archive, folder / "analysis.json", n_boot=200, note=notes.append)
    found, _ = directions(
        archive,
        folder / "directions",
        Choices(per_category=True, per_tool=True, n_boot=200),
        note=notes.append,
    )
    return folder, results, found, notes


def entry(results, layer, site="resid_post"):
    return next(e for e in results["layers"] if (e["site"], e["layer"]) == (site, layer))


def test_analyze_finds_the_planted_layers(run):
    _, results, _, _ = run
    assert [e["layer"] for e in results["layers"]] == [0, 0, 1, 2, 3]  # embed, then the blocks
    for question in ("label", "category"):
        late, early = (entry(results, layer)["probes"][question] for layer in (3, 0))
        assert late["auroc"][0] > 0.97
        assert late["significant"]
        assert late["p_any"] <= 0.01
        assert not early["significant"]
        assert early["auroc"][1] < 0.6
    curve = next(
        c for c in results["curves"] if (c["site"], c["question"]) == ("resid_post", "label")
    )
    assert curve["emergence_layer"] == curve["threshold_layer"] == 2
    assert curve["emergence"]["interval_90"] == [2, 2]
    assert curve["verdict"] == "decodable"
    beside = results["questions"]["label"]["baselines"]
    assert set(beside) == {"words", "word_pairs", "surface", "embed"}
    assert not any(found["significant"] for found in beside.values())
    assert results["questions"]["label"]["n"] == 120
    assert results["questions"]["category"]["n_groups"] == 30


def test_analyze_keeps_coordinates_of_every_prompt(run):
    _, results, _, _ = run
    assert np.shape(entry(results, 3)["pca"]["coordinates"]) == (122, 2)
    assert len(entry(results, 3)["geometry"]["spectrum"]) == 96


def test_layers_are_similar_where_they_share_the_concept(run):
    _, results, _, _ = run
    cka = np.array(results["similarity"][1]["cka"])
    assert cka.shape == (4, 4)
    assert cka[2, 3] > 0.2 > abs(cka[0, 1])


def test_sites_are_compared_with_each_other(run):
    _, results, _, _ = run
    (places,) = results["places"]
    assert places["names"] == ["embed", *(f"resid_post.{k}" for k in range(4))]
    cka = np.array(places["cka"])
    assert cka.shape == (5, 5)
    np.testing.assert_allclose(cka[1:, 1:], results["similarity"][1]["cka"], atol=1e-4)
    row = next(
        line for line in analysis_text(results).splitlines() if "embed, resid_post  " in line
    )
    assert row.split()[2] == f"{np.mean(cka[0, 1:]):z.2f}"
    assert row.split()[3] == f"{np.max(cka[0, 1:]):z.2f}"


def test_what_the_texts_say_is_called_surface(tmp_path):
    telling = [replace(p, text=f"{p.category} {p.text}") for p in prompt_set(edge=False).prompts]
    prompts = PromptSet(name="t", labels=("no_tool", "tool"), prompts=tuple(telling))
    write_planted(tmp_path / "a", prompts=prompts, n_layers=3, d=32)
    results, _ = analyze(tmp_path / "a", n_boot=100)
    category = next(c for c in results["curves"] if c["question"] == "category")
    assert (category["verdict"], category["emergence_layer"]) == ("surface", None)
    assert results["layers"][-1]["probes"]["category"]["significant"]


def test_two_archives_of_the_same_prompts_are_compared(tmp_path):
    write_planted(tmp_path / "base", n_layers=2, d=32)
    write_planted(tmp_path / "same", n_layers=2, d=32)
    write_planted(tmp_path / "other", n_layers=2, d=32, seed=9)
    same, _ = analyze(tmp_path / "base", other=tmp_path / "same", n_boot=100)
    entry = same["comparison"]["layers"][1]
    assert (entry["moved"][0], entry["cka"]) == (0, pytest.approx(1, abs=1e-4))
    probe = entry["probes"]["label"]
    assert probe["a_to_b"] == probe["a_to_a"]
    assert probe["lost_a"][0] == 0
    assert probe["lost_a"][1] < 0 < probe["lost_a"][2]
    other, _ = analyze(tmp_path / "base", other=tmp_path / "other", n_boot=100)
    probe = other["comparison"]["layers"][1]["probes"]["label"]
    assert probe["b_to_b"][0] > 0.9
    assert probe["lost_a"][0] < -0.1  # the concept lies elsewhere


def test_archives_of_other_prompts_or_places_are_not_compared(tmp_path):
    write_planted(tmp_path / "base", n_layers=2, d=32)
    write_planted(tmp_path / "prompts", prompts=prompt_set(edge=False), n_layers=2, d=32)
    write_planted(tmp_path / "places", n_layers=2, d=32, sites=("mlp_out",))
    write_planted(tmp_path / "wide", n_layers=2, d=48)
    with pytest.raises(DataError, match="differ in their texts"):
        analyze(tmp_path / "base", other=tmp_path / "prompts")
    with pytest.raises(UsageError, match="holds no site, position and layer"):
        analyze(tmp_path / "base", other=tmp_path / "places", n_boot=20)
    found, _ = analyze(tmp_path / "base", other=tmp_path / "wide", n_boot=20)
    entry = found["comparison"]["layers"][0]
    assert (entry["moved"], entry["probes"]) == (None, None)


def test_the_same_run_is_reused_and_another_needs_force(run):
    folder, results, _, _ = run
    archive, out = folder / "activations", folder / "analysis.json"
    again, reused = analyze(archive, out, n_boot=200)
    assert reused
    assert again == results
    with pytest.raises(ArtifactError, match="analysis.json"):
        analyze(archive, out, n_boot=200, seed=1)


def test_directions_at_every_layer_with_their_held_out_quality(run):
    folder, _, found, _ = run
    saved = read_steering_file(folder / "directions.safetensors")
    assert len(saved) == 4 * (1 + 6 + 3)
    main = [d for d in saved if d.name == "tool_vs_no_tool"]
    assert [d.layer for d in main] == [0, 1, 2, 3]
    assert [d.layer for d in saved if d.extra.get("recommended")] == [found["best"]["layer"]]
    assert found["best"]["layer"] == 3
    assert found["best"]["auroc"][1] > 0.85  # what a perfect score of 30 groups supports
    late, early = main[3].quality, main[0].quality
    assert late["auroc"][0] > 0.97
    assert early["auroc"][1] < 0.6
    assert late["split_half_cosine"] > early["split_half_cosine"]
    assert (main[0].positive_label, main[0].negative_label, main[0].format) == (
        "tool",
        "no_tool",
        "chat",
    )
    assert {d.name for d in saved} >= {"category:weather", "tool:get_weather"}


def test_a_direction_points_to_the_positive_class(run):
    folder, _, _, _ = run
    activations = Activations.open(folder / "activations")
    main = read_steering_file(folder / "directions.safetensors")[3 * 10]
    rows, y = activations.y()
    projections = activations.read("resid_post", 3)[rows] @ main.vector
    gap = projections[y == 1].mean() - projections[y == 0].mean()
    assert gap == pytest.approx(main.norm, rel=1e-4)


def test_held_out_projections_are_kept(run):
    _, _, found, _ = run
    held_out = found["held_out"]["tool_vs_no_tool.resid_post.3"]
    assert len(held_out["rows"]) == len(held_out["scores"]) == 120
    assert sum(held_out["positive"]) == 60


def test_cosines_and_what_chance_gives(run):
    _, _, found, _ = run
    assert found["random_cosine"] == pytest.approx((2 / np.pi / 96) ** 0.5)
    here = found["cosines"][3]
    assert len(here["names"]) == 10
    assert np.allclose(np.diag(here["matrix"]), 1)


def test_the_direction_of_one_category_is_scored_on_the_others(run):
    _, _, found, _ = run
    transfer = found["transfer"]
    assert transfer["names"] == ["weather", "email", "timer"]
    assert transfer["n"] == [80, 80, 80]  # 20 prompts and the 60 without a tool
    values = np.array(transfer["auroc"])[:, :, 0]
    assert (np.diag(values) > 0.95).all()
    assert (values > 0.7).all()  # what all tools share is planted as well
    assert all(entry["p_any"] >= entry["p"] for entry in found["layers"])


def test_visualize_draws_everything_from_what_is_there(run):
    folder, results, _, _ = run
    notes = []
    kinds = ("pca", "probes", "directions")
    drawn, reused = visualize(
        folder / "activations", folder / "plots", Drawing(kinds), note=notes.append
    )
    assert not reused
    assert notes == []  # nothing had to be computed
    names = [figure["file"] for figure in drawn["figures"]]
    assert names == [
        "pca_layer3.png",
        "probe_accuracy.png",
        "layer_similarity.png",
        "site_similarity_last.png",
        "directions_auroc.png",
        "directions_projection_layer3.png",
        "directions_cosines.png",
        "directions_transfer.png",
    ]
    for figure in drawn["figures"]:
        assert (folder / "plots" / figure["file"]).read_bytes().startswith(b"\x89PNG")
        numbers = json.loads((folder / "plots" / figure["numbers"]).read_text())
        assert numbers["caption"] == figure["caption"]
    numbers = json.loads((folder / "plots" / "probe_accuracy.json").read_text())
    assert numbers["probes"]["label"][3]["auroc"] == entry(results, 3)["probes"]["label"]["auroc"]
    assert visualize(folder / "activations", folder / "plots", Drawing(kinds))[1]


def test_the_chain_verifies(run):
    folder, _, _, _ = run
    paths = [folder / name for name in ("analysis.json", "directions.json", "plots/plots.json")]
    assert {finding.status for finding in verify(paths)} == {"ok"}


def test_visualize_computes_what_is_missing(tmp_path):
    write_planted(tmp_path / "a", n_layers=2, d=32)
    notes = []
    drawn, _ = visualize(
        tmp_path / "a", tmp_path / "plots", Drawing(("pca", "probes")), note=notes.append
    )
    assert len(drawn["figures"]) == 3
    assert "probing every layer" in notes[0]
    with pytest.raises(UsageError, match="no directions beside"):
        visualize(tmp_path / "a", tmp_path / "more", Drawing(("directions",)))
    assert not (tmp_path / "more").exists()


def test_an_analysis_of_another_archive_is_not_drawn(run, tmp_path):
    folder, _, _, _ = run
    write_planted(tmp_path / "activations", n_layers=2, d=32, seed=5)
    (tmp_path / "analysis.json").write_bytes((folder / "analysis.json").read_bytes())
    notes = []
    visualize(tmp_path / "activations", tmp_path / "plots", Drawing(("pca",)), note=notes.append)
    assert "made from another archive" in notes[0]
    with pytest.raises(ArtifactError, match="made from another archive"):
        visualize(
            tmp_path / "activations",
            tmp_path / "plots",
            Drawing(("pca",)),
            analysis=folder / "analysis.json",
            force=True,
        )


@pytest.mark.slow
def test_umap_is_stored_and_drawn_from_the_store(tmp_path):
    write_planted(tmp_path / "activations", n_layers=1, d=32)
    results, _ = analyze(
        tmp_path / "activations", tmp_path / "analysis.json", umap=True, n_boot=100
    )
    assert np.shape(results["layers"][0]["umap"]["coordinates"]) == (122, 2)
    notes = []
    drawn, _ = visualize(
        tmp_path / "activations", tmp_path / "plots", Drawing(("umap",)), note=notes.append
    )
    assert notes == []
    assert drawn["figures"][0]["file"] == "umap_layer0.png"


def test_equal_inputs_give_equal_bytes(tmp_path):
    digests = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        write_planted(folder / "activations", n_layers=2, d=32)
        directions(folder / "activations", folder / "directions", Choices(n_boot=50))
        analyze(folder / "activations", folder / "analysis.json", n_boot=50)
        digests.append(
            [
                digest(folder / f)
                for f in ("directions.json", "directions.safetensors", "analysis.json")
            ]
        )
    assert digests[0] == digests[1]


def test_positions_and_a_layer(tmp_path):
    write_planted(tmp_path / "a", n_layers=3, d=32, positions=("last", "mean"), layers=(0, 2))
    results, _ = analyze(tmp_path / "a", layers="-1", n_boot=50)
    assert [(e["position"], e["layer"]) for e in results["layers"]] == [("last", 2), ("mean", 2)]
    with pytest.raises(UsageError, match="more than one position"):
        directions(tmp_path / "a", tmp_path / "d")
    with pytest.raises(UsageError, match="no position `first`"):
        analyze(tmp_path / "a", position="first")
    with pytest.raises(UsageError, match="layer 1 is not available"):
        analyze(tmp_path / "a", layers="1")
    with pytest.raises(UsageError, match="layer `7` is out of range"):
        directions(tmp_path / "a", tmp_path / "d", Choices(layers="7", position="last"))
    with pytest.raises(UsageError, match="no site `mlp_out`"):
        analyze(tmp_path / "a", site="mlp_out")
    assert not (tmp_path / "d.json").exists()


@pytest.mark.parametrize("method", ["pca", "lda", "logistic"])
def test_other_methods(tmp_path, method):
    write_planted(tmp_path / "a", n_layers=2, d=32)
    found, _ = directions(
        tmp_path / "a", tmp_path / "d", Choices(method=method, layers="-1", n_boot=50)
    )
    assert found["layers"][0]["auroc"][0] > 0.9
    assert found["best"] == {"layer": 1, "auroc": None, "chosen_by_fold": None}


def test_chosen_labels(tmp_path):
    write_planted(tmp_path / "a", n_layers=2, d=32)
    found, _ = directions(
        tmp_path / "a", tmp_path / "d", Choices(layers="1", positive="no_tool", n_boot=50)
    )
    assert found["label_direction"] == "no_tool_vs_tool"
    with pytest.raises(UsageError, match="no label `tols`") as caught:
        directions(tmp_path / "a", tmp_path / "e", Choices(positive="tols"))
    assert caught.value.hint == "its labels are no_tool, tool"
    with pytest.raises(UsageError, match="both"):
        directions(tmp_path / "a", tmp_path / "e", Choices(positive="tool", negative="tool"))
    with pytest.raises(UsageError, match="unknown direction method `sae`"):
        directions(tmp_path / "a", tmp_path / "e", Choices(method="sae"))


def moods(n=8):
    prompts = tuple(
        Prompt(text=f"{mood} {i}", label=mood, group=f"{mood}/{i % 4}")
        for mood in ("happy", "sad", "calm")
        for i in range(n)
    )
    return PromptSet(name="moods", labels=("happy", "sad", "calm"), prompts=prompts)


def test_several_labels(tmp_path):
    write_planted(tmp_path / "a", prompts=moods(), n_layers=1, d=16)
    results, _ = analyze(tmp_path / "a", n_boot=50)
    assert results["layers"][0]["probes"]["label"]["n_classes"] == 3
    with pytest.raises(UsageError, match="has 3 labels"):
        directions(tmp_path / "a", tmp_path / "d")
    found, _ = directions(tmp_path / "a", tmp_path / "d", Choices(positive="calm", n_boot=50))
    assert found["label_direction"] == "calm_vs_rest"
    found, _ = directions(
        tmp_path / "a", tmp_path / "e", Choices(positive="calm", negative="sad", n_boot=50)
    )
    assert found["layers"][0]["n"] == 16


def test_pairs_are_used(tmp_path):
    prompts = tuple(
        Prompt(text=f"{label} {i}", label=label, group=f"g{i % 6}", pair=f"p{i}")
        for i in range(24)
        for label in ("no_tool", "tool")
    )
    pairs = PromptSet(name="pairs", labels=("no_tool", "tool"), prompts=prompts)
    write_planted(tmp_path / "a", prompts=pairs, n_layers=2, d=32)
    found, _ = directions(tmp_path / "a", tmp_path / "d", Choices(layers="1", n_boot=50))
    assert found["layers"][0]["paired"]
    assert found["layers"][0]["pair_cosine"] is not None


def one_class():
    prompts = tuple(p for p in prompt_set().prompts if p.label == "tool")
    return PromptSet(name="one", labels=("no_tool", "tool"), prompts=prompts)


def unlabelled():
    return PromptSet(name="none", prompts=tuple(Prompt(text=f"text {i}") for i in range(30)))


def one_group():
    prompts = tuple(
        Prompt(text=f"{label} {i}", label=label, group=label)
        for label in ("no_tool", "tool")
        for i in range(20)
    )
    return PromptSet(name="one_group", labels=("no_tool", "tool"), prompts=prompts)


def few():
    prompts = tuple(
        Prompt(text=f"{label} {i}", label=label) for label in ("no_tool", "tool") for i in range(2)
    )
    return PromptSet(name="few", labels=("no_tool", "tool"), prompts=prompts)


@pytest.mark.parametrize("command", [analyze, directions])
@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        (one_class(), "have the label `tool`"),
        (unlabelled(), "no labelled prompts"),
        (one_group(), "one group only"),
        (few(), "4 rows cannot be split into 5 folds"),
    ],
)
def test_prompts_that_cannot_answer(tmp_path, command, prompts, message):
    write_planted(tmp_path / "a", prompts=prompts, n_layers=1, d=16)
    with pytest.raises((DataError, UsageError), match=message) as caught:
        command(tmp_path / "a", tmp_path / "out.json")
    assert caught.value.hint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.safetensors"]


def test_few_groups_are_said_in_words(tmp_path):
    write_planted(tmp_path / "a", prompts=prompt_set(1, 8), n_layers=1, d=16)
    notes = []
    analyze(tmp_path / "a", n_boot=50, note=notes.append)
    text = " ".join(notes)
    assert "left out, with prompts of one group only: category weather" in text
    assert "label: only 6 groups of prompts; under 10 groups nothing here supports a claim" in text
    assert "there are 3 folds instead of 5" in text


def test_repeated_prompts_share_a_group(tmp_path):
    prompts = prompt_set().prompts
    doubled = [*prompts, *(replace(p, group=f"copy {p.group}") for p in prompts[:9])]
    repeated = PromptSet(name="r", labels=("no_tool", "tool"), prompts=tuple(doubled))
    write_planted(tmp_path / "a", prompts=repeated, n_layers=1, d=16)
    notes = []
    results, _ = analyze(tmp_path / "a", n_boot=50, note=notes.append)
    assert "9 of 131 prompts repeat another one; they share its group" in notes
    assert results["questions"]["label"]["n_groups"] == 30


def test_a_site_that_is_blind_to_the_prompt_scores_one_half(tmp_path):
    prompts = prompt_set(edge=False)
    with ActivationsWriter(
        tmp_path / "a",
        ArrayPlan(sites_layers=[("embed", 0)], positions=["last"], d_model=8),
        prompts=prompts,
        origin=Origin.of(tmp_path, parameters={}, inputs=[]),
    ) as writer:
        writer.put("embed", 0, "last", np.arange(120), np.full((120, 8), 0.3))
        writer.done(0)
        writer.finish(run=Run.since(0.0))
    results, _ = analyze(tmp_path / "a", n_boot=50)
    assert results["layers"][0]["probes"]["label"]["auroc"] == [0.5, 0.5, 0.5]
    results, _ = analyze(
        tmp_path / "a", tmp_path / "r/analysis.json", other=tmp_path / "a", n_boot=50
    )
    (moved,) = results["comparison"]["layers"]
    assert (moved["moved"][0], moved["cosine"], moved["cka"]) == (0, None, None)
    assert analysis_text(results).count("same activations at embed at the last position") == 1
    report([tmp_path / "r"], tmp_path / "r/report.html")
    page = (tmp_path / "r/report.html").read_text()
    assert page.count("same activations at embed at the last position") == 1
    assert "At embed.0, last all rows are equal, so cosine and CKA are not defined." in page
    with pytest.raises(DataError, match="at layer 0: the two classes have the same activations"):
        directions(tmp_path / "a", tmp_path / "d", Choices(n_boot=50))
    with pytest.raises(DataError, match="nothing to draw of embed"):
        visualize(tmp_path / "a", tmp_path / "p", Drawing(("pca", "umap")))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.safetensors", "r"]


def test_files_of_another_kind(run, tmp_path):
    folder, _, _, _ = run
    with pytest.raises(ArtifactError):
        analyze(tmp_path / "missing")
    with pytest.raises(ArtifactError, match="circuit.directions/1"):
        analyze(folder / "directions")
    with pytest.raises(ArtifactError, match="circuit.directions/1"):
        visualize(
            folder / "activations", tmp_path / "p", Drawing(), analysis=folder / "directions.json"
        )


def test_a_changed_archive_is_refused(tmp_path):
    write_planted(tmp_path / "a", n_layers=1, d=16)
    with (tmp_path / "a.safetensors").open("r+b") as file:
        file.seek(-4, 2)
        file.write(np.float32(np.nan).tobytes())
    with pytest.raises(ArtifactError):
        analyze(tmp_path / "a")


def test_the_table_of_directions_has_the_p_and_the_pair_cosine(run):
    found = run[2]
    text = directions_text(found)
    first = found["layers"][0]
    assert "pair cos" not in text
    assert text.count("(the other layers: with --json)") == 2  # per category, per tool
    assert f"{first['p_any']:.3f}" in text.splitlines()[5].split()
    paired = [{**each, "pair_cosine": [0.375, 0.3, 0.4]} for each in found["layers"]]
    text = directions_text({**found, "layers": paired})
    assert text.splitlines()[3].split()[-3:] == ["pair", "cos", "norm"]
    assert text.splitlines()[5].split()[-2] == "0.38"
