"""What a steering does to the residual h of a token, given a unit direction v and an amount.

    add       h + a v
    preserve  (h + a v) ‖h‖ / ‖h + a v‖                         the norm stays
    affine    h − (h·v) v + a v                                 the coordinate along v becomes a
    clamp     h + (max(h·v, a) − h·v) v for c > 0, min for c < 0     the coordinate is at least, or at most, a
    ablate    h − c (h·v) v                                     c = 1 removes the direction, c = 2 reflects
    angular   h turned in the plane of v and a second vector, by the share c of the angle to v (c < 0: to −v)

``a`` is a length: the coefficient times what one unit of it is (``circuit.model.interventions.steering``), broadcast to (..., 1). ``ablate`` and
``angular`` take the coefficient c itself, which for ``angular`` lies between −1 and 1. The plane of ``angular`` is spanned by v
and a given vector, or by v and h itself, so that the whole of h turns. Arrays are float32 (..., d). Arditi et al. 2024
(2406.11717) for ablate; Vu & Nguyen 2025 (2510.26243) for angular, with its target angle as a share of the way.
"""

from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx


@dataclass(frozen=True, eq=False)
class Step:
    """A unit direction (d,), how far to go, and a second vector (d,) of the plane to turn in."""

    v: mx.array
    coefficient: float
    amount: mx.array | float
    plane: mx.array | None = None


Operator = Callable[[mx.array, Step], mx.array]


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
    beside = other - _coordinate(other, v) * v
    w = beside / mx.maximum(_norm(beside), 1e-30)
    a, b = _coordinate(h, v), _coordinate(h, w)
    angle = mx.arctan2(b, a)  # 0 at v, ±π at −v
    end = mx.where(angle < 0, -mx.pi, mx.pi) if c < 0 else mx.zeros_like(angle)
    turned, radius = angle + abs(c) * (end - angle), mx.sqrt(a * a + b * b)
    return h + (radius * mx.cos(turned) - a) * v + (radius * mx.sin(turned) - b) * w


OPERATORS: dict[str, Operator] = {
    "add": _add,
    "preserve": _preserve,
    "affine": _affine,
    "clamp": _clamp,
    "ablate": _ablate,
    "angular": _angular,
}
# These take the coefficient as a share, not as a length.
SHARES = ("ablate", "angular")
