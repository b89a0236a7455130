"""Killed, interrupted or damaged: the same command ends with the same archive, or says why not."""

import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from errors import raises
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from processes import TESTS, run_code
from written import RUN, SMALL, Plan, files, shards

from circuit.artifacts.activations.activations import Activations
from circuit.artifacts.activations.writer import unfinished_origin
from circuit.artifacts.archive import resumable
from circuit.artifacts.archive.journal import journal_path
from circuit.errors import ArtifactError

quick = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def interrupt(stem: Path, units: int = 2, plan: Plan = SMALL, **options) -> None:
    """Leave the run after some batches, as Ctrl-C does."""
    rows = range(plan.n)
    with pytest.raises(KeyboardInterrupt), plan.writer(stem, **options) as writer:
        for unit, batch in enumerate(plan.batches(rows)):
            if unit == units:
                raise KeyboardInterrupt
            plan.put(writer, rows, batch)
            writer.done(unit)


def test_a_kill_at_every_system_call_changes_no_byte():
    # Hundreds of runs: in memory, where there is a file system for that.
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        with run_code(TESTS / "kill_points.py", folder) as process:
            assert process.stdout is not None
            kills = int(process.stdout.read())
    assert kills > 150


@pytest.fixture(scope="module")
def moments(tmp_path_factory) -> list[tuple[bytes, bytes]]:
    """The partial file and the journal after each batch, none of which was forced to the disk."""
    found, rows = [], range(SMALL.n)
    stem = tmp_path_factory.mktemp("moments") / "a"
    with SMALL.writer(stem) as writer:
        partial, journal = (
            writer.path.with_suffix(".safetensors.partial"),
            journal_path(writer.path),
        )
        for unit, batch in enumerate(SMALL.batches(rows)):
            found.append((partial.read_bytes(), journal.read_bytes()))
            SMALL.put(writer, rows, batch)
            writer.done(unit)
        found.append((partial.read_bytes(), journal.read_bytes()))
    return found


@quick
@given(st.data())
def test_rows_lost_in_a_power_failure_are_written_again(tmp_path: Path, moments, whole, data):
    """The power fails: old and new blocks of data are mixed, the journal is cut anywhere."""
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    first, last = moments[0], moments[data.draw(st.integers(0, len(moments) - 1))]
    block = data.draw(st.sampled_from([16, 64, 512]))
    taken = data.draw(st.lists(st.booleans(), min_size=1, max_size=50))
    mixed = bytearray(first[0])
    for number, begin in enumerate(range(0, len(mixed), block)):
        if taken[number % len(taken)]:
            mixed[begin : begin + block] = last[0][begin : begin + block]
    (tmp_path / "a.safetensors.partial").write_bytes(mixed)
    end = data.draw(st.integers(len(first[1]), len(last[1])))
    journal_path(tmp_path / "a.safetensors").write_bytes(last[1][:end])
    with SMALL.writer(tmp_path / "a") as writer:
        assert writer.finished <= set(range(len(moments) - 1))
        assert writer.finished or not all(taken) or end < len(moments[1][1])
        SMALL.fill(writer, range(SMALL.n))
        writer.finish(run=RUN)
    assert (tmp_path / "a.safetensors").read_bytes() == whole
    assert files(tmp_path) == ["a.json", "a.safetensors"]


def test_ctrl_c_keeps_finished_batches_only(tmp_path: Path, whole):
    interrupt(tmp_path / "a", units=0)
    assert files(tmp_path) == []
    interrupt(tmp_path / "a", units=2)
    assert files(tmp_path) == ["a.safetensors.journal", "a.safetensors.partial"]
    assert unfinished_origin(tmp_path / "a")["parameters"] == SMALL.origin(tmp_path).parameters
    with SMALL.writer(tmp_path / "a") as writer:
        assert writer.finished == {0, 1}
    with SMALL.writer(tmp_path / "a", force=True) as writer:
        assert writer.finished == set()
    assert files(tmp_path) == []
    assert unfinished_origin(tmp_path / "a") is None
    interrupt(tmp_path / "a", units=3)
    assert SMALL.write(tmp_path / "a").archive.path.read_bytes() == whole


