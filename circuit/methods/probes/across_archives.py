"""Two archives of the same prompts, such as those of a base and a fine-tuned model.

How much the rows changed, and whether the same probe reads both:

    moved             mean over rows of ‖h_b − h_a‖ / ‖h_a‖, with its cluster-bootstrap interval
    cosine            mean cosine of h_a and h_b, each minus the mean of its archive's rows
    cka               unbiased linear CKA (``similarity``): 1 for equal geometry up to rotation and
                      scale
    direction_cosine  cosine between the two differences of the class means (two classes)
    a_to_b            held-out AUROC of probes fitted on a's rows and applied to b's; also a_to_a,
                      b_to_a and b_to_b
    lost_a, lost_b    a_to_b − b_to_b and b_to_a − a_to_a, paired: the loss by using the other
                      archive's probe

cosine, cka and direction_cosine are None where all rows of one archive are equal. Every cell is
cross-fitted on the same folds: a probe never sees a held-out group, in either archive. ``moved``,
cosines and probes need corresponding features, so the widths must agree; CKA does not.
"""

from dataclasses import dataclass

import numpy as np

from circuit.errors import DataError
from circuit.methods.arrays import Array
from circuit.methods.geometry.similarity import (
    all_equal,
    centred_cosines,
    centred_gram,
    cka,
    relative_distances,
)
from circuit.methods.linear.newton import fit_logistic, log_probabilities, predict
from circuit.methods.linear.products import standardised
from circuit.methods.linear.rowspace import fold_numbers
from circuit.methods.linear.threads import single_threaded
from circuit.methods.probes.calibration import mean_statistic
from circuit.methods.probes.probing import check_rows
from circuit.methods.probes.question import Task
from circuit.methods.probes.regularisation import choose_c, inner_splits, targets
from circuit.methods.uncertainty.bootstrap import (
    Draws,
    Estimate,
    Resamples,
    difference,
    macro_statistic,
    resample,
)
from circuit.methods.uncertainty.perfect_scores import perfect_auroc


@dataclass(frozen=True)
class Drift:
    """The change of the rows at one site and layer between two archives."""

    cka: float | None  # None under 4 rows, and where all rows of one are equal
    moved: Estimate | None  # None where the widths differ
    cosine: Estimate | None  # the same, and where all rows of one are equal

    def as_dict(self) -> dict[str, object]:
        """Return what goes into a file."""
        return {
            "cka": None if self.cka is None else round(self.cka, 6),
            "moved": None if self.moved is None else self.moved.as_list(),
            "cosine": None if self.cosine is None else self.cosine.as_list(),
        }


@dataclass(frozen=True)
class CrossArchiveProbes:
    """Probes of each archive on each archive."""

    auroc: dict[str, Estimate]  # a_to_a, a_to_b, b_to_a, b_to_b
    lost_a: Estimate
    lost_b: Estimate
    direction_cosine: float | None

    def as_dict(self) -> dict[str, object]:
        """Return what goes into a file."""
        cosine = self.direction_cosine
        return {
            **{name: estimate.as_list() for name, estimate in self.auroc.items()},
            "lost_a": self.lost_a.as_list(),
            "lost_b": self.lost_b.as_list(),
            "direction_cosine": None if cosine is None else round(cosine, 6),
        }


@single_threaded
def drift(A: Array, B: Array, groups: Array, *, n_boot: int = 1000, seed: int = 0) -> Drift:
    """Compare rows ``A`` (n, d) and ``B`` (n, d') of the same prompts, groups resampled."""
    if len(A) != len(B):
        raise DataError(
            "row-counts-differ",
            f"cannot compare {len(A)} rows with {len(B)} rows",
            hint="both archives must contain the same prompts",
            n_rows=(len(A), len(B)),
        )
    similar = None
    if len(A) > 3:
        found = float(cka([centred_gram(A), centred_gram(B)])[0, 1])
        similar = None if np.isnan(found) else found
    if A.shape[1] != B.shape[1]:
        return Drift(similar, None, None)
    wide = A.astype(np.float64), B.astype(np.float64)
    rng = np.random.default_rng([seed, 12])
    one_class = np.zeros(len(A))
    drawn = resample(one_class, groups, n_boot=n_boot, rng=rng, cross_fitted=False)
    cosines = centred_cosines(*wide)
    return Drift(
        similar,
        _mean(drawn, relative_distances(*wide), bounds=(0.0, np.inf)),
        None if cosines is None else _mean(drawn, cosines, bounds=(-1.0, 1.0)),
    )


def _mean(drawn: Resamples, values: Array, *, bounds: tuple[float, float]) -> Estimate:
    return drawn.draws(mean_statistic(values)).estimate(bounds=bounds)


@single_threaded
def cross_archive_probes(A: Array, B: Array, task: Task) -> CrossArchiveProbes:
    """Fit probes on ``A`` and on ``B`` (n, d), rows of the same prompts; score each on both."""
    for H in (A, B):
        check_rows(H, task.y)
    fold = fold_numbers([held_out for _, held_out in task.splits], len(task.y))
    names = {"a": A, "b": B}
    draws: dict[str, Draws] = {}
    for source, H in names.items():
        for target, log_p in _held_out(H, list(names.values()), task).items():
            statistic = macro_statistic(log_p, task.y, fold, task.groups)
            draws[f"{source}_to_{'ab'[target]}"] = task.resamples.draws(statistic)
    bound = perfect_auroc(task.y, task.groups)
    return CrossArchiveProbes(
        auroc={name: each.estimate().widen_to(bound) for name, each in draws.items()},
        lost_a=difference(draws["a_to_b"], draws["b_to_b"], n_groups=task.n_groups),
        lost_b=difference(draws["b_to_a"], draws["a_to_a"], n_groups=task.n_groups),
        direction_cosine=_direction_cosine(A, B, task.y) if task.n_classes == 2 else None,
    )


def _held_out(source: Array, others: list[Array], task: Task) -> dict[int, Array]:
    """Return held-out log-probabilities (n, n_classes) of ``others`` by probes of ``source``."""
    found = {k: np.zeros((len(task.y), task.n_classes)) for k in range(len(others))}
    for train, held_out in task.splits:
        space, Y = standardised(source[train]), targets(task.y[None, train], task.n_classes)
        inside = space.inside
        inner = inner_splits(task.y[train], task.groups[train], seed=task.seed)
        c = choose_c(inside, Y, inner)
        W = fit_logistic(inside, Y, np.array([1 / c]))
        for k, H in enumerate(others):
            logits = predict(space.outside(H[held_out]), W)
            found[k][held_out] = log_probabilities(logits)[:, 0]
    return found


def _direction_cosine(A: Array, B: Array, y: Array) -> float | None:
    if all_equal(A) or all_equal(B):
        return None
    gaps = [
        H[y == 1].mean(axis=0, dtype=np.float64) - H[y == 0].mean(axis=0, dtype=np.float64)
        for H in (A, B)
    ]
    size = np.linalg.norm(gaps[0]) * np.linalg.norm(gaps[1])
    return float(gaps[0] @ gaps[1] / size) if size else None
