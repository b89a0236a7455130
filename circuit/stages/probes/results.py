"""The results of a battery: what ``probes run`` writes of each question, layer by layer."""

from dataclasses import dataclass
from typing import ClassVar

from circuit.present.document import Control
from circuit.stages.rows.probe_scores import EmergenceEntry, StarredScore
from circuit.stages.run import Result
from circuit.values.intervals import Interval
from circuit.values.power import Power
from circuit.values.thresholds import LEVEL


@dataclass(frozen=True, kw_only=True)
class ProbeSummary:
    """A probe in the numbers that decide what it can show."""

    name: str
    category: str
    question: str | None
    description: str
    labels: list[str]
    format: str
    prompts: int
    groups: int
    pairs: int


@dataclass(frozen=True, kw_only=True)
class ControlScore:
    """The control task at one layer: random labels, one per group (``methods.probes.controls``)."""

    auroc: Interval
    selectivity: Interval
    memory: Interval | None
    n_labellings: int


@dataclass(frozen=True, kw_only=True)
class LayerScore(StarredScore):
    """A probe at one layer.

    ``p_any`` is family-wise, ``step`` the paired difference to the layer before.
    """

    p_any: float | None
    step: Interval | None
    control: ControlScore
    random_directions: Interval
    random_weights: Interval | None


@dataclass(frozen=True, kw_only=True)
class LayerChoice:
    """The held-out score of choosing the layer inside the folds."""

    auroc: Interval
    chosen_by_fold: list[int]


@dataclass(frozen=True, kw_only=True)
class ProbeEmergence(EmergenceEntry):
    """Where a question becomes readable, what answers it already, and what may be said of it."""

    saturation_layer: int | None
    threshold_layer: int | None
    best_layer: int
    in_tokens: bool
    on_surface: bool
    verdict: str


@dataclass(frozen=True, kw_only=True)
class LabelBits:
    """The description length of the labels given the rows of the best layer."""

    layer: int
    bits: float
    uniform_bits: float
    compression: Interval
    n: int
    n_groups: int


@dataclass(frozen=True, kw_only=True)
class QuestionScore:
    """The scores of one question at every layer and of every baseline."""

    n: int
    n_groups: int
    n_folds: int
    baselines: dict[str, StarredScore]
    layers: dict[int, LayerScore]
    choosing: LayerChoice | None
    emergence: ProbeEmergence
    bits: LabelBits | None
    power: Power | None = None
    raw: dict[str, object]  # class, group, fold and scores of every prompt

    @property
    def best(self) -> LayerScore:
        """The scores at the layer that scored best."""
        return self.layers[self.emergence.best_layer]

    @property
    def smallest_p(self) -> float | None:
        """The smallest of the layers' family-wise p."""
        known = [entry.p_any for entry in self.layers.values() if entry.p_any is not None]
        return min(known, default=None)


@dataclass(frozen=True, kw_only=True)
class QuestionResult(QuestionScore, ProbeSummary):
    """One question: its prompts, its scores, and what is wrong with its rows (``flags``).

    ``p_battery`` is the smallest p, corrected for the number of probes.
    """

    repeated_prompts: int
    flags: list[str]
    p_battery: float | None = None

    @property
    def survives(self) -> bool:
        """Whether it is significant after correction for the number of probes."""
        return self.p_battery is not None and self.p_battery <= LEVEL


@dataclass(frozen=True, kw_only=True)
class BatteryResult(Result):
    """Every question of a battery, and what was controlled."""

    COMMAND: ClassVar[str] = "circuit.stages.probes.run:RUN"

    n_layers: int
    model: str | None
    layers: list[int]
    score: str
    threshold: float
    n_boot: int
    bits_from_prompts: int
    seed: int
    random_weights: str | None
    prompts: int
    probes: dict[str, QuestionResult]
    checklist: list[Control]
