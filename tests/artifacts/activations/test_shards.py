"""Shards: what several processes wrote is read as what one would have written."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from errors import raises
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from processes import run_code
from signed import write_signed
from written import RUN, SITES, Plan, shards

from circuit.artifacts.activations import shards as joining
from circuit.artifacts.activations.activations import Activations
from circuit.artifacts.files.paths import archive_path, index_path, manifest_path, shard_path
from circuit.artifacts.manifest.manifest import reusable
from circuit.errors import ArtifactError, UsageError
from circuit.stages.checks.verify import verify

PLAN = Plan(n=7, size=2)
CUTS = [0, 3, 3, 7]
quick = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def write(stem: Path, plan: Plan = PLAN, cuts=CUTS, **options) -> Activations:
    for shard in shards(cuts):
        joined = plan.write_shard(stem, shard, **options)
    assert joined.activations is not None
    return joined.activations


@quick
@given(
    st.builds(
        Plan,
        n=st.integers(1, 9),
        size=st.integers(1, 4),
        seed=st.integers(0, 99),
        dtype=st.sampled_from(["float32", "float16", "bfloat16"]),
        positions=st.sampled_from([("last",), ("all",), ("last", "-6:", "mean")]),
    ),
    st.lists(st.integers(0, 9), max_size=3),
)
def test_shards_are_read_as_one(tmp_path_factory, plan: Plan, cuts):
    folder = tmp_path_factory.mktemp("shards")
    inner = sorted(min(cut, plan.n) for cut in cuts)
    finished = write(folder / "a", plan, [0, *inner, plan.n])
    one, parts = plan.write(folder / "b"), Activations.open(folder / "a")
    assert parts.contents == one.contents == finished.contents
    assert parts.manifest == finished.manifest
    same = ("parameters", "inputs", "model", "tokenizer", "results")
    assert all(getattr(parts.manifest, name) == getattr(one.manifest, name) for name in same)
    for site, layer in SITES:
        for position in plan.positions:
            for ours, theirs in zip(
                parts.ragged(site, layer, position), one.ragged(site, layer, position), strict=True
            ):
                np.testing.assert_array_equal(ours, theirs, strict=True)
            ours, theirs = (each.read(site, layer, position) for each in (parts, one))
            np.testing.assert_array_equal(ours, theirs, strict=True)
    calls = [Activations.token_ids, Activations.y, Activations.groups, Activations.pairs]
    calls += [lambda a, p=p: a.indices(p) for p in plan.positions if p != "mean"]
    for call in calls:
        for ours, theirs in zip(call(parts), call(one), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_every_name_of_a_sharded_archive_opens_it(tmp_path: Path):
    write(tmp_path / "run.v1")
    for name in ("run.v1", "run.v1.json", "run.v1.safetensors", "run.v1.safetensors.index.json"):
        assert manifest_path(tmp_path / name) == tmp_path / "run.v1.json"
        assert Activations.open(tmp_path / name).archive.path == index_path(tmp_path / name)
    index = json.loads((tmp_path / "run.v1.safetensors.index.json").read_text())
    assert [file["rows"] for file in index["files"]] == [[0, 3], [3, 3], [3, 7]]
    files = [archive_path(tmp_path / file["path"]) for file in index["files"]]
    assert index["metadata"]["total_size"] == sum(
        path.stat().st_size - 8 - int.from_bytes(path.read_bytes()[:8], "little") for path in files
    )


def test_what_is_missing_is_told(tmp_path: Path):
    first, second, third = shards(CUTS)
    assert PLAN.write_shard(tmp_path / "a", second).missing == (1, 3)
    with raises(ArtifactError, "shards-not-joined") as caught:
        Activations.open(tmp_path / "a")
    assert "--shard" in caught.value.hint
    PLAN.write_shard(tmp_path / "a", first)
    with raises(ArtifactError, "wrong-schema") as caught:
        Activations.open(tmp_path / "a-00001-of-00003.safetensors")
    assert "joint" in caught.value.hint
    assert PLAN.write_shard(tmp_path / "a", third).activations is not None
    (tmp_path / "a.json").unlink()
    with raises(ArtifactError, "shards-not-joined"):
        Activations.open(tmp_path / "a")


@pytest.mark.parametrize(("number", "of"), [(0, 2), (3, 2), (1, 0)])
def test_a_shard_that_does_not_exist(number: int, of: int):
    with raises(UsageError, "shard-out-of-range", number=number, count=of):
        shard_path(Path("a"), number, of)


def test_joining_again_changes_nothing(tmp_path: Path):
    write(tmp_path / "a")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write(tmp_path / "a")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_shards_of_another_run_are_not_joined(tmp_path: Path):
    first, *others = shards(CUTS)
    replace(PLAN, seed=3).write_shard(tmp_path / "a", first)
    for shard in others:
        joined = PLAN.write_shard(tmp_path / "a", shard)
    assert joined.others == {1: "`parameters.seed` (0, it was 3)"}
    assert joined.activations is None
    with raises(ArtifactError, "output-exists"):
        PLAN.writer(tmp_path / "a", shard=first)
    assert PLAN.write_shard(tmp_path / "a", first, force=True).activations is not None


def test_shards_that_overlap_are_not_joined(tmp_path: Path):
    first, _, third = shards(CUTS)
    PLAN.write_shard(tmp_path / "a", first)
    PLAN.write_shard(tmp_path / "a", replace(first, number=2))
    with raises(ArtifactError, "shards-incomplete"):
        PLAN.write_shard(tmp_path / "a", third)


def test_no_manifest_vouches_for_a_shard_that_is_replaced(tmp_path: Path):
    write(tmp_path / "a")
    with raises(ArtifactError, "output-exists"):
        PLAN.writer(tmp_path / "a", shard=shards(CUTS)[0])
    other = replace(PLAN, seed=4)
    joined = other.write_shard(tmp_path / "a", shards(CUTS)[0], force=True)
    assert sorted(joined.others) == [2, 3]
    assert not (tmp_path / "a.json").exists()
    assert not index_path(tmp_path / "a").exists()
    write(tmp_path / "a", other, force=True)
    np.testing.assert_array_equal(
        Activations.open(tmp_path / "a").read("resid_post", 3, "last"),
        other.stored("resid_post", 3, "last"),
    )


def test_one_file_may_replace_shards_and_shards_one_file(tmp_path: Path):
    write(tmp_path / "a")
    with raises(ArtifactError, "output-exists"):
        PLAN.writer(tmp_path / "a")
    assert PLAN.write(tmp_path / "a", force=True).archive.path.name == "a.safetensors"
    assert Activations.open(tmp_path / "a").archive.path.name == "a.safetensors"
    assert not index_path(tmp_path / "a").exists()
    assert write(tmp_path / "a", cuts=[0, 5, 7], force=True).archive.path == index_path(
        tmp_path / "a"
    )


def states(*paths: Path) -> dict[str, str]:
    return {finding.path.name: finding.status for finding in verify(paths)}


def test_verify_and_reuse_know_shards(tmp_path: Path):
    write(tmp_path / "a")
    parts = [f"a-0000{i}-of-00003" for i in (1, 2, 3)]
    joint = {"a.json", "a.safetensors.index.json", *(f"{part}.safetensors" for part in parts)}
    for name in ("a", "a.json", "a.safetensors.index.json"):
        assert states(tmp_path / name) == dict.fromkeys(joint, "ok")
    assert states(tmp_path) == dict.fromkeys(joint | {f"{part}.json" for part in parts}, "ok")
    assert set(states(tmp_path / parts[0]).values()) == {"ok"}
    asked = {
        "schema": "circuit.activations/2",
        "parameters": PLAN.origin(tmp_path).parameters,
        "inputs": [],
        "model": PLAN.origin(tmp_path).model,
    }
    assert reusable(tmp_path / "a.json", **asked) is not None
    data = bytearray((tmp_path / f"{parts[2]}.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / f"{parts[2]}.safetensors").write_bytes(data)
    assert states(tmp_path / "a")[f"{parts[2]}.safetensors"] == "changed"
    for call in (
        lambda: Activations.open(tmp_path / "a"),
        lambda: reusable(tmp_path / "a.json", **asked),
    ):
        with raises(ArtifactError, "output-changed"):
            call()
    (tmp_path / f"{parts[2]}.safetensors").unlink()
    assert states(tmp_path / "a")[f"{parts[2]}.safetensors"] == "missing"


def test_an_index_that_does_not_fit_is_an_error(tmp_path: Path):
    write(tmp_path / "a", cuts=[0, 3, 7])
    part = tmp_path / "a-00002-of-00002.safetensors"
    other = replace(PLAN, dtype="float16").write(tmp_path / "b").archive.path
    part.write_bytes(other.read_bytes())
    document = json.loads((tmp_path / "a.json").read_text())
    from circuit.artifacts.manifest.manifest import digest

    for output in document["outputs"]:
        output["sha256"] = digest(tmp_path / output["path"])
    write_signed(tmp_path / "a.json", document)
    with raises(ArtifactError, "shards-differ"):
        Activations.open(tmp_path / "a")


JOIN = """
import sys
from pathlib import Path
from written import Plan, shards
for number in range(10):
    shard = shards([0, 3, 7])[int(sys.argv[2])]
    Plan(n=7, size=2).write_shard(Path(sys.argv[1]) / str(number), shard)
