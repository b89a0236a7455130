"""What `concepts try` and `concepts scan` find."""

from dataclasses import dataclass

from circuit.methods.uncertainty.against_controls import acts
from circuit.stages.steering.generate import Coherence
from circuit.values.intervals import Interval


@dataclass(frozen=True, kw_only=True)
class AddedConcept:
    """A concept that acted; ``share`` is what it adds of the residual's median norm."""

    name: str
    layer: int
    strength: float
    norm: float
    share: float | None
    auroc: Interval | None


@dataclass(frozen=True, kw_only=True)
class TrialAnswer(Coherence):
    """An answer and its tokens, with their log-probabilities unsteered and as it was written."""

    text: str
    tokens: list[str]
    log_p: list[float]
    log_p_steered: list[float]


@dataclass(frozen=True, kw_only=True)
class PromptAnswers:
    """Both answers to one prompt."""

    prompt: str
    plain: TrialAnswer
    steered: TrialAnswer


@dataclass(frozen=True, kw_only=True)
class TryResult:
    """What was added, where that is in the model, and the answers."""

    concepts: list[AddedConcept]
    note: str
    answers: list[PromptAnswers]


@dataclass(frozen=True, kw_only=True)
class ScanAnswer(Coherence):
    """An answer to a prompt."""

    prompt: str
    text: str


@dataclass(frozen=True, kw_only=True)
class ScanPoint:
    """What one strength at one layer does, alongside random directions."""

    layer: int
    strength: float
    norm: float
    auroc: Interval | None
    effect: Interval | None
    random_effects: list[float]
    p: float | None
    p_any: float | None
    kl: Interval
    random_kl: list[float]
    answers: list[ScanAnswer]
    share: float | None

    @property
    def acts(self) -> bool:
        """Whether the concept acts: see ``methods.uncertainty.against_controls``."""
        return acts(self.p_any, self.effect)


@dataclass(frozen=True, kw_only=True)
class ScanResult:
    """Every point, and what it was measured on."""

    name: str
    over: str
    n_held_out: int
    n_groups: int
    n_neutral: int
    controls: int
    unsteered: list[ScanAnswer]
    points: list[ScanPoint]

    @property
    def axis(self) -> str:
        """What the points differ in: ``layer`` or ``strength``."""
        return "layer" if self.over == "layers" else "strength"

    def along(self) -> list[float]:
        """Return where each point is on the axis."""
        return [p.layer if self.axis == "layer" else p.strength for p in self.points]
