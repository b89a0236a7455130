"""Killed, interrupted, damaged, out of space, or in each other's way: the archive is the same in the end, or there is an error."""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unprivileged import run_in_read_only
from written import RUN, Plan, shards

from circuit.artifacts import resumable
from circuit.artifacts.activations import Activations
from circuit.artifacts.activations_writer import interrupted
from circuit.artifacts.journal import journal_path
from circuit.errors import ArtifactError

TESTS = Path(__file__).parents[1]
PLAN = Plan(n=7, size=2, positions=("last", "all"))
quick = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def run_code(*arguments) -> subprocess.Popen:
    path = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    env = {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)


def interrupt(stem: Path, units: int = 2, plan: Plan = PLAN, **options) -> None:
    """Leave the run after some batches, as Ctrl-C does."""
    rows = range(plan.n)
    with pytest.raises(KeyboardInterrupt), plan.writer(stem, **options) as writer:
        for unit, batch in enumerate(plan.batches(rows)):
            if unit == units:
                raise KeyboardInterrupt
            plan.put(writer, rows, batch)
            writer.done(unit)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    return PLAN.write(tmp_path_factory.mktemp("whole") / "a").archive.path.read_bytes()


def test_it_may_be_killed_at_every_system_call():
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
    found, rows = [], range(PLAN.n)
    stem = tmp_path_factory.mktemp("moments") / "a"
    with PLAN.writer(stem) as writer:
        partial, journal = (
            writer.path.with_suffix(".safetensors.partial"),
            journal_path(writer.path),
        )
        for unit, batch in enumerate(PLAN.batches(rows)):
            found.append((partial.read_bytes(), journal.read_bytes()))
            PLAN.put(writer, rows, batch)
            writer.done(unit)
        found.append((partial.read_bytes(), journal.read_bytes()))
    return found


@quick
@given(st.data())
def test_a_row_that_never_reached_the_disk_is_not_believed(tmp_path: Path, moments, whole, data):
    """The power fails: any mixture of old and new blocks of data, and any beginning of the journal."""
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
    with PLAN.writer(tmp_path / "a") as writer:
        assert writer.finished <= set(range(len(moments) - 1))
        assert writer.finished or not all(taken) or end < len(moments[1][1])
        PLAN.fill(writer, range(PLAN.n))
        writer.finish(run=RUN)
    assert (tmp_path / "a.safetensors").read_bytes() == whole
    assert files(tmp_path) == ["a.json", "a.safetensors"]


def test_ctrl_c_keeps_what_is_done_and_nothing_else(tmp_path: Path, whole):
    interrupt(tmp_path / "a", units=0)
    assert files(tmp_path) == []
    interrupt(tmp_path / "a", units=2)
    assert files(tmp_path) == ["a.safetensors.journal", "a.safetensors.partial"]
    assert interrupted(tmp_path / "a")["parameters"] == PLAN.origin(tmp_path).parameters
    with PLAN.writer(tmp_path / "a") as writer:
        assert writer.finished == {0, 1}
    with PLAN.writer(tmp_path / "a", force=True) as writer:
        assert writer.finished == set()
    assert files(tmp_path) == []
    assert interrupted(tmp_path / "a") is None
    interrupt(tmp_path / "a", units=3)
    assert PLAN.write(tmp_path / "a").archive.path.read_bytes() == whole


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"origin": replace(PLAN, seed=5).origin(Path("x"))}, r"`parameters.seed` \(5, it was 0\)"),
        (
            {"circumstances": {"device": "gpu"}},
            r"`circumstances.device` \(\"gpu\", it was nothing\)",
        ),
        ({"dtype": "float16"}, "`layout`"),
        ({"token_ids": None}, "`layout`"),
    ],
)
def test_another_run_does_not_go_on(tmp_path: Path, whole, change, what):
    interrupt(tmp_path / "a")
    before = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    with pytest.raises(ArtifactError, match=f"of another run: {what}") as caught:
        PLAN.writer(tmp_path / "a", **change)
    assert "--force" in caught.value.hint
    assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] == before
    assert PLAN.write(tmp_path / "a").archive.path.read_bytes() == whole


