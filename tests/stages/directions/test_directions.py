"""directions: what is fitted to archives with known truth, and its held-out quality."""

from dataclasses import replace

import numpy as np
import pytest
from asking import directions
from errors import raises
from planted_archive import Prompt, PromptSet, write_planted

from circuit.artifacts.activations.activations import Activations
from circuit.artifacts.steering_files.files import read_steering_file
from circuit.errors import UsageError
from circuit.present.terminal import terminal
from circuit.stages.directions.present import present
from circuit.stages.directions.results import BestLayer


def test_directions_at_every_layer_with_their_held_out_quality(chain):
    folder, found = chain.folder, chain.directions
    saved = read_steering_file(folder / "directions.safetensors")
    assert len(saved) == 4 * (1 + 6 + 3)
    main = [d for d in saved if d.name == "tool_vs_no_tool"]
    assert [d.layer for d in main] == [0, 1, 2, 3]
    assert [d.layer for d in saved if d.extra.get("recommended")] == [found.best.layer]
    assert found.best.layer == 3
    assert found.best.auroc[1] > 0.85  # what a perfect score of 30 groups supports
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


def test_a_direction_points_to_the_positive_class(chain):
    folder = chain.folder
    activations = Activations.open(folder / "activations")
    main = read_steering_file(folder / "directions.safetensors")[3 * 10]
    rows, y = activations.y()
    projections = activations.read("resid_post", 3)[rows] @ main.vector
    gap = projections[y == 1].mean() - projections[y == 0].mean()
    assert gap == pytest.approx(main.norm, rel=1e-4)


def test_held_out_projections_are_kept(chain):
    found = chain.directions
    held_out = found.held_out["tool_vs_no_tool.resid_post.3"]
    assert len(held_out.rows) == len(held_out.scores) == 120
    assert sum(held_out.positive) == 60


def test_cosines_and_what_chance_gives(chain):
    found = chain.directions
    assert found.random_cosine == pytest.approx((2 / np.pi / 96) ** 0.5)
    here = found.cosines[3]
    assert len(here.names) == 10
    assert np.allclose(np.diag(here.matrix), 1)


def test_the_direction_of_one_category_is_scored_on_the_others(chain):
    found = chain.directions
    transfer = found.transfer
    assert transfer.names == ["weather", "email", "timer"]
    assert transfer.n == [80, 80, 80]  # 20 prompts and the 60 without a tool
    values = np.array(transfer.auroc)[:, :, 0]
    assert (np.diag(values) > 0.95).all()
    assert (values > 0.7).all()  # what all tools share is planted as well
    assert all(entry.p_any >= entry.p for entry in found.layers)


@pytest.mark.parametrize("method", ["pca", "lda", "logistic"])
def test_other_methods(tmp_path, method):
    write_planted(tmp_path / "a", n_layers=2, d=32)
    found, _ = directions(tmp_path / "a", tmp_path / "d", method=method, layers="-1", n_boot=50)
    assert found.layers[0].auroc[0] > 0.9
    assert found.best == BestLayer(layer=1, auroc=None, chosen_by_fold=None)


def test_chosen_labels(tmp_path):
    write_planted(tmp_path / "a", n_layers=2, d=32)
    found, _ = directions(tmp_path / "a", tmp_path / "d", layers="1", positive="no_tool", n_boot=50)
    assert found.label_direction == "no_tool_vs_tool"
    with raises(UsageError, "unknown-label", label="tols") as caught:
        directions(tmp_path / "a", tmp_path / "e", positive="tols")
    assert caught.value.hint == "its labels are no_tool, tool"
    with raises(UsageError, "equal-labels"):
        directions(tmp_path / "a", tmp_path / "e", positive="tool", negative="tool")
    with raises(UsageError, "unknown-direction-method"):
        directions(tmp_path / "a", tmp_path / "e", method="sae")


def test_pairs_are_used(tmp_path):
    prompts = tuple(
        Prompt(text=f"{label} {i}", label=label, group=f"g{i % 6}", pair=f"p{i}")
        for i in range(24)
        for label in ("no_tool", "tool")
    )
    pairs = PromptSet(name="pairs", labels=("no_tool", "tool"), prompts=prompts)
    write_planted(tmp_path / "a", prompts=pairs, n_layers=2, d=32)
    found, _ = directions(tmp_path / "a", tmp_path / "d", layers="1", n_boot=50)
    assert found.layers[0].paired
    assert found.layers[0].pair_cosine is not None


def test_the_table_of_directions_has_the_p_and_the_pair_cosine(chain):
    found = chain.directions
    text = terminal(present(found))
    assert "pair cos" not in text
    assert text.count("The other layers: with --json.") == 2  # per category, per tool
    row = next(line for line in text.splitlines() if line.startswith("L0 "))
    assert f"{found.layers[0].p_any:.3f}" in row.split()
    paired = [replace(each, pair_cosine=(0.375, 0.3, 0.4)) for each in found.layers]
    lines = terminal(present(replace(found, layers=paired))).splitlines()
    header = next(line for line in lines if line.startswith("layer "))
    assert header.split()[-3:] == ["pair", "cos", "norm"]
    row = next(line for line in lines if line.startswith("L0 "))
    assert row.split()[-2] == "0.38"
