"""Activations: rows go where they belong and come back with their prompts."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from circuit.artifacts.activations import Activations, ActivationsWriter
from circuit.artifacts.manifest import ModelIdentity, Run
from circuit.artifacts.prompts import PromptSet
from circuit.errors import ArtifactError, CircuitError, UsageError

MODEL = ModelIdentity(id="m", n_layers=8, d_model=4)
PROMPTS = PromptSet.model_validate(
    {
        "name": "s",
        "labels": ["no", "yes"],
        "prompts": [
            {"text": f"{i} ", "label": ["no", "yes", None][i % 3], "group": f"g{i % 2}"}
            for i in range(6)
        ],
    }
)
SITES = [("embed", 0), ("resid_post", 2), ("resid_post", 5)]


def array(site: str, layer: int, position: str) -> np.ndarray:
    seed = [ord(c) for c in site + position] + [layer]
    return np.random.default_rng(seed).normal(size=(6, 4)).astype(np.float32)


def collected(
    stem: Path, positions=("last",), parameters: Any = None, **options: Any
) -> Activations:
    writer = Activations.create(
        stem, prompts=PROMPTS, sites_layers=SITES, positions=positions, d_model=4, **options
    )
    with writer:
        for rows in ([5, 0], [1, 2, 4], [3]):
            for site, layer in SITES:
                for position in positions:
                    writer.put(
                        site, layer, position, np.array(rows), array(site, layer, position)[rows]
                    )
        return writer.finish(
            parameters=parameters or {}, inputs=[], run=Run.since(time.perf_counter()), model=MODEL
        )


def test_what_was_put_is_read(tmp_path: Path):
    collected(tmp_path / "a")
    for name in ("a", "a.json", "a.safetensors"):
        opened = Activations.open(tmp_path / name)
        assert (opened.sites, opened.positions, opened.layers("resid_post")) == (
            ["embed", "resid_post"],
            ["last"],
            [2, 5],
        )
        assert (opened.n_layers, opened.d_model, opened.labels) == (8, 4, ["no", "yes"])
        assert [p.text for p in opened.prompts] == PROMPTS.texts
        for site, layer in SITES:
            np.testing.assert_array_equal(opened.read(site, layer), array(site, layer, "last"))
    rows, y = opened.y()
    assert (rows.tolist(), y.tolist()) == ([0, 1, 3, 4], [0, 1, 0, 1])
    assert opened.groups().tolist() == ["g0", "g1"] * 3
    assert opened.archive.names == ["embed", "resid_post.2", "resid_post.5"]


def test_positions_have_names_of_their_own(tmp_path: Path):
    opened = collected(tmp_path / "a", positions=("last", "mean"))
    assert "resid_post.2@mean" in opened.archive.names
    np.testing.assert_array_equal(
        opened.read("resid_post", 2, "mean"), array("resid_post", 2, "mean")
    )
    with pytest.raises(UsageError, match="more than one position"):
        opened.read("resid_post", 2)
    with pytest.raises(UsageError, match="no position `first`"):
        opened.read("resid_post", 2, "first")


def test_what_was_not_collected_is_an_error(tmp_path: Path):
    opened = collected(tmp_path / "a")
    with pytest.raises(UsageError, match="no layer 3") as caught:
        opened.read("resid_post", 3)
    assert "2, 5" in caught.value.hint
    with pytest.raises(UsageError, match="no site `mlp_out`"):
        opened.layers("mlp_out")


def test_equal_runs_have_equal_bytes_but_for_run(tmp_path: Path):
    archives, manifests = set(), set()
    for name in "abc":
        (tmp_path / name).mkdir()
        collected(tmp_path / name / "x")
        archives.add((tmp_path / name / "x.safetensors").read_bytes())
        document = json.loads((tmp_path / name / "x.json").read_text())
        del document["run"]
        manifests.add(json.dumps(document))
    assert len(archives) == len(manifests) == 1


def test_a_failure_leaves_nothing(tmp_path: Path):
    def fail(writer: ActivationsWriter) -> None:
        with writer:
            writer.put("embed", 0, "last", [0], np.full((1, 4), np.nan))

    writer = ActivationsWriter(
        tmp_path / "a", prompts=PROMPTS, sites_layers=SITES, positions=["last"], d_model=4
    )
    with pytest.raises(ArtifactError, match="NaN"):
        fail(writer)
    assert not list(tmp_path.iterdir())


def test_a_manifest_that_cannot_be_written_takes_the_archive_with_it(tmp_path: Path):
    with pytest.raises(ArtifactError, match="there is no file"):
        writer = ActivationsWriter(
            tmp_path / "a", prompts=PROMPTS, sites_layers=SITES[:1], positions=["last"], d_model=4
        )
        with writer:
            writer.put("embed", 0, "last", range(6), np.ones((6, 4)))
            writer.finish(parameters={}, inputs=[tmp_path / "nothing"], run=Run.since(0.0))
    assert not list(tmp_path.iterdir())


def test_another_run_is_not_overwritten_but_a_broken_one_is(tmp_path: Path):
    collected(tmp_path / "a")
    with pytest.raises(ArtifactError, match="already there"):
        collected(tmp_path / "a", positions=("mean",))
    collected(tmp_path / "a", positions=("mean",), force=True)
    (tmp_path / "a.json").unlink()
    assert collected(tmp_path / "a").positions == ["last"]


def test_an_archive_of_another_program_is_not_overwritten(tmp_path: Path):
    from safetensors.numpy import save_file

    save_file({"w": np.ones(3, np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(ArtifactError, match="already there"):
        collected(tmp_path / "model")
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_changed_archive_is_noticed(tmp_path: Path):
    collected(tmp_path / "a")
    data = bytearray((tmp_path / "a.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "a.safetensors").write_bytes(data)
    with pytest.raises(ArtifactError, match="is not the file that"):
        Activations.open(tmp_path / "a")


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["results"]["prompts"]["prompts"].pop(),
        lambda d: d["results"]["layers"].update(resid_post=[2, 7]),
        lambda d: d["results"].update(positions=[]),
        lambda d: d["results"].pop("prompts"),
        lambda d: d["outputs"].clear() or d["results"].update(layers={}),
        lambda d: d.update(schema="circuit.directions/1"),
    ],
)
def test_a_manifest_that_does_not_fit_is_one_sentence(tmp_path: Path, change):
    collected(tmp_path / "a")
    document = json.loads((tmp_path / "a.json").read_text())
    change(document)
    (tmp_path / "a.json").write_text(json.dumps(document))
    with pytest.raises(CircuitError) as caught:
        Activations.open(tmp_path / "a")
    assert caught.value.hint
    assert "\n" not in caught.value.message


def test_narrow_storage(tmp_path: Path):
    opened = collected(tmp_path / "a", dtype="bfloat16")
    np.testing.assert_allclose(opened.read("embed", 0), array("embed", 0, "last"), rtol=2**-8)


def test_sites_may_be_wider_than_the_model(tmp_path: Path):
    writer = ActivationsWriter(
        tmp_path / "a",
        prompts=PROMPTS,
        sites_layers=[("up_proj", 0)],
        positions=["last"],
        d_model=4,
        widths={"up_proj": 9},
    )
    with writer:
        writer.put("up_proj", 0, "last", range(6), np.ones((6, 9)))
        opened = writer.finish(parameters={}, inputs=[], run=Run.since(0.0))
    assert opened.read("up_proj", 0).shape == (6, 9)
    assert opened.n_layers == 1