def test_an_unfinished_run_of_nothing_stands_in_nobodys_way(tmp_path: Path, whole):
    other = replace(PLAN, seed=5).writer(tmp_path / "a")
    # Killed before the first batch: the files are there, and hold nothing.
    left = {path: path.read_bytes() for path in tmp_path.iterdir()}
    other.close()
    for path, data in left.items():
        path.write_bytes(data)
    assert PLAN.write(tmp_path / "a").archive.path.read_bytes() == whole
    assert files(tmp_path) == ["a.json", "a.safetensors"]


@pytest.mark.parametrize("victim", ["header", "rows", "size", "partial", "journal", "line"])
def test_damage_is_an_error_and_force_starts_again(tmp_path: Path, whole, victim):
    interrupt(tmp_path / "a", units=3)
    partial, journal = tmp_path / "a.safetensors.partial", tmp_path / "a.safetensors.journal"
    data, lines = bytearray(partial.read_bytes()), journal.read_bytes().splitlines(keepends=True)
    if victim == "header":
        data[10] ^= 1
    elif victim == "rows":
        value = PLAN.values("resid_post", 3, "last", int(PLAN.batches(range(PLAN.n))[1][0]))
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
    with pytest.raises(ArtifactError) as caught:
        PLAN.writer(tmp_path / "a")
    assert "--force starts again" in caught.value.hint
    assert journal.exists()
    PLAN.write(tmp_path / "a", force=True)
    assert (tmp_path / "a.safetensors").read_bytes() == whole
    assert files(tmp_path) == ["a.json", "a.safetensors"]


def test_what_is_done_is_forced_to_the_disk_at_most_once_a_second(tmp_path: Path, monkeypatch):
    now = 0.0
    monkeypatch.setattr(resumable.time, "monotonic", lambda: now)
    with PLAN.writer(tmp_path / "a") as writer:
        for unit, batch in enumerate(PLAN.batches(range(PLAN.n))):
            PLAN.put(writer, range(PLAN.n), batch)
            now += 0.6
            writer.done(unit)
        lines = journal_path(writer.path).read_text().splitlines()
    kinds = [next(iter(json.loads(line))) for line in lines]
    assert kinds == ["schema", "unit", "unit", "synced", "unit", "unit", "synced"]


def test_a_batch_may_be_written_by_another_thread(tmp_path: Path, whole):
    with PLAN.writer(tmp_path / "a") as writer:
        thread = threading.Thread(target=PLAN.fill, args=(writer, range(PLAN.n)))
        thread.start()
        thread.join()
        writer.finish(run=RUN)
    assert (tmp_path / "a.safetensors").read_bytes() == whole


def test_a_manifest_that_cannot_be_written_costs_no_work(tmp_path: Path, whole):
    with pytest.raises(ArtifactError, match="is a folder"):
        with PLAN.writer(tmp_path / "a") as writer:
            PLAN.fill(writer, range(PLAN.n))
            (tmp_path / "a.json").mkdir()
            writer.finish(run=RUN)
    (tmp_path / "a.json").rmdir()
    assert files(tmp_path) == ["a.safetensors", "a.safetensors.journal"]
    with PLAN.writer(tmp_path / "a") as writer:
        assert writer.finished == {0, 1, 2, 3}
        writer.finish(run=RUN)
    assert (tmp_path / "a.safetensors").read_bytes() == whole
    assert files(tmp_path) == ["a.json", "a.safetensors"]


def test_a_disk_that_fills_up_costs_the_last_batch(tmp_path: Path, whole):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(ArtifactError, match="no space left"):
            with PLAN.writer(tmp_path / "a") as writer:
                PLAN.put(writer, range(PLAN.n), PLAN.batches(range(PLAN.n))[0])
                writer.done(0)
                resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
                PLAN.put(writer, range(PLAN.n), PLAN.batches(range(PLAN.n))[1])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with PLAN.writer(tmp_path / "a") as writer:
        assert writer.finished == {0}
    assert PLAN.write(tmp_path / "a").archive.path.read_bytes() == whole


