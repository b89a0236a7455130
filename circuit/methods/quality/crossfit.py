"""Cross-fitted quality of a direction: fitted on some groups, scored on others.

In-sample a difference of means separates 120 × 640 noise at 98 %, so no score of a direction on the
rows it was fitted to is ever computed. For each fold the direction is fitted on the training rows;
the held-out rows are projected on it and standardised by their own mean and standard deviation
(labels unused), because length and offset differ between fits.

    auroc        compared within folds, with the interval of ``bootstrap``, limited by
                 ``perfect_scores``; it holds ½ where the permutation test does not reject ½
    d_prime      of the standardised held-out projections
    shuffled, p  AUROC of the same procedure on permuted labels: mean and 95 % range, and its p;
                 labels are permuted within pairs where there are pairs, else as in ``splits``
    stability    split halves, resamples, agreement of pairs: ``stability``
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from circuit.methods.arrays import Array
from circuit.methods.directions import Method, Rows, load
from circuit.methods.linear.rowspace import fold_numbers, row_space
from circuit.methods.linear.threads import single_threaded
from circuit.methods.probes.permutation import Null
from circuit.methods.probes.probing import check_rows
from circuit.methods.quality.design import Design
from circuit.methods.quality.stability import Stability, stability
from circuit.methods.uncertainty.bootstrap import Draws, Estimate, auroc_statistic, resample
from circuit.methods.uncertainty.perfect_scores import perfect_auroc
from circuit.methods.uncertainty.scores import d_prime, pairs_in_order
from circuit.methods.uncertainty.splits import Split, grouped_folds, least_groups, permuted_labels

SHUFFLES, MANY_SHUFFLES = 20, 1000  # by refitting; where many labellings are one product


@dataclass(frozen=True)
class Quality:
    """The separation of rows that the direction was not fitted to, and its uncertainty."""

    auroc: Estimate
    d_prime: float
    null: Null
    draws: Draws  # the AUROC on resampled groups; equal seeds and labels give equal resamples
    stability: Stability
    n: int
    n_groups: int
    least_groups: int  # of the class that has the fewer
    n_features: int
    n_folds: int
    paired: bool
    scores: Array  # (n,) held-out projections, standardised per fold
    fold: Array  # (n,)

    @property
    def shuffled(self) -> Estimate:
        """AUROC on permuted labels: mean and 95 % range."""
        return self.null.spread()

    def as_dict(self) -> dict[str, object]:
        """Return what goes into a file: everything but the scores of the rows."""
        return {
            "auroc": self.auroc.as_list(),
            "d_prime": round(self.d_prime, 6) if np.isfinite(self.d_prime) else None,
            "shuffled": self.shuffled.as_list(),
            "p": self.null.p,
            **self.stability.as_dict(),
            "n": self.n,
            "n_groups": self.n_groups,
            "least_groups": self.least_groups,
            "n_over_d": round(self.n / self.n_features, 6),
            "n_folds": self.n_folds,
            "n_shuffles": len(self.null.permuted),
            "paired": self.paired,
        }


@single_threaded
def cross_fitted_quality(
    method: str,
    H: Array,
    rows: Design,
    *,
    corpus: Array | None = None,
    folds: int = 5,
    seed: int = 0,
    n_boot: int = 1000,
    n_shuffles: int | None = None,
) -> Quality:
    """Score the direction of ``method`` from class 0 to class 1 in the rows ``H`` (n, d).

    ``corpus`` (m, d) are rows of neither class, for methods that use them. ``n_shuffles`` is 1,000
    by default where the method fits many labellings at once, else 20.
    """
    check_rows(H, rows.y)
    rng, how = np.random.default_rng(seed), load(method)
    if n_shuffles is None:
        n_shuffles = MANY_SHUFFLES if how.combine else SHUFFLES
    splits = grouped_folds(rows.y, rows.groups, folds=folds, seed=seed)
    labellings = permuted_labels(rows.y, rows.units, rng, size=n_shuffles)
    labellings = np.concatenate([rows.y[None], labellings])
    scores = held_out_scores(how, H, rows, splits, labellings, corpus=corpus)
    fold = fold_numbers([held_out for _, held_out in splits], len(rows.y))
    statistics = aurocs_within(scores, labellings, fold)
    drawn = resample(rows.y, rows.groups, n_boot=n_boot, rng=rng, folds=len(splits))
    null = Null(float(statistics[0]), statistics[1:])
    draws = drawn.draws(auroc_statistic(scores[0], rows.y == 1, fold, rows.groups))
    return Quality(
        auroc=null.hold(draws.estimate().widen_to(perfect_auroc(rows.y, rows.groups))),
        d_prime=d_prime(scores[0, rows.y == 1], scores[0, rows.y == 0]),
        null=null,
        draws=draws,
        stability=stability(how, H, rows, seed=seed, n_boot=n_boot),
        n=len(rows.y),
        n_groups=int(rows.groups.max()) + 1,
        least_groups=least_groups(rows.y, rows.groups),
        n_features=H.shape[1],
        n_folds=len(splits),
        paired=rows.pairs is not None,
        scores=scores[0],
        fold=fold,
    )


def aurocs_within(scores: Array, labellings: Array, fold: Array) -> Array:
    """AUROC of ``scores`` (P, n) for ``labellings`` (P, n), compared within folds: (P,)."""
    won, compared = np.zeros(len(scores)), np.zeros(len(scores))
    for f in np.unique(fold):
        rows = fold == f
        in_order, pairs = pairs_in_order(scores[:, rows].T, labellings[:, rows].T == 1)
        won, compared = won + in_order, compared + pairs
    return np.asarray(np.divide(won, compared, out=np.full(len(won), 0.5), where=compared > 0))


@single_threaded
def held_out_scores(
    method: Method,
    H: Array,
    rows: Design,
    splits: Sequence[Split],
    labellings: Array,
    *,
    corpus: Array | None = None,
    products: Array | None = None,
) -> Array:
    """Return standardised held-out projections (P, n) for each of ``labellings`` (P, n).

    ``products`` is ``gram(H)``, if computed.
    """
    scores, combine = np.zeros(labellings.shape), method.combine
    products = gram(H) if combine and products is None else products
    for train, held_out in splits:
        if combine and products is not None:
            coefficients = _with_both_classes(combine(labellings[:, train]), labellings[:, train])
            projections = coefficients @ products[np.ix_(train, held_out)]
        else:
            inside, outside = _spaces(method, H, train, held_out)
            local = rows.take(train)
            weights = [
                _weights(method, inside, local.relabel(y[train]), corpus) for y in labellings
            ]
            projections = np.stack(weights) @ outside.T
        scores[:, held_out] = _standardised(projections)
    return scores


def gram(H: Array) -> Array:
    """Return the products of the rows ``H`` (n, d) minus their mean, (n, n) float64."""
    X = np.asarray(H, dtype=np.float64)
    X = X - X.mean(axis=0)
    return np.asarray(X @ X.T)


def _with_both_classes(coefficients: Array, labellings: Array) -> Array:
    """Zero the coefficients (P, n) of labellings that lack a class."""
    both = (labellings.max(axis=1) > 0) & (labellings.min(axis=1) < 1)
    return np.asarray(coefficients * both[:, None])


def _spaces(method: Method, H: Array, train: Array, held_out: Array) -> tuple[Array, Array]:
    """Training and held-out rows in the space in which the method works."""
    if method.space == "raw":
        return H[train].astype(np.float64), H[held_out].astype(np.float64)
    space = row_space(H[train], standardise=method.space == "standardised")
    return space.coordinates, space.project(H[held_out])


def _weights(method: Method, X: Array, rows: Design, corpus: Array | None) -> Array:
    """Weights (r,) that point from class 0 to class 1 in ``X``."""
    positive, negative = rows.classes(np.arange(len(X)))
    # A permutation can leave a class out of a fold; rows that are all equal have no coordinates.
    if not len(positive) or not len(negative) or not X.shape[1]:
        return np.zeros(X.shape[1])
    given = Rows(
        X[positive],
        X[negative],
        paired=rows.pairs is not None,
        corpus=corpus if method.corpus else None,
    )
    weights = method.fit(given)
    return np.asarray(-weights if weights @ given.gap < 0 else weights)


def _standardised(projections: Array) -> Array:
    centred = projections - projections.mean(axis=1, keepdims=True)
    deviation = centred.std(axis=1, keepdims=True)
    # Equal rows project to equal numbers up to rounding, which must not become a ranking.
    noise = 1e-9 * np.abs(projections).max(axis=1, keepdims=True)
    scores: Array = np.zeros_like(centred)
    np.divide(centred, deviation, out=scores, where=deviation > noise)
    return scores
