"""What the benchmarks share: a clock, ratios of two things done in turn, a checkpoint, prompts."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # tests/checkpoints.py

from checkpoints import write_checkpoint

from circuit.model.prompts.tokens import EncodedPrompt

REPEATS = 5
VOCABULARY = 32000
LLAMA_110M = {
    "hidden_size": 768,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_key_value_heads": 12,
    "head_dim": 64,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": True,
}
LLAMA_8B = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
    "rope_theta": 500000.0,
}


def checkpoint(folder: Path, shape: dict[str, object], dtype: str = "float32") -> Path:
    """Write a Llama of this shape with random weights, once."""
    if not (folder / "config.json").exists():
        write_checkpoint(folder, dtype=dtype, **shape)
    return folder


def make_prompts(
    n: int, shortest: int = 12, longest: int = 48, prefix: int = 0
) -> list[EncodedPrompt]:
    """Return n prompts of random tokens and lengths, after ``prefix`` tokens that all share."""
    rng = np.random.default_rng(0)
    shared = rng.integers(1, VOCABULARY - 1, size=prefix, dtype=np.int32)
    lengths = rng.integers(shortest, longest + 1, size=n)
    return [
        EncodedPrompt(
            np.concatenate([shared, rng.integers(1, VOCABULARY - 1, size=k, dtype=np.int32)])
        )
        for k in lengths
    ]


def report(
    name: str,
    ours: Callable[[], object],
    other: Callable[[], object],
    *,
    repeats: int = REPEATS,
    scale: float = 1.0,
) -> None:
    """Do both in turn, after one run of each that does not count; print the median ratio of times."""
    ours(), other()
    ratios, times = [], []
    for _ in range(repeats):
        a, b = seconds(ours), seconds(other)
        ratios.append(scale * a / b)
        times.append((a, b))
    low, high = min(ratios), max(ratios)
    a, b = (statistics.median(column) for column in zip(*times, strict=True))
    middle = statistics.median(ratios)
    print(
        f"{name}: {middle:.2f} of its time ({low:.2f} to {high:.2f}), "
        f"{1 / middle:.2f} times as fast; medians {a:.2f} s and {b:.2f} s",
        flush=True,
    )


def seconds(work: Callable[[], object]) -> float:
    """Return how long ``work`` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def quietly(command: list[str]) -> Callable[[], object]:
    """Return a function that runs a command and keeps what it prints to itself."""
    return lambda: subprocess.run(command, check=True, capture_output=True)
