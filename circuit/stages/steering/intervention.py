"""An intervention: directions that act together on the residual stream, at a strength.

At coefficient c a direction v acts with the amount

    c · factor · weight · unit

where ``weight`` is its own among several directions, ``unit`` the length of coefficient 1 (None:
the token's norm ‖h‖), and ``factor`` what coefficient 1 of the whole intervention stands for: c*
where it was calibrated. The strength rules (``circuit.stages.steering.rules``) set ``unit`` and
``factor``, so a control of the same size is the same intervention with other vectors.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from circuit.artifacts.directions.direction import Direction
from circuit.stages.options import ActionOptions
from circuit.values.sites import Site

if TYPE_CHECKING:
    from circuit.model.interventions.steering import Steering

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Term:
    """One direction of an intervention, its weight and unit, and a second vector for `angular`."""

    direction: Direction
    weight: float = 1.0
    unit: float | None = None
    plane: Vector | None = None


@dataclass(frozen=True, eq=False)
class Intervention:
    """Directions, how they act, and the coefficient at which they act unless another is given."""

    terms: tuple[Term, ...]
    action: ActionOptions = field(default_factory=ActionOptions)
    factor: float = 1.0
    coefficient: float = 1.0

    @classmethod
    def of(cls, *directions: Direction) -> "Intervention":
        """Return directions that act by the default rule, `norm`, each with weight 1."""
        return cls(tuple(Term(direction) for direction in directions))

    @property
    def name(self) -> str:
        """The name of its first direction."""
        return self.terms[0].direction.name

    def at(self, coefficient: float | None = None) -> "list[Steering]":
        """Return what the model layer applies at a coefficient, by default at the own one."""
        from circuit.model.forward.scopes import parse_scope
        from circuit.model.interventions.steering import Steering

        c = self.coefficient if coefficient is None else coefficient
        return [
            Steering(
                site=site_of(term.direction),
                vector=term.direction.vector,
                coefficient=c * self.factor * term.weight,
                unit=term.unit,
                operator=self.action.operator,
                scope=parse_scope(self.action.scope),
                plane=term.plane,
            )
            for term in self.terms
        ]

    def with_vectors(self, vectors: Sequence[Vector]) -> "Intervention":
        """Return the same intervention along other unit vectors: a control of the same size."""
        terms = [
            replace(term, direction=replace(term.direction, vector=vector))
            for term, vector in zip(self.terms, vectors, strict=True)
        ]
        return replace(self, terms=tuple(terms))

    def described(self) -> dict[str, object]:
        """Return the manifest entry: every choice, and each vector's digest."""
        return {
            **vars(self.action),
            "factor": self.factor,
            "directions": [
                {
                    "direction": term.direction.tensor,
                    "vector_sha256": _digest(term.direction.vector),
                    "weight": term.weight,
                    "unit": term.unit,
                    "plane_sha256": None if term.plane is None else _digest(term.plane),
                }
                for term in self.terms
            ],
        }


def site_of(direction: Direction) -> Site:
    """Return where a direction acts; one made at ``embed`` acts on what any block reads."""
    name = "resid_pre" if direction.site == "embed" else direction.site
    return Site(name, direction.layer)


def _digest(vector: Vector) -> str:
    return hashlib.sha256(vector.tobytes()).hexdigest()
