"""Operators: what steering does to the residual h, given a unit direction v and an amount a.

    add       h + a v
    preserve  (h + a v) ‖h‖ / ‖h + a v‖                   the norm stays
    affine    h − (h·v) v + a v                           the coordinate along v becomes a
    clamp     h + (max(h·v, a) − h·v) v for c > 0         the coordinate is at least a
              h + (min(h·v, a) − h·v) v for c < 0         the coordinate is at most a
    ablate    h − c (h·v) v                               c = 1 removes v, c = 2 reflects
    angular   h turned in the plane of v and a second vector, by the fraction c of the angle
              to v (c < 0: to −v)

``a`` is a length: the coefficient c times the length of one unit of it
(``circuit.model.interventions.steering``), broadcast to (..., 1). ``ablate`` and ``angular`` take c
itself, as a fraction. The plane of ``angular`` is spanned by v and a given vector, or by v and h,
so that the whole of h turns. Arrays are float32 (..., d). Arditi et al. 2024 (2406.11717) for
ablate; Vu & Nguyen 2025 (2510.26243) for angular, with its target angle as a fraction.

To add an operator, add one entry to ``OPERATORS``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx

from circuit.errors import UsageError


@dataclass(frozen=True, eq=False)
class Step:
    """A unit direction (d,), how far to go, and a second vector (d,) of the plane of rotation."""

    v: mx.array
    coefficient: float
    amount: mx.array | float
    plane: mx.array | None = None


@dataclass(frozen=True)
class Operator:
    """What it does to residuals (..., d), and which coefficients it takes.

    ``takes_fraction``: the coefficient is a fraction and not a length, so no strength rule applies.
    ``adds_vector``: it adds a vector of a known length, so its size relative to h can be reported.
    """

    move: Callable[[mx.array, Step], mx.array]
    takes_fraction: bool = False
    adds_vector: bool = False
    largest: float = math.inf  # of |coefficient|


def _coordinate(h: mx.array, v: mx.array) -> mx.array:
    return mx.sum(h * v, axis=-1, keepdims=True)


def _norm(h: mx.array) -> mx.array:
    return mx.linalg.norm(h, axis=-1, keepdims=True)


def _add(h: mx.array, step: Step) -> mx.array:
    return h + step.amount * step.v


def _preserve(h: mx.array, step: Step) -> mx.array:
    moved = _add(h, step)
    length = _norm(moved)
    return mx.where(length > 0, moved * (_norm(h) / mx.maximum(length, 1e-30)), h)


def _affine(h: mx.array, step: Step) -> mx.array:
    return h + (step.amount - _coordinate(h, step.v)) * step.v


def _clamp(h: mx.array, step: Step) -> mx.array:
    here = _coordinate(h, step.v)
    bound = mx.maximum if step.coefficient > 0 else mx.minimum
    return h + (bound(here, step.amount) - here) * step.v


def _ablate(h: mx.array, step: Step) -> mx.array:
    return h - step.coefficient * _coordinate(h, step.v) * step.v


def _angular(h: mx.array, step: Step) -> mx.array:
    v, c = step.v, step.coefficient
    other = h if step.plane is None else step.plane
    across = other - _coordinate(other, v) * v
    w = across / mx.maximum(_norm(across), 1e-30)
    a, b = _coordinate(h, v), _coordinate(h, w)
    angle = mx.arctan2(b, a)  # 0 at v, ±π at −v
    end = mx.where(angle < 0, -mx.pi, mx.pi) if c < 0 else mx.zeros_like(angle)
    turned, radius = angle + abs(c) * (end - angle), mx.sqrt(a * a + b * b)
    return h + (radius * mx.cos(turned) - a) * v + (radius * mx.sin(turned) - b) * w


OPERATORS: dict[str, Operator] = {
    "add": Operator(_add, adds_vector=True),
    "preserve": Operator(_preserve, adds_vector=True),
    "affine": Operator(_affine),
    "clamp": Operator(_clamp),
    "ablate": Operator(_ablate, takes_fraction=True),
    "angular": Operator(_angular, takes_fraction=True, largest=1.0),
}


def find_operator(name: str, coefficient: float = 0.0) -> Operator:
    """Return an operator; raise ``UsageError`` for an unknown name or a wrong coefficient."""
    if name not in OPERATORS:
        raise UsageError(
            "unknown-operator",
            f"unknown operator `{name}`",
            hint=f"use one of: {', '.join(OPERATORS)}",
            operator=name,
        )
    found = OPERATORS[name]
    if abs(coefficient) > found.largest:
        raise UsageError(
            "coefficient-out-of-range",
            f"coefficient {coefficient:g} is out of range for operator `{name}`",
            hint=f"use coefficients from {-found.largest:g} to {found.largest:g}",
            operator=name,
            coefficient=coefficient,
        )
    return found
