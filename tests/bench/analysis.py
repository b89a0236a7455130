"""Speed of the analysis: against scikit-learn at the same fits, and of analyze + directions on a large archive.

    python tests/bench/analysis.py fits      [--rows 400] [--features 2048]
    python tests/bench/analysis.py archive   [--rows 2000] [--features 4096] [--layers 32]

``fits``: logistic regressions at 7 values of C on 5 grouped folds, features standardised in the fold; held-out log-loss of
each by ``cross_val_score`` and by ``circuit``, the largest difference between the two, and the ratio of the times, with one BLAS
thread. scikit-learn runs at its default tolerance, 1e-4, and at smaller ones, until its scores agree to 1e-3: that is the comparison.

``archive``: writes an archive of noise with a planted concept to a temporary folder, then runs ``analyze`` and ``directions`` on
it; seconds, and the peak memory of the process.
"""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from circuit.methods.linear.newton import fit_logistic, log_probabilities, predict
from circuit.methods.linear.products import decompose
from circuit.methods.linear.threads import one_blas_thread
from circuit.methods.probes.regularisation import GRID
from circuit.methods.uncertainty.splits import grouped_folds

TOLERANCES, EQUAL = (1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9), 1e-3


def planted(n: int, d: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows with a decaying spectrum, groups of 8 with one label each, and a concept that is not easy."""
    rng = np.random.default_rng(seed)
    groups = np.arange(n) // 8
    y = groups % 2
    H = rng.normal(size=(n, d)) / np.sqrt(1 + np.arange(d) / 50)
    H += 0.3 * rng.normal(size=(groups.max() + 1, d))[groups]
    return (H + 0.06 * y[:, None] * rng.normal(size=d)).astype(np.float32), y, groups


def by_scikit_learn(H, y, splits, tolerance: float) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return np.array(
        [
            cross_val_score(
                make_pipeline(
                    StandardScaler(), LogisticRegression(C=c, max_iter=100_000, tol=tolerance)
                ),
                H.astype(np.float64),
                y,
                cv=splits,
                scoring="neg_log_loss",
            )
            for c in GRID
        ]
    )


def by_products(H, y, splits) -> np.ndarray:
    penalty, scores = np.array([1 / c for c in GRID]), []
    for fold in decompose(H, splits):
        Y = np.repeat((y[fold.train] == 1)[:, None, None], len(GRID), axis=1)
        log_p = log_probabilities(predict(fold.outside, fit_logistic(fold.inside, Y, penalty)))
        scores.append(log_p[np.arange(len(log_p)), :, y[fold.held_out]].mean(axis=0))
    return np.array(scores).T


def compare_fits(n: int, d: int) -> dict[str, float]:
    H, y, groups = planted(n, d)
    splits = grouped_folds(y, groups)
    found: dict[str, float] = {}
    with one_blas_thread():
        by_products(H[:80], y[:80], grouped_folds(y[:80], groups[:80]))  # imports
        start = time.process_time()
        ours = by_products(H, y, splits)
        found["circuit_s"] = time.process_time() - start
        found["log_loss"] = float(-ours.mean())
        for tolerance in TOLERANCES:
            start = time.process_time()
            theirs = by_scikit_learn(H, y, splits, tolerance)
            seconds = time.process_time() - start
            difference = float(np.abs(ours - theirs).max())
            found[f"tol {tolerance:g}_s"] = seconds
            found[f"tol {tolerance:g}_difference"] = difference
            if difference <= EQUAL:
                break
    return {**found, "ratio": seconds / found["circuit_s"]}


def analyse_archive(n: int, d: int, n_layers: int) -> dict[str, float]:
    from asking import analyze, directions
    from planted_archive import Prompt, PromptSet, write_planted

    prompts = PromptSet(
        name="bench",
        labels=("no", "yes"),
        prompts=tuple(
            Prompt(text=f"{k}", label=("no", "yes")[k // 8 % 2], group=str(k // 8))
            for k in range(n)
        ),
    )
    with tempfile.TemporaryDirectory() as folder:
        write_planted(Path(folder) / "a", prompts=prompts, n_layers=n_layers, d=d)
        start = time.perf_counter()
        analyze(Path(folder) / "a", Path(folder) / "analysis.json")
        middle = time.perf_counter()
        directions(Path(folder) / "a", Path(folder) / "directions")
        end = time.perf_counter()
    return {
        "analyze_s": middle - start,
        "directions_s": end - middle,
        "cpu_s": time.process_time(),
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["fits", "archive"])
    parser.add_argument("--rows", type=int)
    parser.add_argument("--features", type=int)
    parser.add_argument("--layers", type=int, default=32)
    given = parser.parse_args()
    if given.what == "fits":
        found = compare_fits(given.rows or 400, given.features or 2048)
    else:
        found = analyse_archive(given.rows or 2000, given.features or 4096, given.layers)
    for name, value in found.items():
        print(f"{name:>20} {value:.4g}")


if __name__ == "__main__":
    main()
