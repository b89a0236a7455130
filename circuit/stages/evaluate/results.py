"""What ``circuit evaluate`` finds, as ``evaluation.json`` (``circuit.evaluation/1``) holds it."""

from collections.abc import Mapping
from dataclasses import dataclass

from circuit.methods.uncertainty.against_controls import acts
from circuit.stages.steering.generate import Coherence
from circuit.values.intervals import Interval


@dataclass(frozen=True, kw_only=True)
class VectorEntry:
    """A vector; ``share`` is what it adds of the residual's median norm at its layer."""

    name: str
    layer: int
    coefficient: float
    norm: float
    method: str | None
    intervention: dict[str, object]
    share: float | None


@dataclass(frozen=True, kw_only=True)
class EvaluatedAnswer(Coherence):
    """One answer to one question; ``vector`` names the experimental arm."""

    vector: str
    control_of: str | None
    question: str
    group: str
    label: str | None
    paraphrase: int
    prompt: str
    sample: int
    seed: int
    answer: str
    n_tokens: int
    finished: bool
    verdicts: dict[str, bool | str]


@dataclass(frozen=True, kw_only=True)
class Rate:
    """The share of answers that meet a criterion, with Wilson's interval."""

    successes: int
    rate: float
    interval: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class ComparedRate(Rate):
    """A rate, its differences from the unsteered one and from those under random directions.

    ``p_any`` is the p over all vectors and criteria.
    """

    difference: Interval | None
    excess: Interval | None
    controls: list[float]
    p: float | None
    p_any: float | None

    @property
    def acts(self) -> bool:
        """Whether the vector acts: see ``methods.uncertainty.against_controls``."""
        return acts(self.p_any, self.difference, self.excess)


@dataclass(frozen=True, kw_only=True)
class AnswerSummary:
    """Rates of some answers, and means of their measures."""

    n: int
    n_questions: int
    rates: Mapping[str, Rate]
    nll: float | None
    kl: float | None
    distinct_1: float | None
    distinct_2: float | None
    repeated_4: float | None
    entropy: float | None
    collapsed: int
    finished: int


@dataclass(frozen=True, kw_only=True)
class QuestionSummary(AnswerSummary):
    """The answers to one question under one vector."""

    vector: str
    question: str


@dataclass(frozen=True, kw_only=True)
class VectorSummary(AnswerSummary):
    """All answers under one vector, and how they differ from the unsteered answers."""

    vector: str
    rates: Mapping[str, ComparedRate]
    differences: dict[str, Interval | None]
    controls: list[AnswerSummary]


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """Every answer, and what the answers amount to; ``overall`` begins with the unsteered ones."""

    vectors: list[VectorEntry]
    criteria: list[str]
    ignored: list[str]
    n_groups: int
    table: list[QuestionSummary]
    overall: list[VectorSummary]
    answers: list[EvaluatedAnswer]