def test_no_space_for_the_archive_is_noticed_before_the_work(tmp_path: Path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    try:
        with pytest.raises(ArtifactError, match="no space left"):
            PLAN.writer(tmp_path / "a")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert files(tmp_path) == []


def test_a_folder_that_is_not_writable(tmp_path: Path):
    code = (
        "import pathlib; from circuit.artifacts.journal import Journal\n"
        "from circuit.errors import ArtifactError\n"
        "try: Journal(pathlib.Path('a.safetensors'))\n"
        "except ArtifactError as error: print(error)\n"
    )
    assert "the folder is not writable" in run_in_read_only(tmp_path, code)


def test_one_process_writes_at_a_time(tmp_path: Path, whole):
    with PLAN.writer(tmp_path / "a") as first:
        for force in (False, True):
            with pytest.raises(ArtifactError, match="by another process"):
                PLAN.writer(tmp_path / "a", force=force)
        PLAN.fill(first, range(PLAN.n))
        first.finish(run=RUN)
    assert (tmp_path / "a.safetensors").read_bytes() == whole


def test_who_waited_for_a_lock_sees_what_became_of_the_file(tmp_path: Path, monkeypatch):
    """Another process finishes between the opening of the journal and its locking."""
    from circuit.artifacts import locks

    first = PLAN.writer(tmp_path / "a")
    PLAN.fill(first, range(PLAN.n))
    really = locks.fcntl.flock

    def finish_and_lock(file, how):
        monkeypatch.setattr(locks.fcntl, "flock", really)
        first.finish(run=RUN)
        really(file, how)

    monkeypatch.setattr(locks.fcntl, "flock", finish_and_lock)
    with pytest.raises(ArtifactError, match="already there"):
        PLAN.writer(tmp_path / "a")
    assert files(tmp_path) == ["a.json", "a.safetensors"]


CONTEND = """
import sys
from pathlib import Path
from written import Plan
from circuit.errors import ArtifactError
plan, refused = Plan(n=7, size=2, positions=("last", "all")), 0
for number in range(20):
    while True:
        try:
            plan.write(Path(sys.argv[1]) / str(number))
            break
        except ArtifactError as error:
            assert "another process" in str(error) or "already there" in str(error), error
            refused += 1
print(refused)
"""


def test_many_processes_want_the_same_archive(tmp_path: Path, whole):
    running = [run_code("-c", CONTEND, tmp_path) for _ in range(3)]
    for process in running:
        with process:
            assert process.stdout is not None
            int(process.stdout.read())
        assert process.returncode == 0
    for number in range(20):
        assert Activations.open(tmp_path / str(number)).archive.path.read_bytes() == whole
    assert len(files(tmp_path)) == 40


def test_a_shard_goes_on_by_its_own_journal(tmp_path: Path):
    first, second = shards([0, 4, 7])
    for shard in (first, second):
        with pytest.raises(KeyboardInterrupt), PLAN.writer(tmp_path / "a", shard=shard) as writer:
            PLAN.put(writer, shard.rows, PLAN.batches(shard.rows)[0])
            writer.done(0)
            raise KeyboardInterrupt
    assert interrupted(tmp_path / "a", first)["shard"] == {"number": 1, "of": 2, "rows": [0, 4]}
    with pytest.raises(ArtifactError, match=r"`shard.rows` \(\[0,3\], it was \[0,4\]\)"):
        PLAN.writer(tmp_path / "a", shard=replace(first, rows=range(3)))
    with PLAN.writer(tmp_path / "a", shard=first) as writer:
        assert writer.finished == {0}
    assert PLAN.write_shard(tmp_path / "a", first).missing == (2,)
    assert PLAN.write_shard(tmp_path / "a", second).activations is not None
    assert "a.safetensors.journal" not in files(tmp_path)
