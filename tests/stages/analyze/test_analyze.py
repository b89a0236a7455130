"""analyze: what it finds in archives with known truth, and what it must refuse."""

from dataclasses import replace

import numpy as np
import pytest
from asking import analyze, directions, visualize
from errors import raises
from in_process import invoke
from planted_archive import Prompt, PromptSet, prompt_set, write_planted

from circuit.artifacts.activations.arrangement import ArrayPlan
from circuit.artifacts.activations.writer import ActivationsWriter
from circuit.artifacts.manifest.manifest import Run, digest
from circuit.artifacts.manifest.origin import Origin
from circuit.errors import ArtifactError, DataError, UsageError
from circuit.present.terminal import terminal
from circuit.stages.analyze.present import present


def entry(results, layer, site="resid_post"):
    return next(e for e in results.layers if (e.site, e.layer) == (site, layer))


def test_analyze_finds_the_planted_layers(chain):
    results = chain.analysis
    assert [e.layer for e in results.layers] == [0, 0, 1, 2, 3]  # embed, then the blocks
    for question in ("label", "category"):
        late, early = (entry(results, layer).probes[question] for layer in (3, 0))
        assert late.auroc[0] > 0.97
        assert late.significant
        assert late.p_any <= 0.01
        assert not early.significant
        assert early.auroc[1] < 0.6
    curve = next(c for c in results.curves if (c.site, c.question) == ("resid_post", "label"))
    assert curve.emergence_layer == curve.threshold_layer == 2
    assert curve.emergence.interval_90 == (2, 2)
    assert curve.verdict == "decodable"
    beside = results.questions["label"].baselines
    assert set(beside) == {"words", "word_pairs", "surface", "embed"}
    assert not any(found.significant for found in beside.values())
    assert results.questions["label"].n == 120
    assert results.questions["category"].n_groups == 30


def test_findings_name_baselines_as_those_of_probes_do(chain):
    findings = list(present(chain.analysis).findings())
    assert findings
    for finding in findings:
        assert set(finding.baselines) == {"words", "word pairs", "surface", "embed"}


def test_analyze_keeps_coordinates_of_every_prompt(chain):
    results = chain.analysis
    assert np.shape(entry(results, 3).pca.coordinates) == (122, 2)
    assert len(entry(results, 3).geometry.spectrum) == 96


def test_layers_are_similar_where_they_share_the_concept(chain):
    results = chain.analysis
    cka = np.array(results.similarity[1].cka)
    assert cka.shape == (4, 4)
    assert cka[2, 3] > 0.2 > abs(cka[0, 1])


def test_sites_are_compared_with_each_other(chain):
    results = chain.analysis
    (places,) = results.places
    assert places.names == ["embed", *(f"resid_post.{k}" for k in range(4))]
    cka = np.array(places.cka)
    assert cka.shape == (5, 5)
    np.testing.assert_allclose(cka[1:, 1:], results.similarity[1].cka, atol=1e-4)
    lines = terminal(present(results)).splitlines()
    row = next(line for line in lines if "embed, resid_post  " in line)
    assert row.split()[2] == f"{np.mean(cka[0, 1:]):z.2f}"
    assert row.split()[3] == f"{np.max(cka[0, 1:]):z.2f}"


def test_what_the_texts_say_is_called_surface(tmp_path):
    telling = [replace(p, text=f"{p.category} {p.text}") for p in prompt_set(edge=False).prompts]
    prompts = PromptSet(name="t", labels=("no_tool", "tool"), prompts=tuple(telling))
    write_planted(tmp_path / "a", prompts=prompts, n_layers=3, d=32)
    results, _ = analyze(tmp_path / "a", n_boot=100)
    category = next(c for c in results.curves if c.question == "category")
    assert (category.verdict, category.emergence_layer) == ("surface", None)
    assert results.layers[-1].probes["category"].significant


def test_two_archives_of_the_same_prompts_are_compared(tmp_path):
    write_planted(tmp_path / "base", n_layers=2, d=32)
    write_planted(tmp_path / "same", n_layers=2, d=32)
    write_planted(tmp_path / "other", n_layers=2, d=32, seed=9)
    same, _ = analyze(tmp_path / "base", compare=tmp_path / "same", n_boot=100)
    entry = same.comparison.layers[1]
    assert (entry.moved[0], entry.cka) == (0, pytest.approx(1, abs=1e-4))
    probe = entry.probes["label"]
    assert probe.a_to_b == probe.a_to_a
    assert probe.lost_a[0] == 0
    assert probe.lost_a[1] < 0 < probe.lost_a[2]
    other, _ = analyze(tmp_path / "base", compare=tmp_path / "other", n_boot=100)
    probe = other.comparison.layers[1].probes["label"]
    assert probe.b_to_b[0] > 0.9
    assert probe.lost_a[0] < -0.1  # the concept lies elsewhere


def test_archives_of_other_prompts_or_places_are_not_compared(tmp_path):
    write_planted(tmp_path / "base", n_layers=2, d=32)
    write_planted(tmp_path / "prompts", prompts=prompt_set(edge=False), n_layers=2, d=32)
    write_planted(tmp_path / "places", n_layers=2, d=32, sites=("mlp_out",))
    write_planted(tmp_path / "wide", n_layers=2, d=48)
    with raises(DataError, "different-prompts", differ_in="texts"):
        analyze(tmp_path / "base", compare=tmp_path / "prompts")
    with raises(UsageError, "no-shared-place"):
        analyze(tmp_path / "base", compare=tmp_path / "places", n_boot=20)
    found, _ = analyze(tmp_path / "base", compare=tmp_path / "wide", n_boot=20)
    entry = found.comparison.layers[0]
    assert (entry.moved, entry.probes) == (None, None)


