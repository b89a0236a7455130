"""Write small outputs again and again, killed at every system call that changes a file.

    python kill_points.py FOLDER

Each run is a process of its own (a fork), which sends itself SIGKILL just before its k-th call, or
in the middle of it if it is a write; then come runs that are killed at random calls. The same
command follows, in the same folder, until it ends. Nothing may be left but the output, and it must
be that of an uninterrupted run: an archive with its manifest, shards, answers, measurements. Prints
how many kills there were.
"""

import json
import os
import random
import signal
import sys
import traceback
from pathlib import Path

from written import Plan, shards

from circuit.artifacts.activations.answers import Answer, AnswersWriter, Header
from circuit.artifacts.archive import resumable
from circuit.artifacts.files.atomic import write_file
from circuit.artifacts.files.documents import document_bytes
from circuit.artifacts.files.measurements import Measurements, remove_finished_measurements

CALLS = (
    "open",
    "pwrite",
    "ftruncate",
    "posix_fallocate",
    "fdatasync",
    "fsync",
    "replace",
    "unlink",
    "utime",
)
PLAN = Plan(n=3, size=2, positions=("-6:",))


def killed_at(number: int, command) -> bool:
    """Run ``command`` in a child that dies at its ``number``-th call; say whether it did."""
    child = os.fork()
    if child:
        status = os.waitpid(child, 0)[1]
        assert os.WIFSIGNALED(status) or status == 0, "the command failed"
        return os.WIFSIGNALED(status)
    count = iter(range(sys.maxsize))
    for name in CALLS:
        setattr(os, name, fatal(getattr(os, name), name, count, number))
    try:
        command()
        os._exit(0)
    finally:
        traceback.print_exc()
        os._exit(1)


def fatal(call, name, count, number):
    def wrapped(*args, **kwargs):
        if next(count) == number:
            if name == "pwrite":
                call(args[0], args[1][: len(args[1]) // 2], args[2])
            os.kill(os.getpid(), signal.SIGKILL)
        # What is written outlives the process; only a power failure would tell.
        return None if "sync" in name else call(*args, **kwargs)

    return wrapped


def content(folder: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for path in sorted(folder.iterdir()):
        document = json.loads(path.read_text()) if path.suffix == ".json" else None
        if document is not None:
            document.pop("run", None)
        found[path.name] = document or path.read_bytes()
    return found


def at_every_call(folder: Path, command, wanted) -> int:
    for number in range(sys.maxsize):
        here = folder / f"every{number}"
        here.mkdir()
        died = killed_at(number, lambda here=here: command(here / "x"))
        assert not killed_at(-1, lambda here=here: command(here / "x"))
        assert content(here) == wanted, (number, sorted(content(here)))
        if not died:
            return number
    return 0


def at_random_calls(folder: Path, command, wanted, seed: int) -> int:
    folder.mkdir()
    kills, rng = 0, random.Random(seed)
    while killed_at(rng.randrange(8, 80), lambda: command(folder / "x")):
        kills += 1
    assert content(folder) == wanted, sorted(content(folder))
    return kills


def write_shards(stem: Path) -> None:
    for shard in shards([0, 2, 3]):
        PLAN.write_shard(stem, shard)


def write_answers(stem: Path) -> None:
    header = Header(key="k", max_tokens=8, criteria=())
    with AnswersWriter(stem, header, range(4)) as writer:
        for rows in ([2, 0], [3, 1]):
            if not writer.has(rows):
                said = {"text": "é", "n_tokens": 1, "finished": True, "verdicts": {}}
                writer.put([Answer(row=row, **said) for row in rows])
        writer.finish()


def write_measurements(path: Path) -> None:
    if not path.exists():
        with Measurements(path, {"a": 1}) as kept:
            results = [kept.get(name, lambda name=name: {"m": name}) for name in "abc"]
            write_file(path, document_bytes(results))
            kept.discard()
    remove_finished_measurements(path)


def main(folder: Path) -> None:
    kills = 0
    # What is done is marked as forced to the disk each time, or once, at the end.
    for name, command, seconds in (
        ("marked", PLAN.write, 0.0),
        ("forced", lambda stem: PLAN.write(stem, force=True), 60.0),
        ("shards", write_shards, 0.0),
        ("answers", write_answers, 0.0),
        ("measurements", write_measurements, 0.0),
    ):
        resumable.SYNC_SECONDS = seconds
        here = folder / name
        (here / "wanted").mkdir(parents=True)
        command(here / "wanted" / "x")
        wanted = content(here / "wanted")
        kills += at_every_call(here, command, wanted)
        for seed in range(3):
            kills += at_random_calls(here / f"random{seed}", command, wanted, seed)
    print(kills)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
