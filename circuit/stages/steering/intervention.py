"""What is done to the model, but for its dose: directions at their layers, an operator, a scope, and the unit of strength.

Strength rules say what coefficient 1 is (h is the residual of a token, v the unit direction):

    norm          h' = h + c · v · ‖h‖, the token's own norm (the default)
    raw           c times the direction's natural length, ‖μ⁺ − μ⁻‖
    projection    c = 1 moves the mean of the negative class, along v, to that of the positive one
    median-norm   c times the median ‖h‖ at that layer, over the tokens of neutral prompts but the first
    kl:X          the rule ``norm``, with c counted in units of the c* at which the KL divergence on neutral prompts is X nats
                  (``circuit.stages.steering.strength``)

With several directions each has a weight, which multiplies the coefficient. An ``Intervention`` is resolved: it holds the
lengths, not the rule's name alone, so that controls of the same size take its place by ``with_vectors``.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from circuit.artifacts.steering_files.files import Direction
from circuit.errors import UsageError
from circuit.values.sites import Site

Vector = npt.NDArray[np.float32]
RULES = ("norm", "raw", "projection", "median-norm")


@dataclass(frozen=True)
class Manner:
    """How directions act: rule of strength, operator and token scope, as they are written."""

    rule: str = "norm"
    operator: str = "add"
    scope: str = "all"

    def check(self, coefficients: Sequence[float] = ()) -> None:
        """Raise ``UsageError`` for what there is not, and for coefficients that the operator does not take."""
        from circuit.model.forward.scopes import parse_scope
        from circuit.model.interventions.operators import find_operator

        operator = find_operator(self.operator, max(map(abs, coefficients), default=0.0))
        parse_scope(self.scope)
        if self.rule not in RULES and kl_target(self.rule) is None:
            message = f"there is no strength rule `{self.rule}`"
            raise UsageError(message, hint=f"use one of: {', '.join(RULES)}, kl:1.0")
        if operator.takes_fraction and self.rule != "norm":
            raise UsageError(
                "option-not-applicable",
                f"operator `{self.operator}` takes a fraction; `--rule {self.rule}` does not apply",
                hint="leave out --rule",
                option="--rule",
            )


@dataclass(frozen=True, eq=False)
class Part:
    """A direction, its weight, the length of coefficient 1 (None: the token's norm), and the plane of ``angular``."""

    direction: Direction
    weight: float = 1.0
    unit: float | None = None
    plane: Vector | None = None


@dataclass(frozen=True, eq=False)
class Intervention:
    """Directions and how they act; ``factor`` is what coefficient 1 stands for, c* where it was calibrated."""

    parts: tuple[Part, ...]
    manner: Manner = Manner()
    factor: float = 1.0

    @classmethod
    def of(cls, *directions: Direction) -> "Intervention":
        """Return directions that act by the default rule, ``norm``, each with weight 1."""
        return cls(tuple(Part(direction) for direction in directions))

    def steerings(self, coefficient: float) -> list[Any]:
        """Return what ``circuit.model.interventions.steering.steered`` takes, at this coefficient."""
        from circuit.model.forward.scopes import parse_scope
        from circuit.model.interventions.steering import Steering

        scope = parse_scope(self.manner.scope)
        return [
            Steering(
                _site(part.direction),
                part.direction.vector,
                coefficient * self.factor * part.weight,
                unit=part.unit,
                operator=self.manner.operator,
                scope=scope,
                plane=part.plane,
            )
            for part in self.parts
        ]

    @contextmanager
    def steered(self, model: Any, coefficient: float) -> Iterator[None]:
        """Steer everything that ``model`` runs within the block."""
        from circuit.model.interventions.steering import steered

        with steered(model, self.steerings(coefficient)):
            yield

    @property
    def is_scoped(self) -> bool:
        """Say whether some tokens are left alone, so that prompts have to start together."""
        return self.manner.scope != "all"

    def with_vectors(self, vectors: Sequence[Vector]) -> "Intervention":
        """Return the same with other unit vectors in the places of its own: a control of the same size."""
        parts = [
            replace(part, direction=replace(part.direction, vector=vector))
            for part, vector in zip(self.parts, vectors, strict=True)
        ]
        return replace(self, parts=tuple(parts))

    def described(self) -> dict[str, Any]:
        """Return what goes into a manifest: every choice and every vector's digest."""
        import hashlib

        return {
            **vars(self.manner),
            "factor": self.factor,
            "directions": [
                {
                    "direction": part.direction.tensor,
                    "vector_sha256": hashlib.sha256(part.direction.vector.tobytes()).hexdigest(),
                    "weight": part.weight,
                    "unit": part.unit,
                    "plane_sha256": None
                    if part.plane is None
                    else hashlib.sha256(part.plane.tobytes()).hexdigest(),
                }
                for part in self.parts
            ],
        }


def _site(direction: Direction) -> Site:
    """Return where a direction acts; one made at ``embed`` acts on what any block reads."""
    name = "resid_pre" if direction.site == "embed" else direction.site
    return Site(name, direction.layer)


def kl_target(rule: str) -> float | None:
    """Return X of the rule ``kl:X``, None for another rule."""
    kind, _, number = rule.partition(":")
    if kind != "kl":
        return None
    try:
        target = float(number)
    except ValueError:
        target = 0.0
    if not 0 < target < float("inf"):
        message = f"`{rule}` names no KL divergence"
        raise UsageError(message, hint="write kl:1.0, in nats")
    return target
