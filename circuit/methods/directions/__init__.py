"""Direction methods: one file per method, named after it; listing the folder is the registry.

A method file has

    SPACE   what its ``fit`` gets: "raw" features, "rows" (centred row space, an isometry), or
            "standardised" (row space of the standardised features);
    ROLE    "method" when it looks for what tells the classes apart, "baseline" for what one gets without
            looking, "control" when what it returns means nothing, by construction;
    fit(rows: Rows) -> weights (r,) on that space; length and sign do not matter.

A file says BALANCED = True where both classes weigh the same however many rows they have. It may have
``combine(labellings) -> coefficients (P, n)`` where the direction of a labelling is a sum of the rows with
coefficients that add up to 0 and depend on the labels only: then a thousand permutations cost one Gram matrix.

``fit_direction`` does the rest for every method: it prepares the space, maps the weights back, scales to unit norm and sets
the sign so that v · (mean⁺ − mean⁻) > 0 on the raw rows. The natural norm is ‖mean⁺ − mean⁻‖, the distance between the
classes in activation units, whatever the method. A direction that is fitted to n < d rows separates *those* rows on
pure noise: score it with ``circuit.methods.quality.crossfit`` only.
"""

import importlib
import pkgutil
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from circuit.errors import DataError, UsageError
from circuit.methods.arrays import Array
from circuit.methods.linear.rowspace import row_space
from circuit.methods.linear.threads import calm


class SameActivationsError(DataError):
    """The class means are equal: there is no direction here, though there may be at another layer."""


@dataclass(frozen=True)
class Fit:
    """A unit direction (d,) float32, the distance between the class means, and that distance along the direction."""

    vector: Array
    norm: float
    along: float


@dataclass(frozen=True)
class Rows:
    """What a method is given: the rows of both classes, and what else there is."""

    positive: Array  # (n⁺, r)
    negative: Array  # (n⁻, r)
    paired: bool = False  # row i of both belongs to the same contrast pair
    corpus: Array | None = None  # (m, r) rows of neither class; "raw" methods only
    seed: int = 0  # of what is random, in the controls

    @property
    def gap(self) -> Array:
        """Mean of the positive rows − mean of the negative ones, (r,)."""
        return np.asarray(self.positive.mean(axis=0) - self.negative.mean(axis=0))


class Method(Protocol):
    """What a file in this folder provides."""

    SPACE: str
    ROLE: str

    def fit(self, rows: Rows) -> Array:
        """Weigh the features that tell the positive rows from the negative ones."""


def available() -> list[str]:
    """Names of the methods, without importing them."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> Method:
    """Import a method by its name."""
    if name not in available():
        message = f"there is no direction method `{name}`"
        raise UsageError(message, hint=f"choose one of {', '.join(available())}")
    method: Method = importlib.import_module(f"{__name__}.{name}")
    return method


@calm
def fit_direction(
    name: str,
    positive: Array,
    negative: Array,
    *,
    paired: bool = False,
    corpus: Array | None = None,
    seed: int = 0,
) -> Fit:
    """Fit the direction from ``negative`` (n⁻, d) to ``positive`` (n⁺, d); see ``Rows`` for the rest."""
    positive, negative = (np.asarray(H, dtype=np.float64) for H in (positive, negative))
    check_classes(positive, negative, paired=paired)
    rows = Rows(positive, negative, paired, corpus, seed)
    weights = weigh(load(name), rows)
    vector = oriented(weights, rows.gap)
    return Fit(vector.astype(np.float32), float(np.linalg.norm(rows.gap)), float(vector @ rows.gap))


def weigh(method: Method, rows: Rows) -> Array:
    """Apply a method in its space and return weights on the original features."""
    if method.SPACE == "raw":
        return method.fit(rows)
    everything = np.concatenate([rows.positive, rows.negative])
    space = row_space(everything, standardise=method.SPACE == "standardised")
    X, n = space.coordinates, len(rows.positive)
    if not X.shape[1]:  # all rows are equal
        return np.zeros(everything.shape[1])
    return space.lift(method.fit(Rows(X[:n], X[n:], rows.paired, seed=rows.seed)))


def oriented(weights: Array, gap: Array) -> Array:
    """Scale to unit norm, with the sign of the class difference ``gap``."""
    length = np.linalg.norm(weights)
    if not np.isfinite(length) or length == 0:
        message = (
            "the two classes have the same activations, so no direction leads from one to the other"
        )
        raise SameActivationsError(
            message, hint="choose a layer, site or position at which the prompts differ"
        )
    return np.asarray(weights / length * (-1 if weights @ gap < 0 else 1))


def check_classes(positive: Array, negative: Array, *, paired: bool) -> None:
    """Refuse empty classes, other widths, pairs that do not match, numbers that are not finite."""
    if not len(positive) or not len(negative):
        message = f"a direction needs rows of both classes, not {len(positive)} and {len(negative)}"
        raise DataError(message)
    if positive.shape[1] != negative.shape[1]:
        message = f"the classes have {positive.shape[1]} and {negative.shape[1]} features"
        raise DataError(message)
    if paired and len(positive) != len(negative):
        message = (
            f"{len(positive)} positive rows cannot be paired with {len(negative)} negative rows"
        )
        raise DataError(message)
    if not (np.isfinite(positive).all() and np.isfinite(negative).all()):
        message = "the activations hold NaN or infinity"
        raise DataError(message, hint="collect them again in float32")