def test_a_forced_run_resumes_only_a_forced_run(tmp_path: Path, whole):
    """In a rule of a Makefile ``--force`` is part of the command, which must resume, too."""
    replace(SMALL, seed=1).write(tmp_path / "a")
    interrupt(tmp_path / "a", force=True)
    with SMALL.writer(tmp_path / "a", force=True) as writer:
        assert writer.finished == {0, 1}
    with replace(SMALL, seed=2).writer(tmp_path / "a", force=True) as writer:
        assert writer.finished == set()
    interrupt(tmp_path / "a", force=True)
    partial = tmp_path / "a.safetensors.partial"
    partial.write_bytes(partial.read_bytes()[:-1])
    with SMALL.writer(tmp_path / "a", force=True) as writer:
        assert writer.finished == set()
    assert Activations.open(tmp_path / "a").manifest.parameters["seed"] == 1
    assert SMALL.write(tmp_path / "a", force=True).archive.path.read_bytes() == whole
    assert files(tmp_path) == ["a.json", "a.safetensors"]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (
            {"origin": replace(SMALL, seed=5).origin(Path("x"))},
            "`parameters.seed` (5, it was 0)",
        ),
        (
            {"circumstances": {"device": "gpu"}},
            '`circumstances.device` ("gpu", it was nothing)',
        ),
        ({"dtype": "float16"}, "`layout`"),
        ({"token_ids": None}, "`layout`"),
    ],
)
def test_another_run_is_not_resumed(tmp_path: Path, whole, change, what):
    interrupt(tmp_path / "a")
    before = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    with raises(ArtifactError, "other-run-unfinished") as caught:
        SMALL.writer(tmp_path / "a", **change)
    assert str(caught.value.fields["differences"]).startswith(what)
    assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] == before
    assert SMALL.write(tmp_path / "a").archive.path.read_bytes() == whole


def test_an_unfinished_run_without_batches_is_replaced(tmp_path: Path, whole):
    other = replace(SMALL, seed=5).writer(tmp_path / "a")
    # Killed before the first batch: the files are there, and hold nothing.
    left = {path: path.read_bytes() for path in tmp_path.iterdir()}
    other.close()
    for path, data in left.items():
        path.write_bytes(data)
    assert SMALL.write(tmp_path / "a").archive.path.read_bytes() == whole
    assert files(tmp_path) == ["a.json", "a.safetensors"]


@pytest.mark.parametrize("victim", ["header", "rows", "size", "partial", "journal", "line"])
def test_damage_is_an_error_and_force_starts_again(tmp_path: Path, whole, victim):
    interrupt(tmp_path / "a", units=3)
    partial, journal = tmp_path / "a.safetensors.partial", tmp_path / "a.safetensors.journal"
    data, lines = bytearray(partial.read_bytes()), journal.read_bytes().splitlines(keepends=True)
    if victim == "header":
        data[10] ^= 1
    elif victim == "rows":
        value = SMALL.values("resid_post", 3, "last", int(SMALL.batches(range(SMALL.n))[1][0]))
        data[data.index(value.tobytes())] ^= 1
    elif victim == "size":
        data.append(0)
    elif victim == "journal":
        lines[0] = b"{}\n"
    elif victim == "line":
        unit = json.loads(lines[1])
        lines[1] = json.dumps({**unit, "unit": 3}).encode() + b"\n"
    partial.write_bytes(data)
    journal.write_bytes(b"".join(lines))
    if victim == "partial":
        partial.unlink()
    code = {"journal": "journal-damaged", "rows": "partial-file-damaged"}
    code["line"] = code["rows"]
    with raises(ArtifactError, code.get(victim, "partial-file-differs")):
        SMALL.writer(tmp_path / "a")
    assert journal.exists()
    SMALL.write(tmp_path / "a", force=True)
    assert (tmp_path / "a.safetensors").read_bytes() == whole
    assert files(tmp_path) == ["a.json", "a.safetensors"]


def test_batches_are_forced_to_the_disk_at_most_once_a_second(tmp_path: Path, monkeypatch):
    now = 0.0
    monkeypatch.setattr(resumable.time, "monotonic", lambda: now)
    with SMALL.writer(tmp_path / "a") as writer:
        for unit, batch in enumerate(SMALL.batches(range(SMALL.n))):
            SMALL.put(writer, range(SMALL.n), batch)
            now += 0.6
            writer.done(unit)
        lines = journal_path(writer.path).read_text().splitlines()
    kinds = [next(iter(json.loads(line))) for line in lines]
    assert kinds == ["schema", "unit", "unit", "synced", "unit", "unit", "synced"]


def test_a_shard_resumes_by_its_own_journal(tmp_path: Path):
    first, second = shards([0, 4, 7])
    for shard in (first, second):
        with pytest.raises(KeyboardInterrupt), SMALL.writer(tmp_path / "a", shard=shard) as writer:
            SMALL.put(writer, shard.rows, SMALL.batches(shard.rows)[0])
            writer.done(0)
            raise KeyboardInterrupt
    assert unfinished_origin(tmp_path / "a", first)["shard"] == {
        "number": 1,
        "of": 2,
        "rows": [0, 4],
    }
    with raises(ArtifactError, "other-run-unfinished"):
        SMALL.writer(tmp_path / "a", shard=replace(first, rows=range(3)))
    with SMALL.writer(tmp_path / "a", shard=first) as writer:
        assert writer.finished == {0}
    assert SMALL.write_shard(tmp_path / "a", first).missing == (2,)
    assert SMALL.write_shard(tmp_path / "a", second).activations is not None
    assert "a.safetensors.journal" not in files(tmp_path)
