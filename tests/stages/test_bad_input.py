"""Rows that support less than they seem to: each case is refused or said in words by analyze, directions and probes."""

from dataclasses import replace

import numpy as np
import pytest
from asking import analyze, directions
from checkpoints import write_checkpoint
from planted_archive import write_planted

from circuit.artifacts.activations.arrangement import ArrayPlan
from circuit.artifacts.activations.writer import ActivationsWriter
from circuit.artifacts.manifest.origin import Origin
from circuit.artifacts.manifest.run import Run
from circuit.artifacts.prompts.prompts import Prompt, PromptSet
from circuit.artifacts.steering_files.files import read_directions
from circuit.errors import ArtifactError, DataError
from circuit.stages.options import ModelOptions
from circuit.stages.probes.request import BatteryOptions, RunRequest
from circuit.stages.rows.warnings import all_equal_rows
from circuit.stages.run import run

PAIR = ("no_tool", "tool")


def labelled(rows):
    """Prompts of (label, group), each with a word of its own."""
    prompts = [
        Prompt(text=f"word{i:03d} is here", label=label, group=group)
        for i, (label, group) in enumerate(rows)
    ]
    return PromptSet(name="bad", labels=PAIR, stratum="semantic", prompts=tuple(prompts))


BALANCED = [(PAIR[i % 2], f"g{i // 4}") for i in range(96)]
LOPSIDED = [("tool", f"t{i}") for i in range(3)] + [("no_tool", f"n{i % 30}") for i in range(150)]
BY_GROUP = [(PAIR[g % 2], f"g{g}") for g in range(14) for _ in range(6)]
FEW = [(PAIR[g % 2], f"g{g}") for g in range(6) for _ in range(6)]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(write_checkpoint(tmp_path_factory.mktemp("model")))


def by_analyze(prompts, folder, model):
    notes = []
    write_planted(folder / "a", prompts=prompts, n_layers=1, d=16)
    results, _ = analyze(folder / "a", n_boot=50, n_shuffles=50, note=notes.append)
    assert set(results.questions["label"].flags) <= {n.removeprefix("label: ") for n in notes}
    return notes


def by_directions(prompts, folder, model):
    notes = []
    write_planted(folder / "a", prompts=prompts, n_layers=1, d=16)
    directions(folder / "a", folder / "d", n_boot=50, note=notes.append)
    return notes


def by_probes(prompts, folder, model):
    prompts.save(folder / "bad.json")
    request = RunRequest(
        model=ModelOptions(model=model),
        battery=BatteryOptions(datasets=folder),
        random_weights=False,
        n_boot=50,
        n_shuffles=50,
    )
    return run(request).probes["bad"].flags


COMMANDS = [by_analyze, by_directions, by_probes]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (LOPSIDED, "3 prompts of `tool` against 150 of `no_tool`; the scores are no surer than 3"),
        (
            BY_GROUP,
            "each of the 14 groups has one label, so that whatever else these groups differ",
        ),
        (BY_GROUP, "there are 14 independent rows, not 84"),
        (FEW, "only 6 groups of prompts; under 10 groups nothing here supports a claim"),
        (FEW, "comes from 3 groups of prompts, so there are 3 folds instead of 5"),
    ],
)
def test_it_is_said(command, rows, said, tmp_path, model):
    assert any(said in note for note in command(labelled(rows), tmp_path, model))


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_said_of_rows_that_are_as_they_should_be(command, tmp_path, model):
    assert command(labelled(BALANCED), tmp_path, model) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_repeated_prompts_are_counted(command, tmp_path, model):
    good = labelled(BALANCED)
    copies = [replace(p, group=f"copy {i}") for i, p in enumerate(good.prompts[:9])]
    doubled = good.model_copy(update={"prompts": (*good.prompts, *copies)})
    said = "9 of 105 prompts repeat another one; they share its group"
    assert said in command(doubled, tmp_path, model)


def constant_archive(folder, prompts):
    with ActivationsWriter(
        folder / "c",
        ArrayPlan(
            sites_layers=[("resid_post", 0), ("resid_post", 1)], positions=["last"], d_model=8
        ),
        prompts=prompts,
        origin=Origin.of(folder, parameters={}, inputs=[]),
    ) as writer:
        n = len(prompts.prompts)
        rows = np.random.default_rng(0).normal(size=(n, 8))
        writer.put("resid_post", 0, "last", np.arange(n), np.full((n, 8), 0.1))
        writer.put("resid_post", 1, "last", np.arange(n), rows)
        writer.done(0)
        writer.finish(run=Run.since(0.0))


def test_a_layer_that_is_the_same_for_all_prompts_is_named(tmp_path, model):
    prompts = labelled(BALANCED)
    constant_archive(tmp_path, prompts)
    notes = []
    results, _ = analyze(tmp_path / "c", n_boot=50, n_shuffles=50, note=notes.append)
    said = "all 96 prompts have the same activations, so nothing can be decoded there"
    assert notes == [f"resid_post.0 at the last position: {said}"]
    assert results.blind == ["resid_post.0 at the last position"]
    assert results.layers[0].probes["label"].auroc == (0.5, 0.5, 0.5)
    notes = []
    found, _ = directions(tmp_path / "c", tmp_path / "d", n_boot=50, note=notes.append)
    (note,) = [each for each in notes if "left out" in each]
    assert "at layer 0: the two classes have the same activations" in note
    assert [each.layer for each in found.layers] == found.across_layers.layers == [1]
    assert {each.layer for each in read_directions(tmp_path / "d")} == {1}
    with pytest.raises(DataError, match="at layer 0: the two classes have the same activations"):
        directions(tmp_path / "c", tmp_path / "e", layers="0", n_boot=50)
    frozen = write_checkpoint(tmp_path / "frozen", identity_blocks=True)
    found = by_probes(prompts, tmp_path / "frozen", str(frozen))  # all end in the same token
    assert found == [f"L{layer}: {said}" for layer in range(3)]
    assert all_equal_rows(np.full((4, 3), 1e4) + 1e-4)
    assert not all_equal_rows(np.eye(3))


def test_rows_that_are_not_numbers_are_refused(tmp_path, model):
    prompts = labelled(BALANCED)
    with pytest.raises(ArtifactError, match=r"NaN|infinity|finite"):
        with ActivationsWriter(
            tmp_path / "n",
            ArrayPlan(sites_layers=[("resid_post", 0)], positions=["last"], d_model=4),
            prompts=prompts,
            origin=Origin.of(tmp_path, parameters={}, inputs=[]),
        ) as writer:
            rows = np.zeros((96, 4))
            rows[5, 2] = np.nan
            writer.put("resid_post", 0, "last", np.arange(96), rows)
    assert not (tmp_path / "n.json").exists()
