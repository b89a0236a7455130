"""Time commands of two checkouts in turn on one machine: medians and ratios.

``python tests/bench/before_after.py BEFORE AFTER [--rounds N] [--only NAME]``. Both run in this virtual
environment, on the embedded model; seconds are of the clock and, in brackets, of the processor.
"""

import argparse
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

PREPARED = (
    "dataset create -o prompts.json --set tool_calling --per-tool 60 --no-tool 220",
    "dataset create -o sums.json --set arithmetic_format --size 12",
    'steer -m tiny --extract --positive "1 - 1 = " --negative "1 - 1 =" --layer 3 -o computation.npz',
)
TIMED = {
    "help": "--help",
    "collect": "collect -m tiny -d prompts.json --limit 512 -o new",
    "steer": 'steer -m tiny -d computation.npz -p @sums.json --compare "-1,0,1" -n 8 -o new.json',
    "sweep": "steer sweep -m tiny -d computation.npz --test sums.json --criterion number -n 3 "
    "--dose-one 0.5 "
    '--doses "-1,-0.5,0,0.5,1" --random 3 --shuffled 0 -o new.json',
    "probes": "probes run -m tiny --category syntactic --layers 0,-1 -o new.json",
}


class Seconds(NamedTuple):
    """The time of one run, on the clock and of the processor."""

    clock: float
    processor: float


def run(checkout: Path, line: str, folder: Path) -> Seconds:
    """Run a command line with the ``circuit`` of ``checkout``."""
    command = [sys.executable, "-m", "circuit", *shlex.split(line)]
    env = {**os.environ, "PYTHONPATH": str(checkout), "HF_HUB_OFFLINE": "1"}
    begun = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=said, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
        clock = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            sys.exit(f"{checkout}: circuit {line}\n{said.read().decode()}")
    return Seconds(clock, used.ru_utime + used.ru_stime)


def timed(checkout: Path, line: str, prepared: Path) -> Seconds:
    """Run a command line where only its inputs are."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = shutil.copytree(prepared, Path(scratch) / "work")
        return run(checkout, line, folder)


def main() -> None:
    """Print a row for each command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", choices=list(TIMED), action="append")
    options = parser.parse_args()
    checkouts = (options.before.resolve(), options.after.resolve())
    with tempfile.TemporaryDirectory() as scratch:
        folders = []
        for name, checkout in zip(("before", "after"), checkouts, strict=True):
            folders.append(Path(scratch) / name)
            folders[-1].mkdir()
            for line in PREPARED:
                run(checkout, line, folders[-1])
        print(f"{'':8}  {'before':>16}  {'after':>16}  ratio")
        for name in options.only or TIMED:
            pairs = [
                [timed(c, TIMED[name], f) for c, f in zip(checkouts, folders, strict=True)]
                for _ in range(options.rounds + 1)
            ][1:]  # the first compiles and reads what the others find in caches
            print(row(name, pairs), flush=True)


def row(name: str, pairs: list[list[Seconds]]) -> str:
    """Return the medians of both, and their ratio on the clock and of the processor."""
    columns = [
        [statistics.median(each) for each in zip(*runs, strict=True)]
        for runs in zip(*pairs, strict=True)
    ]
    cells = [f"{clock:7.2f} s ({used:.2f})".rjust(16) for clock, used in columns]
    ratios = [after / before for before, after in zip(*columns, strict=True)]
    return f"{name:8}  {cells[0]}  {cells[1]}  {ratios[0]:.3f} ({ratios[1]:.3f})"


if __name__ == "__main__":
    main()
