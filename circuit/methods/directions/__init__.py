"""Direction methods: one file per method, named after it; listing the folder is the registry.

A method file has

    SPACE   what its ``fit`` gets: "raw" features, "rows" (centred row space, an isometry), or
            "standardised" (row space of the standardised features);
    fit(positive, negative, *, paired) -> weights (r,) on that space; length and sign do not matter.

``fit_direction`` does the rest for every method: it prepares the space, maps the weights back, scales to unit norm and sets
the sign so that v · (mean⁺ − mean⁻) > 0 on the raw rows. The natural norm is ‖mean⁺ − mean⁻‖, the distance between the
classes in activation units, whatever the method. A direction that is fitted to n < d rows separates *those* rows on
pure noise: score it with ``circuit.methods.crossfit`` only.
"""

import importlib
import pkgutil
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from circuit.errors import DataError, UsageError
from circuit.methods.arrays import Array
from circuit.methods.rowspace import row_space
from circuit.methods.threads import calm


@dataclass(frozen=True)
class Fit:
    """A unit direction (d,) float32, and the distance between the class means."""

    vector: Array
    norm: float


class Method(Protocol):
    """What a file in this folder provides."""

    SPACE: str

    def fit(self, positive: Array, negative: Array, *, paired: bool) -> Array:
        """Weigh the features that tell ``positive`` (n⁺, r) from ``negative`` (n⁻, r)."""


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
def fit_direction(name: str, positive: Array, negative: Array, *, paired: bool = False) -> Fit:
    """Fit the direction from ``negative`` (n⁻, d) to ``positive`` (n⁺, d).

    ``paired`` says that row i of both belongs to the same contrast pair.
    """
    positive, negative = (np.asarray(H, dtype=np.float64) for H in (positive, negative))
    check_classes(positive, negative, paired=paired)
    weights = weigh(load(name), positive, negative, paired=paired)
    gap = positive.mean(axis=0) - negative.mean(axis=0)
    return Fit(oriented(weights, gap).astype(np.float32), float(np.linalg.norm(gap)))


def weigh(method: Method, positive: Array, negative: Array, *, paired: bool) -> Array:
    """Apply a method in its space and return weights on the original features."""
    if method.SPACE == "raw":
        return method.fit(positive, negative, paired=paired)
    rows = np.concatenate([positive, negative])
    space = row_space(rows, standardise=method.SPACE == "standardised")
    X, n = space.coordinates, len(positive)
    if not X.shape[1]:  # all rows are equal
        return np.zeros(positive.shape[1])
    return space.lift(method.fit(X[:n], X[n:], paired=paired))


def oriented(weights: Array, gap: Array) -> Array:
    """Scale to unit norm, with the sign of the class difference ``gap``."""
    length = np.linalg.norm(weights)
    if not np.isfinite(length) or length == 0:
        message = (
            "the two classes have the same activations, so no direction leads from one to the other"
        )
        raise DataError(
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
