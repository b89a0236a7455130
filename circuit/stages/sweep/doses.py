"""What a sweep measures at one dose: the read-out of test prompts, the cost on neutral ones.

Each measurement is a pure function of the model, the experiment and its name, and is kept in a
journal (``circuit.artifacts.files.measurements``), so an interrupted run resumes.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from circuit.artifacts.files.documents import plain, restored
from circuit.artifacts.files.measurements import Measurements
from circuit.stages.steering.controls import Control
from circuit.stages.steering.generate import MeanCoherence, mean_coherence
from circuit.stages.steering.intervention import Intervention
from circuit.stages.steering.readout import Reader, ReadoutValues
from circuit.stages.steering.rollouts import Damage, Neutral, roll_outs
from circuit.stages.steering.strength import calibrated

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel
    from circuit.model.interventions.steering import Steering

TOGETHER = 24  # points that are measured together
DAMAGED = 1.0  # the dose at which the damage of controls is measured, too: c*


@dataclass(frozen=True, kw_only=True)
class DosePoint:
    """m (and the answers' probability) of every test prompt at one dose, and the measured cost."""

    m: list[float]
    pmass: list[float] | None
    damage: Damage | None = None
    coherence: MeanCoherence | None = None

    @classmethod
    def of(cls, values: ReadoutValues) -> "DosePoint":
        """Keep a read-out as plain numbers."""
        pmass = None if values.pmass is None else values.pmass.tolist()
        return cls(m=values.m.tolist(), pmass=pmass)


@dataclass(frozen=True, eq=False)
class PlannedPoint:
    """One dose of the direction, or of a control: ``name``."""

    name: str
    dose: float
    intervention: Intervention
    is_control: bool

    @property
    def key(self) -> str:
        """The name of the measurement."""
        return f"{self.name} at {self.dose:g}"

    @property
    def steerings(self) -> "list[Steering]":
        """What acts on the model."""
        return self.intervention.at(self.dose)


@dataclass(frozen=True, eq=False)
class Bench:
    """The model, prepared test and neutral prompts, the doses, and earlier measurements."""

    model: "LoadedModel"
    reader: Reader
    neutral: Neutral
    doses: Sequence[float]
    measurements: Measurements

    def kept(self, name: str, measure: Callable[[], DosePoint]) -> DosePoint:
        """Return what was measured under ``name``, or measure it now."""
        return restored(DosePoint, self.measurements.get(name, lambda: plain(measure())))

    def measured(self, planned: Sequence[PlannedPoint]) -> Iterator[tuple[PlannedPoint, DosePoint]]:
        """Measure every point, in order; ``TOGETHER`` of them share what they can.

        Points that were measured before are not measured again.
        """
        size = TOGETHER if self.reader.readout.kind == "logprob" else 1
        for first in range(0, len(planned), size):
            some = planned[first : first + size]
            new: dict[str, DosePoint] = {}
            if not all(point.key in self.measurements for point in some):
                # All of them: a resumed run has the same batches, and so the same last bits.
                new = self._points(some)
            for point in some:
                yield point, self.kept(point.key, partial(new.__getitem__, point.key))

    def _points(self, some: Sequence[PlannedPoint]) -> dict[str, DosePoint]:
        """Read out every point; add divergence and coherence where they are measured, by key."""
        values = self.reader.measure_each([point.steerings for point in some])
        found = {at.key: DosePoint.of(each) for at, each in zip(some, values, strict=True)}
        costly = [point for point in some if not point.is_control or point.dose == DAMAGED]
        rollouts = roll_outs(self.model, [point.steerings for point in costly], self.neutral)
        for point, each in zip(costly, rollouts, strict=True):
            own = replace(found[point.key], damage=each.damage())
            if not point.is_control:
                coherent = mean_coherence(self.model, self.neutral.prompts, each.answers)
                own = replace(own, coherence=coherent)
            found[point.key] = own
        return found

    def at_same_kl(self, control: Control, target: float, factor: float) -> Control:
        """Calibrate a control by itself; ``factor`` is the intervention's without c*."""

        def own_factor() -> float:
            plain_control = replace(control.intervention, factor=factor)
            return calibrated(self.model, plain_control, self.neutral, target).factor

        found = self.measurements.get(f"{control.name}: factor", own_factor)
        return replace(control, intervention=replace(control.intervention, factor=found))

    def planned(
        self, intervention: Intervention, controls: Sequence[Control]
    ) -> list[PlannedPoint]:
        """List every point; dose 0 is the same for controls."""
        own = [PlannedPoint("direction", dose, intervention, False) for dose in self.doses]
        return own + [
            PlannedPoint(control.name, dose, control.intervention, True)
            for control in controls
            for dose in self.doses
            if dose != 0
        ]
