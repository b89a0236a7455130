"""The results of ``circuit steer``: answers, or an extracted direction."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeAlias

from circuit.artifacts.directions.direction import Direction
from circuit.stages.run import Result
from circuit.stages.steering.intervention import Intervention, Term
from circuit.stages.steering.trial import Trial


@dataclass(frozen=True, kw_only=True)
class DirectionSummary:
    """One direction that acted, and its weight."""

    name: str
    site: str
    layer: int
    method: str | None
    norm: float
    weight: float

    @classmethod
    def of(cls, term: Term) -> "DirectionSummary":
        """Summarise one direction of an intervention."""
        own = term.direction
        return cls(
            name=own.name,
            site=own.site,
            layer=own.layer,
            method=own.method,
            norm=own.norm,
            weight=term.weight,
        )


@dataclass(frozen=True, kw_only=True)
class Generation:
    """One answer; ``steered`` is false at coefficient 0, and where the condition did not hold."""

    prompt: str
    output: str
    layer: int
    coefficient: float
    steered: bool
    collapsed: bool


@dataclass(frozen=True, kw_only=True)
class SteerResult(Result):
    """Every answer, and the trial where a criterion judged them."""

    COMMAND: ClassVar[str] = "circuit.stages.steering.steer:STEER"

    direction: DirectionSummary
    directions: list[DirectionSummary]
    generations: list[Generation]
    trial: Trial | None

    @classmethod
    def of(
        cls, intervention: Intervention, generations: list[Generation], trial: Trial | None
    ) -> "SteerResult":
        """Put the answers and the directions together."""
        directions = [DirectionSummary.of(term) for term in intervention.terms]
        return cls(
            direction=directions[0],
            directions=directions,
            generations=generations,
            trial=trial,
        )


@dataclass(frozen=True, eq=False)
class ExtractResult(Result):
    """The direction that was made of two prompts, and its file."""

    COMMAND: ClassVar[str] = "circuit.stages.steering.steer:STEER"

    direction: Direction
    output: Path

    @property
    def cosine(self) -> float:
        """The cosine of the two prompts' residuals."""
        return float(self.direction.extra["cosine_similarity"])

    def data(self) -> dict[str, object]:
        """Return what ``--json`` prints."""
        return {
            "name": self.direction.name,
            "layer": self.direction.layer,
            "norm": self.direction.norm,
            "cosine_similarity": self.cosine,
            "separation": 1 - self.cosine,
            "output": str(self.output),
        }


SteerOrExtract: TypeAlias = SteerResult | ExtractResult
