"""Direction methods: one file per method, named after it; listing the folder is the registry.

A method file declares

    NEEDS   what ``fit`` is given: ("rows",), or ("rows", "gradients")
    SPACE   the space of these: "raw" features, "rows" (centred row space, an isometry), or
            "standardised" (row space of the standardised features); with gradients always "raw"
    ROLE    "method" when it is fitted to separate the classes, "baseline" when it is not, and
            "control" when its result is meaningless by construction
    fit(rows: Rows) -> weights (r,) in that space; length and sign do not matter

and where it applies

    BALANCED = True    both classes weigh the same, however many rows they have
    CORPUS = True      ``fit`` reads ``rows.corpus``
    combine(labellings) -> coefficients (P, n)
                       the direction of a labelling is a sum of the rows with coefficients that add
                       up to 0 and depend on the labels only: then a thousand permutations cost
                       one Gram matrix

``fit_direction`` does the rest for every method: it prepares the space, maps the weights back,
scales to unit norm and sets the sign so that v · (mean⁺ − mean⁻) > 0 on the raw rows. The natural
norm is ‖mean⁺ − mean⁻‖, the distance between the classes in activation units, whatever the method.
A direction that is fitted to n < d rows separates *those* rows on pure noise: score it with
``circuit.methods.quality.crossfit`` only.
"""

import importlib
import pkgutil
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from circuit.errors import DataError, UsageError
from circuit.methods.arrays import Array
from circuit.methods.linear.rowspace import row_space
from circuit.methods.linear.threads import single_threaded

Need = Literal["rows", "gradients"]
Space = Literal["raw", "rows", "standardised"]
Role = Literal["method", "baseline", "control"]
ROWS: tuple[Need, ...] = ("rows",)


class SameActivationsError(DataError):
    """The class means are equal: no direction at this layer, perhaps at another one."""


@dataclass(frozen=True)
class Fit:
    """A unit direction (d,) float32, and the distance of the class means, total and along it."""

    vector: Array
    norm: float
    along: float


@dataclass(frozen=True)
class Gradients:
    """Gradients of a loss of the model with respect to the rows of both classes, in their order."""

    positive: Array  # (n⁺, d)
    negative: Array  # (n⁻, d)


@dataclass(frozen=True)
class Rows:
    """The input of a method: the rows of both classes, and what else there is."""

    positive: Array  # (n⁺, r)
    negative: Array  # (n⁻, r)
    paired: bool = False  # row i of both belongs to the same contrast pair
    corpus: Array | None = None  # (m, r) rows of neither class; "raw" methods only
    seed: int = 0  # of the random controls
    gradients: Gradients | None = None  # present for every method that needs them

    @property
    def gap(self) -> Array:
        """Mean of the positive rows − mean of the negative ones, (r,)."""
        return np.asarray(self.positive.mean(axis=0) - self.negative.mean(axis=0))


@dataclass(frozen=True)
class Method:
    """A method file, as declared there."""

    name: str
    needs: tuple[Need, ...]
    space: Space
    role: Role
    fit: Callable[[Rows], Array]
    balanced: bool = False
    corpus: bool = False
    combine: Callable[[Array], Array] | None = None

    def with_corpus(self, corpus: Array) -> "Method":
        """Return the method with a fixed corpus (m, d), for callers that know two classes only."""
        return replace(self, fit=lambda rows: self.fit(replace(rows, corpus=corpus)), combine=None)


def available() -> list[str]:
    """Return the names of the methods, without importing them."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str, provides: Collection[Need] = ROWS) -> Method:
    """Import a method for a caller that ``provides`` these inputs; ``UsageError`` if one lacks."""
    if name not in available():
        raise UsageError(
            "unknown-direction-method",
            f"unknown direction method `{name}`",
            hint=f"choose one of {', '.join(available())}",
            method=name,
        )
    file = importlib.import_module(f"{__name__}.{name}")
    missing = [need for need in file.NEEDS if need not in provides]
    if missing:
        raise UsageError(
            "method-input-missing",
            f"direction method `{name}` needs {' and '.join(missing)}, not available here",
            hint="choose a method that needs activations only, such as mean_diff",
            method=name,
            missing=missing,
        )
    return Method(
        name=name,
        needs=file.NEEDS,
        space=file.SPACE,
        role=file.ROLE,
        fit=file.fit,
        balanced=getattr(file, "BALANCED", False),
        corpus=getattr(file, "CORPUS", False),
        combine=getattr(file, "combine", None),
    )


@single_threaded
def fit_direction(
    name: str,
    positive: Array,
    negative: Array,
    *,
    paired: bool = False,
    corpus: Array | None = None,
    seed: int = 0,
    gradients: Gradients | None = None,
) -> Fit:
    """Fit the direction from ``negative`` (n⁻, d) to ``positive`` (n⁺, d); see ``Rows``."""
    method = load(name, provides=ROWS if gradients is None else (*ROWS, "gradients"))
    positive, negative = (np.asarray(H, dtype=np.float64) for H in (positive, negative))
    check_classes(positive, negative, paired=paired)
    rows = Rows(positive, negative, paired, corpus, seed, gradients)
    vector = orient(fit_weights(method, rows), rows.gap)
    return Fit(vector.astype(np.float32), float(np.linalg.norm(rows.gap)), float(vector @ rows.gap))


def fit_weights(method: Method, rows: Rows) -> Array:
    """Apply a method in its space and return weights on the original features."""
    if method.space == "raw":
        return method.fit(rows)
    everything = np.concatenate([rows.positive, rows.negative])
    space = row_space(everything, standardise=method.space == "standardised")
    X, n = space.coordinates, len(rows.positive)
    if not X.shape[1]:  # all rows are equal
        return np.zeros(everything.shape[1])
    return space.lift(method.fit(Rows(X[:n], X[n:], rows.paired, seed=rows.seed)))


def orient(weights: Array, gap: Array) -> Array:
    """Scale to unit norm, with the sign of the class difference ``gap``."""
    length = np.linalg.norm(weights)
    if not np.isfinite(length) or length == 0:
        raise SameActivationsError(
            "same-activations",
            "the two classes have the same activations, so there is no direction between them",
            hint="choose a layer, site or position at which the prompts differ",
        )
    return np.asarray(weights / length * (-1 if weights @ gap < 0 else 1))


def check_classes(positive: Array, negative: Array, *, paired: bool) -> None:
    """Refuse empty classes, unequal widths, unmatched pairs and non-finite numbers."""
    if not len(positive) or not len(negative):
        raise DataError(
            "empty-class",
            "a direction needs rows of both classes, "
            f"got {len(positive)} positive and {len(negative)} negative ones",
            n_positive=len(positive),
            n_negative=len(negative),
        )
    if positive.shape[1] != negative.shape[1]:
        raise DataError(
            "widths-differ",
            f"the positive rows have {positive.shape[1]} features, "
            f"the negative ones {negative.shape[1]}",
            widths=(positive.shape[1], negative.shape[1]),
        )
    if paired and len(positive) != len(negative):
        raise DataError(
            "unmatched-pairs",
            f"cannot pair {len(positive)} positive rows with {len(negative)} negative rows",
            n_positive=len(positive),
            n_negative=len(negative),
        )
    if not (np.isfinite(positive).all() and np.isfinite(negative).all()):
        raise DataError(
            "not-finite",
            "the activations contain NaN or infinity",
            hint="collect them again with --dtype float32",
        )
