"""How often circuit finds something where nothing is: a table over shapes and designs, on noise.

    python tests/bench/null.py [--repeats 200] [--layers 12] [--jobs n,d,groups,design ...]

For each repeat: ``layers`` independent layers of noise with an offset that all rows share, labels balanced over groups, the whole
procedure of ``probes run`` (logistic probe with inner choice of C, cluster bootstrap, permutation with max over layers). Columns:

    probe, balanced, direction   share of the 95 % intervals that hold chance (AUROC, balanced accuracy; ``mean_diff``)
    above                        share of the probe's intervals that lie above chance
    one layer                    share of single layers with p ≤ 0.05, uncorrected
    any layer                    share of repeats in which some layer is called decodable: the family-wise error
    naive                        share of repeats in which some layer's 5-fold accuracy is above chance by twice the
                                 standard deviation of the folds over √5: what is commonly starred

Designs: ``group`` (one label per group), ``pair`` (each group holds pairs, one row of each label, sharing an offset), ``row`` (each
row its own group).
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from circuit.methods.linear.threads import one_blas_thread
from circuit.methods.probes.probing import ProbeResult, cross_validated_probe
from circuit.methods.probes.verdict import decodable
from circuit.methods.quality.crossfit import cross_fitted_quality
from circuit.methods.quality.design import design

JOBS = (
    "40,256,10,group",
    "40,512,20,group",
    "40,256,10,pair",
    "120,640,30,group",
    "120,640,15,pair",
    "120,2048,120,row",
    "400,512,100,group",
    "400,512,40,pair",
    "400,2048,50,group",
)


@dataclass(frozen=True)
class Job:
    n: int
    d: int
    n_groups: int
    design: str

    @classmethod
    def parse(cls, text: str) -> "Job":
        n, d, n_groups, design = text.split(",")
        return cls(int(n), int(d), int(n_groups), design)

    def rows(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Groups, and pairs where the design has them."""
        if self.design == "pair":
            pairs = np.repeat(np.arange(self.n // 2), 2)
            return pairs % self.n_groups, pairs
        return np.arange(self.n) % self.n_groups, None

    def labels(self, rng: np.random.Generator) -> np.ndarray:
        if self.design == "pair":
            first = rng.integers(0, 2, self.n // 2)
            return np.stack([first, 1 - first], axis=1).ravel()
        return (rng.permutation(self.n_groups) % 2)[np.arange(self.n) % self.n_groups]


def layer(job: Job, pairs: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """Noise with a decaying spectrum and a common offset; the members of a pair share most of theirs."""
    scale = 1 / np.sqrt(1 + np.arange(job.d) / 20)
    H = rng.normal(size=(job.n, job.d)) + 5 * rng.normal(size=job.d)
    if pairs is not None:
        H += 3 * rng.normal(size=(job.n // 2, job.d))[pairs]
    else:
        H += 0.7 * rng.normal(size=(job.n_groups, job.d))[job.rows()[0]]
    return (H * scale).astype(np.float32)


def repeats(
    job: Job, n_repeats: int, n_layers: int, n_boot: int, n_shuffles: int
) -> Iterator[dict]:
    groups, pairs = job.rows()
    for seed in range(n_repeats):
        rng = np.random.default_rng([seed, job.n, job.d])
        y = job.labels(rng)
        layers = [layer(job, pairs, rng) for _ in range(n_layers)]
        chosen = {"n_boot": n_boot, "n_shuffles": n_shuffles, "seed": seed}
        found = {
            k: cross_validated_probe(H, y, groups, units=pairs, **chosen)
            for k, H in enumerate(layers)
        }
        direction = cross_fitted_quality(
            "mean_diff", layers[0], design(y, groups, pairs), n_boot=n_boot, n_shuffles=0, seed=seed
        )
        yield {
            "probe": [r.auroc.low <= 0.5 <= r.auroc.high for r in found.values()],
            "balanced": [holds(r.balanced_accuracy, 0.5) for r in found.values()],
            "direction": [holds(direction.auroc, 0.5)],
            "above": [r.auroc.low > 0.5 for r in found.values()],
            "one layer": [r.null.p <= 0.05 for r in found.values()],
            "any layer": [any(decodable(found).values())],
            "naive": [any(naive(r, y) for r in found.values())],
        }


def holds(estimate, value: float) -> bool:
    return estimate.low <= value <= estimate.high


def naive(result: ProbeResult, y: np.ndarray) -> bool:
    right = result.scores.argmax(axis=1) == y
    folds = np.array([right[result.fold == f].mean() for f in np.unique(result.fold)])
    return folds.mean() - 2 * folds.std(ddof=1) / np.sqrt(len(folds)) > 0.5


def table(jobs: list[Job], n_repeats: int, n_layers: int, n_boot: int, n_shuffles: int) -> None:
    names = ["probe", "balanced", "direction", "above", "one layer", "any layer", "naive"]
    print(f"{'n':>4} {'d':>5} {'groups':>6} {'design':>6} " + " ".join(f"{n:>9}" for n in names))
    everything: dict[str, list[bool]] = {name: [] for name in names}
    for job in jobs:
        started, sums = time.perf_counter(), {name: [] for name in names}
        with one_blas_thread():
            for one in repeats(job, n_repeats, n_layers, n_boot, n_shuffles):
                for name in names:
                    sums[name] += one[name]
        for name in names:
            everything[name] += sums[name]
        shares = " ".join(f"{np.mean(sums[name]):>9.3f}" for name in names)
        seconds = time.perf_counter() - started
        head = f"{job.n:>4} {job.d:>5} {job.n_groups:>6} {job.design:>6} "
        print(f"{head}{shares}  ({seconds:.0f} s)", flush=True)
    print(f"{'all':>24} " + " ".join(f"{np.mean(everything[name]):>9.3f}" for name in names))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--boot", type=int, default=300)
    parser.add_argument("--shuffles", type=int, default=199)
    parser.add_argument("--jobs", nargs="+", default=JOBS)
    given = parser.parse_args()
    jobs = [Job.parse(text) for text in given.jobs]
    table(jobs, given.repeats, given.layers, given.boot, given.shuffles)


if __name__ == "__main__":
    main()
