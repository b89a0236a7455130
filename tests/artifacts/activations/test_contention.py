"""Other threads, other processes, full disks, many prompts: what an archive in the making meets."""

import json
import resource
import sys
import threading
from pathlib import Path

from errors import raises
from processes import run_code, run_in_read_only
from written import RUN, SMALL, files

from circuit.artifacts.activations.activations import Activations
from circuit.errors import ArtifactError


def test_a_batch_may_be_written_by_another_thread(tmp_path: Path, whole):
    with SMALL.writer(tmp_path / "a") as writer:
        thread = threading.Thread(target=SMALL.fill, args=(writer, range(SMALL.n)))
        thread.start()
        thread.join()
        writer.finish(run=RUN)
    assert (tmp_path / "a.safetensors").read_bytes() == whole


def test_a_failed_manifest_loses_no_batch(tmp_path: Path, whole):
    with raises(ArtifactError, "output-is-folder"):
        with SMALL.writer(tmp_path / "a") as writer:
            SMALL.fill(writer, range(SMALL.n))
            (tmp_path / "a.json").mkdir()
            writer.finish(run=RUN)
    (tmp_path / "a.json").rmdir()
    assert files(tmp_path) == ["a.safetensors", "a.safetensors.journal"]
    with SMALL.writer(tmp_path / "a") as writer:
        assert writer.finished == {0, 1, 2, 3}
        writer.finish(run=RUN)
    assert (tmp_path / "a.safetensors").read_bytes() == whole
    assert files(tmp_path) == ["a.json", "a.safetensors"]


def test_a_full_disk_loses_only_the_last_batch(tmp_path: Path, whole):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with raises(ArtifactError, "no-space-left"):
            with SMALL.writer(tmp_path / "a") as writer:
                SMALL.put(writer, range(SMALL.n), SMALL.batches(range(SMALL.n))[0])
                writer.done(0)
                resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
                SMALL.put(writer, range(SMALL.n), SMALL.batches(range(SMALL.n))[1])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with SMALL.writer(tmp_path / "a") as writer:
        assert writer.finished == {0}
    assert SMALL.write(tmp_path / "a").archive.path.read_bytes() == whole


def test_no_space_for_the_archive_is_noticed_before_the_work(tmp_path: Path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    try:
        with raises(ArtifactError, "no-space-left"):
            SMALL.writer(tmp_path / "a")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert files(tmp_path) == []


def test_a_folder_that_is_not_writable(tmp_path: Path):
    code = (
        "import pathlib; from circuit.artifacts.archive.journal import open_journal\n"
        "from circuit.errors import ArtifactError\n"
        "try: open_journal(pathlib.Path('a.safetensors'))\n"
        "except ArtifactError as error: print(error)\n"
    )
    assert "the folder is not writable" in run_in_read_only(tmp_path, code)


def test_one_process_writes_at_a_time(tmp_path: Path, whole):
    with SMALL.writer(tmp_path / "a") as first:
        for force in (False, True):
            with raises(ArtifactError, "output-locked"):
                SMALL.writer(tmp_path / "a", force=force)
        SMALL.fill(first, range(SMALL.n))
        first.finish(run=RUN)
    assert (tmp_path / "a.safetensors").read_bytes() == whole


def test_a_lock_on_a_renamed_file_is_not_held(tmp_path: Path, monkeypatch):
    """Another process finishes between the opening of the journal and its locking."""
    from circuit.artifacts.files import locks

    first = SMALL.writer(tmp_path / "a")
    SMALL.fill(first, range(SMALL.n))
    really = locks.fcntl.flock

    def finish_and_lock(file, how):
        monkeypatch.setattr(locks.fcntl, "flock", really)
        first.finish(run=RUN)
        really(file, how)

    monkeypatch.setattr(locks.fcntl, "flock", finish_and_lock)
    with raises(ArtifactError, "output-exists"):
        SMALL.writer(tmp_path / "a")
    assert files(tmp_path) == ["a.json", "a.safetensors"]


CONTEND = """
import sys
from pathlib import Path
from written import SMALL
from circuit.errors import ArtifactError
refused = 0
for number in range(20):
    while True:
        try:
            SMALL.write(Path(sys.argv[1]) / str(number))
            break
        except ArtifactError as error:
            assert "another process" in str(error) or "already there" in str(error), error
            refused += 1
print(refused)
"""


def test_many_processes_write_the_same_archive(tmp_path: Path, whole):
    running = [run_code("-c", CONTEND, tmp_path) for _ in range(3)]
    for process in running:
        with process:
            assert process.stdout is not None
            int(process.stdout.read())
        assert process.returncode == 0
    for number in range(20):
        assert Activations.open(tmp_path / str(number)).archive.path.read_bytes() == whole
    assert len(files(tmp_path)) == 40


COLLECT = """
import sys, tracemalloc
from pathlib import Path
import numpy as np
from circuit.artifacts.activations.arrangement import ArrayPlan
from circuit.artifacts.activations.writer import ActivationsWriter
from circuit.artifacts.manifest.manifest import Run
from circuit.artifacts.manifest.origin import Origin
from circuit.artifacts.prompts.read import read_prompts
folder, n = Path(sys.argv[1]), int(sys.argv[2])
tracemalloc.start()
prompts = read_prompts(folder / "prompts.json")
ids, rows = np.zeros(10, np.int32), np.ones((512, 8), np.float32)
tracemalloc.reset_peak()
with ActivationsWriter(
    folder / "a",
    ArrayPlan(
        sites_layers=[("embed", 0)], positions=["-2:"], d_model=8,
        counts={("embed", "-2:"): [2] * n}, token_ids=[ids] * n, indices={"-2:": [ids[:2]] * n},
    ),
    prompts=prompts,
    origin=Origin.of(folder / "a", parameters={}, inputs=[folder / "prompts.json"]),
) as writer:
    for unit, first in enumerate(range(0, n, 256)):
        batch = np.arange(first, min(first + 256, n))
        writer.put("embed", 0, "-2:", batch, rows[: 2 * len(batch)])
        writer.done(unit)
    writer.finish(run=Run.since(0.0))
print(tracemalloc.get_traced_memory()[1])
"""


def test_a_prompt_needs_little_more_memory_than_its_text(tmp_path: Path):
    peaks = {}
    for n in (2_000, 12_000):
        folder = tmp_path / str(n)
        folder.mkdir()
        prompts = [
            {"text": "x" * 300, "label": "ab"[i % 2], "group": f"g{i % 99}"} for i in range(n)
        ]
        document = {"schema": "circuit.prompts/1", "name": "s", "labels": ["a", "b"]}
        (folder / "prompts.json").write_text(json.dumps({**document, "prompts": prompts}))
        with run_code("-c", COLLECT, folder, n) as process:
            assert process.stdout is not None
            peaks[n] = int(process.stdout.read())
    assert (peaks[12_000] - peaks[2_000]) / 10_000 < sys.getsizeof("x" * 300) + 250
