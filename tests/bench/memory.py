"""Peak memory of ``circuit collect`` with 2,000 and with 50,000 prompts: within 5 % of each other.

    python tests/bench/memory.py [--model llama-110m | tiny | FOLDER] [--layers 0] [--prompts 2000 50000]

Each run is a process of its own; the figure is the kernel's (``ru_maxrss`` of the finished process). All weights are in
memory whatever the layers. transformers loads PyTorch where it is installed: 280 MiB that hide the rest.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import LLAMA_110M, checkpoint

WORDS = [
    "the",
    "river",
    "runs",
    "past",
    "an",
    "old",
    "mill",
    "where",
    "children",
    "feed",
    "grey",
    "ducks",
    "every",
    "spring",
    "morning",
]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="llama-110m")
    parser.add_argument("--layers", default="0")
    parser.add_argument("--prompts", type=int, nargs="+", default=[2000, 50000])
    chosen = parser.parse_args()
    model, peaks = chosen.model, []
    if model == "llama-110m":
        model = checkpoint(Path(tempfile.gettempdir()) / "circuit-bench" / model, LLAMA_110M)
    with tempfile.TemporaryDirectory() as folder:
        for n in chosen.prompts:
            peak, seconds = collect(Path(folder), str(model), n, chosen.layers)
            peaks.append(peak)
            print(f"{n} prompts: peak {peak / 2**20:.0f} MiB, {seconds:.1f} s", flush=True)
    print(f"largest / smallest: {max(peaks) / min(peaks):.3f}")


def collect(folder: Path, model: str, n: int, layers: str) -> tuple[int, float]:
    """Return the peak memory in bytes, and the seconds, of one collection of ``n`` prompts."""
    dataset = folder / f"{n}.json"
    write_prompts(dataset, n)
    command = [sys.executable, "-m", "circuit", "collect", "-m", model, "-d", dataset]
    command += ["-o", folder / f"acts-{n}", "--layers", layers]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        sys.exit(f"collect failed with {n} prompts")
    unit = 1 if sys.platform == "darwin" else 1024
    return usage.ru_maxrss * unit, time.perf_counter() - started


def write_prompts(path: Path, n: int) -> None:
    """Write prompts of 4 to 12 words, each other than the rest."""
    prompts = [
        {
            "text": f"{i} " + " ".join(WORDS[(i * k) % len(WORDS)] for k in range(1, 4 + i % 9)),
            "label": ["no", "yes"][i % 2],
            "group": f"g{i // 8}",
        }
        for i in range(n)
    ]
    document = {"schema": "circuit.prompts/1", "name": "many", "labels": ["no", "yes"]}
    path.write_text(json.dumps({**document, "prompts": prompts}))


if __name__ == "__main__":
    main()
