"""directions transfer: directions of one archive, scored on another's labels."""

from dataclasses import replace

import pytest
from asking import directions, transfer
from errors import raises
from planted_archive import prompt_set, write_planted
from planted_directions import PAIR, elsewhere, labelled

from circuit.artifacts.prompts.prompts import PromptSet
from circuit.errors import DataError, UsageError
from circuit.stages.directions.show import show_directions


def test_a_direction_carries_to_other_prompts_with_the_same_truth(fitted):
    request = {"name": "tool_vs_no_tool", "n_boot": 200}
    results = transfer(fitted / "d", fitted / "other", **request)
    early, late = results.directions
    assert late.auroc[0] > 0.95
    assert early.auroc[1] < 0.5 < early.auroc[2]
    assert late.p_any < 0.002
    assert late.shuffled[0] == pytest.approx(0.5, abs=0.03)
    home, _ = show_directions(fitted / "d", layers="1")
    assert late.at_home == home.directions[0].quality["auroc"]
    assert (results.n, results.n_groups, results.n_left_out) == (120, 30, 0)
    assert results.overlap_known


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
        request = {"name": "tool_vs_no_tool", "layers": "0", "n_boot": 200}
        found = transfer(fitted / "d", tmp_path / f"{seed}", **request).directions[0]
        covered += found.auroc[1] <= 0.5 <= found.auroc[2]
    assert covered >= 17


def test_prompts_of_the_fit_are_left_out_and_the_same_archive_is_refused(fitted, tmp_path):
    with raises(DataError, "fitted-on-this-archive"):
        transfer(fitted / "d", fitted / "a")
    own, others = prompt_set(edge=False).prompts, elsewhere().prompts
    mixed = PromptSet(name="mixed", labels=PAIR, prompts=(*own[:20], *others))
    write_planted(tmp_path / "mixed", prompts=mixed, n_layers=2, d=48)
    request = {"name": "tool_vs_no_tool", "n_boot": 50}
    results = transfer(fitted / "d", tmp_path / "mixed", **request)
    assert (results.n, results.n_left_out) == (120, 20)
    write_planted(tmp_path / "seen", n_layers=2, d=48, seed=3)
    with raises(DataError, "no-unused-groups", n_groups=0):
        transfer(fitted / "d", tmp_path / "seen", **request)


def test_labels_of_another_dataset_are_refused_until_they_are_named(fitted, tmp_path):
    other = {"tool": "call", "no_tool": "talk", None: None}
    renamed = tuple(replace(p, label=other[p.label]) for p in elsewhere().prompts)
    prompts = PromptSet(name="renamed", labels=("talk", "call"), prompts=renamed)
    write_planted(tmp_path / "b", prompts=prompts, n_layers=2, d=48)
    request = {"name": "tool_vs_no_tool", "n_boot": 50}
    with raises(DataError, "unknown-label") as caught:
        transfer(fitted / "d", tmp_path / "b", **request)
    assert caught.value.hint == "name those that mean the same with --positive, --negative"
    named = {**request, "positive": "call", "negative": "talk"}
    assert transfer(fitted / "d", tmp_path / "b", **named).positive_label == "call"
    with raises(UsageError, "ambiguous-labels"):
        transfer(fitted / "d", tmp_path / "b")


def test_places_that_the_other_archive_lacks_are_refused(fitted, tmp_path):
    request = {"name": "tool_vs_no_tool"}
    write_planted(tmp_path / "wide", prompts=elsewhere(), n_layers=2, d=64)
    with raises(DataError, "widths-differ"):
        transfer(fitted / "d", tmp_path / "wide", **request)
    write_planted(tmp_path / "short", prompts=elsewhere(), n_layers=1, d=48)
    with raises(UsageError, "layer-not-in-archive", layer=1):
        transfer(fitted / "d", tmp_path / "short", **request)
    write_planted(tmp_path / "mean", prompts=elsewhere(), n_layers=2, d=48, positions=("mean",))
    with raises(UsageError, "position-not-in-archive", position="last"):
        transfer(fitted / "d", tmp_path / "mean", **request)


def test_imbalance_is_said_in_words(fitted, tmp_path):
    rows = [("tool", f"t{i}") for i in range(4)] + [("no_tool", f"n{i % 40}") for i in range(200)]
    write_planted(tmp_path / "a", prompts=labelled(rows), n_layers=2, d=48)
    notes = []
    directions(tmp_path / "a", tmp_path / "d", layers="1", n_boot=50, note=notes.append)
    request = {"name": "tool_vs_no_tool", "layers": "1", "n_boot": 50}
    transfer(fitted / "d", tmp_path / "a", note=notes.append, **request)
    said = "4 prompts of `tool` against 200 of `no_tool`; the scores are no surer than 4 prompts"
    assert sum(said in note for note in notes) == 2
    assert any("`tool` comes from 4 groups of prompts, so there are 4 folds" in n for n in notes)


def test_repeated_rows_are_merged_and_counted(fitted, tmp_path):
    own = elsewhere().prompts[120:]
    doubled = (*own, *(replace(p, group=f"copy {i}") for i, p in enumerate(own[:9])))
    prompts = PromptSet(name="r", labels=PAIR, prompts=doubled)
    write_planted(tmp_path / "a", prompts=prompts, n_layers=2, d=48)
    notes = []
    found, _ = directions(tmp_path / "a", tmp_path / "d", layers="1", n_boot=50, note=notes.append)
    assert "9 of 129 prompts repeat another one; they share its group" in notes
    assert (found.layers[0].n, found.layers[0].n_groups) == (129, 30)
    request = {"name": "tool_vs_no_tool", "layers": "1", "n_boot": 50}
    assert transfer(fitted / "d", tmp_path / "a", **request).n_groups == 30
