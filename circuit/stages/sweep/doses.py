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
from circuit.stages.steering.rollouts import Damage, Neutral, roll_out
from circuit.stages.steering.strength import calibrated

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel

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


Measure = Callable[[], DosePoint]


@dataclass(frozen=True, eq=False)
class Bench:
    """The model, prepared test and neutral prompts, the doses, and earlier measurements."""

    model: "LoadedModel"
    reader: Reader
    neutral: Neutral
    doses: Sequence[float]
    measurements: Measurements

    def kept(self, name: str, measure: Measure) -> DosePoint:
        """Return what was measured under ``name``, or measure it now."""
        return restored(DosePoint, self.measurements.get(name, lambda: plain(measure())))

    def of_direction(self, intervention: Intervention, dose: float) -> DosePoint:
        """Measure the direction at one dose: read-out, divergence and coherence."""
        steerings = intervention.at(dose)
        rollouts = roll_out(self.model, steerings, self.neutral)
        return replace(
            DosePoint.of(self.reader.measure(steerings)),
            damage=rollouts.damage(),
            coherence=mean_coherence(self.model, self.neutral.prompts, rollouts.answers),
        )

    def of_control(self, control: Control, dose: float) -> DosePoint:
        """Measure a control at one dose: read-out, and at dose 1 the divergence."""
        steerings = control.intervention.at(dose)
        found = DosePoint.of(self.reader.measure(steerings))
        if dose != DAMAGED:
            return found
        return replace(found, damage=roll_out(self.model, steerings, self.neutral).damage())

    def at_same_kl(self, control: Control, target: float, factor: float) -> Control:
        """Calibrate a control by itself; ``factor`` is the intervention's without c*."""

        def own_factor() -> float:
            plain_control = replace(control.intervention, factor=factor)
            return calibrated(self.model, plain_control, self.neutral, target).factor

        found = self.measurements.get(f"{control.name}: factor", own_factor)
        return replace(control, intervention=replace(control.intervention, factor=found))

    def planned(
        self, intervention: Intervention, controls: Sequence[Control]
    ) -> Iterator[tuple[str, float, Measure]]:
        """Yield name, dose and measurement of every point; dose 0 is the same for controls."""
        for dose in self.doses:
            yield "direction", dose, partial(self.of_direction, intervention, dose)
        for control in controls:
            for dose in self.doses:
                if dose != 0:
                    yield control.name, dose, partial(self.of_control, control, dose)