"""


def test_two_that_finish_at_once_both_join(tmp_path: Path):
    running = [run_code("-c", JOIN, tmp_path, i) for i in (0, 1)]
    assert [process.communicate() for process in running] == [("", None)] * 2
    assert [process.returncode for process in running] == [0, 0]
    for number in range(10):
        opened = Activations.open(tmp_path / str(number))
        assert opened.token_ids()[6].tolist() == PLAN.token_ids[6].tolist()
    assert len(list(tmp_path.iterdir())) == 60


def test_joining_waits_for_another_process(tmp_path: Path, monkeypatch):
    first, second = shards([0, 3, 7])
    PLAN.write_shard(tmp_path / "a", first)
    monkeypatch.setattr(joining, "_TIMEOUT", 0.1)
    with PLAN.writer(tmp_path / "a"):
        with raises(ArtifactError, "output-locked"):
            PLAN.write_shard(tmp_path / "a", second)
    assert PLAN.write_shard(tmp_path / "a", second).activations is not None


def test_a_shard_ends_as_a_shard(tmp_path: Path):
    shard = shards([0, 3, 7])[0]
    with PLAN.writer(tmp_path / "a", shard=shard) as writer:
        PLAN.fill(writer, shard.rows)
        with pytest.raises(ValueError, match="ends with finish_shard"):
            writer.finish(run=RUN)
    with PLAN.writer(tmp_path / "b") as writer:
        with pytest.raises(ValueError, match="ends with finish"):
            writer.finish_shard(run=RUN)