def test_the_same_run_is_reused_and_another_needs_force(chain):
    folder, results = chain.folder, chain.analysis
    archive, out = folder / "activations", folder / "analysis.json"
    again, reused = analyze(archive, out, n_boot=200)
    assert reused
    assert again == results
    with raises(ArtifactError, "output-exists"):
        analyze(archive, out, n_boot=200, seed=1)


def test_equal_inputs_give_equal_bytes(tmp_path):
    digests = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        write_planted(folder / "activations", n_layers=2, d=32)
        directions(folder / "activations", folder / "directions", n_boot=50)
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
    assert [(e.position, e.layer) for e in results.layers] == [("last", 2), ("mean", 2)]
    with raises(UsageError, "ambiguous-position"):
        directions(tmp_path / "a", tmp_path / "d")
    with raises(UsageError, "position-not-in-archive", position="first"):
        analyze(tmp_path / "a", position="first")
    with pytest.raises(UsageError, match="layer 1 is not available"):
        analyze(tmp_path / "a", layers="1")
    with pytest.raises(UsageError, match="layer `7` is out of range"):
        directions(tmp_path / "a", tmp_path / "d", layers="7", position="last")
    with raises(UsageError, "site-not-in-archive"):
        analyze(tmp_path / "a", site="mlp_out")
    assert not (tmp_path / "d.json").exists()


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
    assert results.layers[0].probes["label"].n_classes == 3
    with raises(UsageError, "ambiguous-labels"):
        directions(tmp_path / "a", tmp_path / "d")
    found, _ = directions(tmp_path / "a", tmp_path / "d", positive="calm", n_boot=50)
    assert found.label_direction == "calm_vs_rest"
    found, _ = directions(
        tmp_path / "a", tmp_path / "e", positive="calm", negative="sad", n_boot=50
    )
    assert found.layers[0].n == 16


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
    ("prompts", "code"),
    [
        (one_class(), "one-class"),
        (unlabelled(), "no-labels"),
        (one_group(), "class-of-one-group"),
        (few(), "too-few-rows"),
    ],
)
def test_prompts_that_cannot_answer(tmp_path, command, prompts, code):
    write_planted(tmp_path / "a", prompts=prompts, n_layers=1, d=16)
    with raises(DataError, code) as caught:
        command(tmp_path / "a", tmp_path / "out.json")
    assert caught.value.hint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.safetensors"]


def test_few_groups_are_noted(tmp_path):
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
    assert results.questions["label"].n_groups == 30


def test_a_site_that_does_not_depend_on_the_prompt_scores_one_half(tmp_path):
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
    assert results.layers[0].probes["label"].auroc == (0.5, 0.5, 0.5)
    results, _ = analyze(
        tmp_path / "a", tmp_path / "r/analysis.json", compare=tmp_path / "a", n_boot=50
    )
    (moved,) = results.comparison.layers
    assert (moved.moved[0], moved.cosine, moved.cka) == (0, None, None)
    assert terminal(present(results)).count("same activations at embed at the last position") == 1
    assert invoke(["report", f"{tmp_path}/r", "-o", f"{tmp_path}/r/report.html"]).exit_code == 0
    page = (tmp_path / "r/report.html").read_text()
    assert page.count("same activations at embed at the last position") == 1
    assert "At embed.0, last all rows are equal, so cosine and CKA are not defined." in page
    with raises(DataError, "same-activations"):
        directions(tmp_path / "a", tmp_path / "d", n_boot=50)
    with raises(DataError, "nothing-to-draw", site="embed"):
        visualize(tmp_path / "a", tmp_path / "p", "pca", "umap")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.safetensors", "r"]


def test_files_of_another_kind(chain, tmp_path):
    folder = chain.folder
    with raises(ArtifactError, "file-not-found"):
        analyze(tmp_path / "missing")
    with raises(ArtifactError, "wrong-schema"):
        analyze(folder / "directions")
    with raises(ArtifactError, "wrong-schema"):
        visualize(folder / "activations", tmp_path / "p", analysis=folder / "directions.json")


def test_a_changed_archive_is_refused(tmp_path):
    write_planted(tmp_path / "a", n_layers=1, d=16)
    with (tmp_path / "a.safetensors").open("r+b") as file:
        file.seek(-4, 2)
        file.write(np.float32(np.nan).tobytes())
    with raises(ArtifactError, "output-changed"):
        analyze(tmp_path / "a")


def test_an_interval_that_nothing_bounds_is_null_in_the_file(tmp_path):
    rows = zip("aabbccdd", "12233445", strict=True)
    prompts = tuple(
        Prompt(text=f"{label} {n}", label=label, group=group)
        for n, (label, group) in enumerate(rows)
    )
    few = PromptSet(name="few", labels=tuple("abcd"), prompts=prompts)
    write_planted(tmp_path / "a", prompts=few, n_layers=1, d=16)
    done = invoke(["analyze", "-a", str(tmp_path / "a"), "-o", str(tmp_path / "out.json")])
    assert done.exit_code == 0, done.output
    text = (tmp_path / "out.json").read_text()
    assert "Infinity" not in text
    again = invoke(["analyze", "-a", str(tmp_path / "a"), "-o", str(tmp_path / "out.json")])
    assert again.exit_code == 0  # what is null is read again
