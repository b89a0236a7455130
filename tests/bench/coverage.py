"""How often 95 % intervals hold the truth, with few groups: correlated rows, heavy tails, unequal groups.

    python tests/bench/coverage.py [--repeats 400] [--groups 10 12 16 30]

Rows have d features, half of whose variance (``correlated``: four fifths) is shared by the rows of a group. ``heavy``: all noise is
t with 3 degrees of freedom. ``unequal``: groups of 1 to 12 rows. ``pairs``: each group holds both labels. The classes are δ
standard deviations apart. Columns: the share of intervals that hold the truth, and how many lie above and below it, for

    probe      the AUROC of the logistic probe of ``probes run``
    direction  the AUROC of ``mean_diff``, cross-fitted
    mean       the mean of one number per row (``mean_estimate``), class ignored

The truth of an AUROC is ½ for δ = 0 and else its mean over all repeats: what a fit on as many groups scores on average.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from circuit.methods.linear.threads import one_blas_thread
from circuit.methods.probes.probing import cross_validated_probe
from circuit.methods.quality.crossfit import cross_fitted_quality
from circuit.methods.quality.design import design
from circuit.methods.uncertainty.means import mean_estimate

NAMES = ("probe", "direction", "mean")
DESIGNS = ("plain", "correlated", "heavy", "unequal", "all three", "pairs")
FEATURES = 32


@dataclass(frozen=True)
class Case:
    n_groups: int
    design: str
    apart: float  # δ

    def sizes(self, rng: np.random.Generator) -> np.ndarray:
        """Rows of each group."""
        if self.design in ("unequal", "all three"):
            return rng.integers(1, 13, self.n_groups)
        return np.full(self.n_groups, 4)

    def rows(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Features (n, d), labels (n,) and groups (n,)."""
        groups = np.arange(self.n_groups).repeat(self.sizes(rng))
        n = len(groups)
        y = np.arange(n) % 2 if self.design == "pairs" else groups % 2
        heavy = self.design in ("heavy", "all three")
        shared = 0.8 if self.design in ("correlated", "all three") else 0.5
        own, common = (noise(rng, (k, FEATURES), heavy=heavy) for k in (n, self.n_groups))
        H = np.sqrt(1 - shared) * own + np.sqrt(shared) * common[groups]
        H[:, 0] += self.apart * y
        return H.astype(np.float32), y, groups


def noise(rng: np.random.Generator, shape: tuple[int, ...], *, heavy: bool) -> np.ndarray:
    """Draw noise of variance 1."""
    return rng.standard_t(3, shape) / np.sqrt(3) if heavy else rng.normal(size=shape)


def intervals(case: Case, repeats: int) -> Iterator[list[tuple[float, float, float]]]:
    """Value, low and high of each estimate, for each repeat."""
    for seed in range(repeats):
        rng = np.random.default_rng([seed, case.n_groups, DESIGNS.index(case.design)])
        H, y, groups = case.rows(rng)
        chosen = {"n_boot": 300, "n_shuffles": 199, "seed": seed}
        probe = cross_validated_probe(H, y, groups, **chosen).auroc
        direction = cross_fitted_quality("mean_diff", H, design(y, groups), **chosen).auroc
        mean = mean_estimate(H[:, 1].astype(float), groups, seed=seed, n_boot=500)
        yield [(e.value, e.low, e.high) for e in (probe, direction, mean)]


def line(case: Case, repeats: int) -> str:
    found = np.array(list(intervals(case, repeats)))  # (repeats, estimates, 3)
    truth = found[:, :, 0].mean(axis=0) if case.apart else np.array([0.5, 0.5, 0.0])
    truth[2] = 0.0
    above = (found[:, :, 1] > truth).mean(axis=0)
    below = (found[:, :, 2] < truth).mean(axis=0)
    width = (found[:, :, 2] - found[:, :, 1]).mean(axis=0)
    cells = [
        f"{1 - a - b:.3f} ({a:.3f} {b:.3f}) {t:.2f} ±{w / 2:.2f}"
        for a, b, t, w in zip(above, below, truth, width, strict=True)
    ]
    return f"{case.n_groups:6}  {case.design:10}  {case.apart:3}  " + "  ".join(cells)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=400)
    parser.add_argument("--groups", type=int, nargs="+", default=[10, 12, 16, 30])
    parser.add_argument("--apart", type=float, nargs="+", default=[0, 1, 3])
    given = parser.parse_args()
    print("groups  design        δ  " + "  ".join(f"{name:32}" for name in NAMES))
    with one_blas_thread():
        for n_groups in given.groups:
            for kind in DESIGNS:
                for apart in given.apart:
                    print(line(Case(n_groups, kind, apart), given.repeats), flush=True)
