"""Compare two checkouts on one machine: the bytes of archives, and the time of commands.

``python tests/bench/before_after.py BEFORE AFTER [--rounds N] [--only NAME]``. Both run in this virtual
environment, on the embedded model. ``bytes`` collects the same prompts with both and compares every
archive. Times are of pairs of runs, one after the other, whose order alternates, since the machine
may be doing other work: the least of each, and the median of the ratios of pairs, on the clock and,
in brackets, of the processor.
"""

import argparse
import hashlib
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
# Archives that must have the same bytes: many sites, positions, dtypes, formats, answers and shards.
SITES = (
    "embed,resid_mid,resid_post,attn_out,mlp_out,q_proj,q_rope,k_rope,z,head_out,mlp_act,"
    "attn_pattern"
)
COLLECTED = (
    "-o plain",
    f"-o sites --sites {SITES}",
    "-o positions --positions last,mean,-4: --layers 50%,-1",
    "-o half --dtype float16 --layers 50%",
    "-o brain --dtype bfloat16 --sites resid_post,mlp_out",
    "-o stored --store bfloat16 --max-length 32",
    "-o chat --chat --system Reply.",
    "-o raw --raw",
    "-o answered --generate 12",
    "-o parts --shard 1/2",
    "-o parts --shard 2/2",
    "-o small --batch-tokens 256",
)
BYTES = "bytes"


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


def archives(checkout: Path, folder: Path) -> dict[str, str]:
    """Collect all of ``COLLECTED`` and return the SHA-256 of each archive."""
    for line in COLLECTED:
        run(checkout, f"collect -m tiny -d prompts.json --limit 48 {line}", folder)
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("*.safetensors"))
    }


def main() -> None:
    """Print which archives differ, and a row for each command that is timed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", choices=[BYTES, *TIMED], action="append")
    options = parser.parse_args()
    checkouts = (options.before.resolve(), options.after.resolve())
    wanted = options.only or [BYTES, *TIMED]
    with tempfile.TemporaryDirectory() as scratch:
        folders = []
        for name, checkout in zip(("before", "after"), checkouts, strict=True):
            folders.append(Path(scratch) / name)
            folders[-1].mkdir()
            for line in PREPARED:
                run(checkout, line, folders[-1])
        pairs = list(zip(checkouts, folders, strict=True))
        if BYTES in wanted:
            compare_bytes(pairs)
        print(f"{'':8}  {'least, before':>16}  {'least, after':>16}  median of ratios")
        for name in [each for each in wanted if each != BYTES]:
            print(row(name, times(TIMED[name], pairs, options.rounds)), flush=True)


def compare_bytes(pairs: list[tuple[Path, Path]]) -> None:
    """Print how many archives both wrote alike, and stop for one that differs."""
    before, after = (archives(*pair) for pair in pairs)
    differ = [name for name in before | after if before.get(name) != after.get(name)]
    print(f"{len(before) - len(differ)} of {len(before)} archives have the same bytes", flush=True)
    if differ:
        sys.exit(f"these differ: {', '.join(differ)}")


def times(line: str, pairs: list[tuple[Path, Path]], rounds: int) -> list[list[Seconds]]:
    """Return the time before and after of each round; every other one begins with ``after``."""
    found = []
    for number in range(rounds + 1):
        order = (0, 1) if number % 2 else (1, 0)
        measured = {at: timed(pairs[at][0], line, pairs[at][1]) for at in order}
        found.append([measured[0], measured[1]])
    return found[1:]  # the first compiles and reads what the others find in caches


def row(name: str, pairs: list[list[Seconds]]) -> str:
    """Return the least of both, and the median ratio on the clock and of the processor."""
    cells = [
        f"{min(r.clock for r in runs):7.2f} s ({min(r.processor for r in runs):.2f})".rjust(16)
        for runs in zip(*pairs, strict=True)
    ]
    clock = statistics.median(after.clock / before.clock for before, after in pairs)
    used = statistics.median(after.processor / before.processor for before, after in pairs)
    return f"{name:8}  {cells[0]}  {cells[1]}  {clock:.3f} ({used:.3f})"


if __name__ == "__main__":
    main()
