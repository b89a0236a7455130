"""Speed as ratios of two things done alternately in one run: ``make bench``.

Each line is the median of five ratios, with their range; absolute numbers depend on the machine
and on what else it does, ratios hardly do. A comparison whose other side is not installed says so.
"""

import importlib.util
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # tests/checkpoints.py

from checkpoints import write_checkpoint

from circuit.model import runtime
from circuit.model.capture import BATCH_TOKENS, capture, pad_right, plan_batches
from circuit.model.generate import generate
from circuit.model.intervene import Steering, steered
from circuit.model.loading import LoadedModel, load_model
from circuit.model.sites import Site
from circuit.model.tokens import Encoded

SHAPE = {
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "head_dim": 32,
}


def main() -> None:
    ours, numpys = runtime.matmul_speed()
    print(f"float32 product 2048^3: MLX {ours:.0f} GFLOP/s, numpy {numpys:.0f}")
    with tempfile.TemporaryDirectory() as folder:
        model = load_model(str(write_checkpoint(Path(folder) / "bench", **SHAPE)))
        prompts = make_prompts(128)
        report("collect / bare forward pass (no head)", *collection(model, prompts))
        report("layers 0-1 of 8 / all layers", *early_exit(model, prompts))
        report("steered / unsteered generation", *steering(model, prompts[:32]))
        if importlib.util.find_spec("torch"):
            report("collect / transformers", *against_transformers(model, prompts))
        else:
            print("collect / transformers: torch is not installed (make test-parity installs it)")
    command = [sys.executable, "-m", "circuit", "--help"]
    bare = [sys.executable, "-c", "import typer"]
    report("circuit --help / python -c 'import typer'", quietly(command), quietly(bare))


def make_prompts(n: int) -> list[Encoded]:
    rng = np.random.default_rng(0)
    lengths = rng.integers(12, 49, size=n)
    return [Encoded(rng.integers(1, 250, size=k, dtype=np.int32)) for k in lengths]


def report(name: str, ours: Callable[[], object], other: Callable[[], object]) -> None:
    ours(), other()
    ratios = []
    for _ in range(5):
        a, b = seconds(ours), seconds(other)
        ratios.append(a / b)
    low, high = min(ratios), max(ratios)
    print(f"{name}: {statistics.median(ratios):.2f} of its time ({low:.2f} to {high:.2f})")


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def collection(model: LoadedModel, prompts: list[Encoded]):
    import mlx.core as mx

    sites = [Site("resid_post", layer) for layer in range(model.n_layers)]

    def bare() -> None:
        for rows in plan_batches([len(p.ids) for p in prompts], batch_tokens=BATCH_TOKENS):
            mx.eval(model.network.model(pad_right([prompts[row] for row in rows])))

    return lambda: list(capture(model, prompts, sites=sites)), bare


def early_exit(model: LoadedModel, prompts: list[Encoded]):
    def up_to(n: int) -> Callable[[], object]:
        sites = [Site("resid_post", layer) for layer in range(n)]
        return lambda: list(capture(model, prompts, sites=sites))

    return up_to(2), up_to(model.n_layers)


def steering(model: LoadedModel, prompts: list[Encoded]):
    vector = np.zeros(model.d_model, np.float32)
    vector[0] = 1

    def run(coefficient: float) -> None:
        with steered(model, [Steering(3, vector, coefficient)]):
            generate(model, prompts, max_tokens=32)

    return lambda: run(0.1), lambda: run(0.0)


def against_transformers(model: LoadedModel, prompts: list[Encoded]):
    import torch
    import transformers

    theirs = transformers.AutoModelForCausalLM.from_pretrained(model.folder).eval()
    ordered = sorted(prompts, key=lambda p: len(p.ids))

    def run() -> None:
        for start in range(0, len(ordered), 32):
            batch = ordered[start : start + 32]
            longest = len(batch[-1].ids)
            ids = torch.tensor([p.ids.tolist() + [0] * (longest - len(p.ids)) for p in batch])
            mask = torch.tensor([[1] * len(p.ids) + [0] * (longest - len(p.ids)) for p in batch])
            with torch.no_grad():
                theirs.model(ids, attention_mask=mask, output_hidden_states=True)

    sites = [Site("resid_post", layer) for layer in range(model.n_layers)]
    return lambda: list(capture(model, prompts, sites=sites)), run


def quietly(command: list[str]) -> Callable[[], object]:
    return lambda: subprocess.run(command, check=True, capture_output=True)


if __name__ == "__main__":
    main()
