"""Where the truth is known: does circuit say what was planted, and nothing else? One line for each claim.

    python tests/bench/planted.py [--seeds 100] [--only checkpoint noise direction surface]

checkpoint  a model of 5 blocks of which block k alone mixes tokens, so that a letter inside a word reaches the last token there: the
            whole of `probes run` on 96 pairs of prompts, k = 0 … 4 in turn, other weights and words for each seed
noise       6 layers of noise (80 rows, 20 groups, 64 features) with a concept of length 4 from layer k on, k = 0 … 4
direction   cosine of `mean_diff` with the planted direction beside 1 / √(1 + d σ² (1/n⁺ + 1/n⁻) / ‖δ‖²), d features of noise σ = 1
surface     6 layers that hold what a feature of the text holds (AUROC 0.85), and noise beside it: what is it called?

`right`: the emergence layer is k; `held`: its 90 % interval holds k; `open`: of these, ends in "never"; `early`: the layer is before k.
"""

import argparse
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from circuit.methods.directions import fit_direction
from circuit.methods.probes.probing import probe
from circuit.methods.probes.question import prepare
from circuit.methods.probes.verdict import decodable, verdict
from circuit.methods.quality.stability import expected_cosine_with_truth
from circuit.methods.uncertainty.above_baseline import Certainty
from circuit.methods.uncertainty.emergence import emergence

SHAPES = ((40, 256, 2.0), (40, 2048, 6.0), (200, 640, 1.0), (400, 2048, 3.0), (1000, 4096, 2.0))
LETTERS = "abcdefghijklmnoprstuvwyz"
N_BLOCKS = 5
Where = tuple[int, int | None, list[int | None]]  # k, emergence layer, its interval


def checkpoint(seed: int, folder: Path) -> tuple[Where, str]:
    """Write a model, ask it, and return where the answer emerges and what it is called."""
    from circuit.stages.options import ModelOptions, SeedOptions
    from circuit.stages.probes.request import BatteryOptions, RunRequest
    from circuit.stages.run import run

    k = seed % N_BLOCKS
    model = mixing_at(k, seed, folder / "model")
    battery = folder / "battery"
    battery.mkdir()
    letters(seed).save(battery / "letter.json")
    request = RunRequest(
        model=ModelOptions(model=str(model)),
        battery=BatteryOptions(datasets=battery),
        seed=SeedOptions(seed=seed),
        random_weights=False,
        n_boot=200,
        n_shuffles=199,
    )
    found = run(request).probes["letter"].emergence
    return (k, found.layer, list(found.interval_90)), found.verdict


def mixing_at(k: int, seed: int, folder: Path) -> Path:
    import mlx.core as mx
    from checkpoints import write_checkpoint

    write_checkpoint(folder, identity_blocks=True, num_hidden_layers=N_BLOCKS, seed=seed)
    file = str(folder / "model.safetensors")
    weights = dict(mx.load(file))
    name = f"model.layers.{k}.self_attn.o_proj.weight"
    weights[name] = mx.random.normal(weights[name].shape, key=mx.random.key(seed))
    mx.eval(weights)
    mx.save_safetensors(file, weights, metadata={"format": "mlx"})
    return folder


def letters(seed: int):
    """Pairs that differ in one letter of a word that occurs once: no count of words can know it."""
    from circuit.artifacts.prompts.prompts import Prompt, PromptSet

    draw = random.Random(seed)
    prompts = [
        Prompt(
            text=f"{word[:3]}{mark}{word[3:]} it is here",
            label=label,
            group=str(pair // 2),
            pair=str(pair),
        )
        for pair in range(48)
        for word in ["".join(draw.choices(LETTERS, k=6))]
        for label, mark in (("no", "x"), ("yes", "q"))
    ]
    return PromptSet(name="letter", labels=("no", "yes"), prompts=tuple(prompts))


def noise(seed: int) -> Where:
    k, rng = seed % 5, np.random.default_rng(seed)
    groups = np.repeat(np.arange(20), 4)
    y = (rng.permutation(20) % 2)[groups]
    v = rng.normal(size=64)
    v *= 4 / np.linalg.norm(v)
    task = prepare(y, groups, seed=seed, n_boot=300, n_shuffles=199)
    results = {}
    for layer in range(6):
        H = rng.normal(size=(80, 64)) + 3 * rng.normal(size=64)
        results[layer] = probe(H + (layer >= k) * y[:, None] * v, task)
    text = probe(rng.normal(size=(80, 8)), task)
    found = emergence(
        {layer: result.scored for layer, result in results.items()},
        [text.draws],
        decodable(results),
        Certainty.of(y, groups),
    )
    return k, found.layer, list(found.interval)


def surface(seed: int) -> str:
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(24), 6)
    y = (rng.permutation(24) % 2)[groups]
    feature = rng.normal(size=len(y)) + 1.5 * y
    task = prepare(y, groups, seed=seed, n_boot=300, n_shuffles=199)
    results = {
        layer: probe(np.outer(feature, rng.normal(size=48)) + rng.normal(size=(len(y), 48)), task)
        for layer in range(6)
    }
    chance = probe(np.zeros((len(y), 1)), task)
    return verdict(
        results,
        surface=[probe(feature[:, None], task)],
        tokens=[chance],
        control=dict.fromkeys(results, chance.draws),
        certainty=Certainty.of(y, groups),
    )


def cosine(n: int, d: int, gap: float, seed: int) -> float:
    rng = np.random.default_rng([seed, n, d])
    v = rng.normal(size=d)
    v /= np.linalg.norm(v)
    y = np.arange(n) % 2
    H = rng.normal(size=(n, d)) + gap * y[:, None] * v
    return float(fit_direction("mean_diff", H[y == 1], H[y == 0]).vector @ v)


def counted(name: str, found: list[Where]) -> str:
    right = sum(layer == k for k, layer, _ in found)
    early = sum(layer is not None and layer < k for k, layer, _ in found)
    held = sum(
        low is not None and low <= k <= (N_BLOCKS if high is None else high)
        for k, _, (low, high) in found
    )
    ends = sum(None in ends for _, _, ends in found)
    return f"{name:>10}  {len(found)} seeds: right {right}, held {held}, open {ends}, early {early}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = ["direction", "surface", "noise", "checkpoint"]
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    given = parser.parse_args()
    seeds = range(given.seeds)
    if "direction" in given.only:
        for n, d, gap in SHAPES:
            found = np.array([cosine(n, d, gap, seed) for seed in seeds])
            theory = expected_cosine_with_truth(d, gap, n // 2, n // 2)
            print(
                f" direction  n {n}, d {d}, gap {gap:g}: cosine {found.mean():.4f} ± {found.std():.4f}, theory {theory:.4f}",
                flush=True,
            )
    if "surface" in given.only:
        words = Counter(surface(seed) for seed in seeds)
        print(f"   surface  {given.seeds} seeds: {dict(words)}", flush=True)
    if "noise" in given.only:
        print(counted("noise", [noise(seed) for seed in seeds]), flush=True)
    if "checkpoint" in given.only:
        everything = []
        for seed in seeds:
            with tempfile.TemporaryDirectory() as folder:
                everything.append(checkpoint(seed, Path(folder)))
        print(counted("checkpoint", [where for where, _ in everything]))
        print(f"            called {dict(Counter(word for _, word in everything))}")


if __name__ == "__main__":
    main()
