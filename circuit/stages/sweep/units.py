"""What a sweep measures, unit by unit: one vector at one dose, all prompts together.

Every unit is a pure function of the model, the job and its name, and returns plain numbers, so that finished ones can be kept
in a journal (``circuit.artifacts.files.measurements``) and a run that was cut short goes on.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from circuit.artifacts.files.measurements import Measurements
from circuit.stages.steering.controls import Control, at_same_kl
from circuit.stages.steering.intervention import Intervention
from circuit.stages.steering.readout import Measured, Reader
from circuit.stages.steering.rollouts import Neutral, coherence, roll_out

Record = dict[str, Any]
DAMAGED = 1.0  # at this dose the damage of controls is measured too: at c*


@dataclass(frozen=True, eq=False)
class Bench:
    """The model with its test prompts ready, the neutral ones, and the doses."""

    model: Any
    reader: Reader
    neutral: Neutral
    doses: Sequence[float]


def measured(found: Measured) -> Record:
    """Return a measurement as plain numbers."""
    pmass = None if found.pmass is None else found.pmass.tolist()
    return {"m": found.m.tolist(), "pmass": pmass}


def of_direction(bench: Bench, intervention: Intervention, dose: float) -> Record:
    """Measure the direction at one dose: read-out, divergence and coherence."""
    rollouts = roll_out(bench.model, intervention, dose, bench.neutral)
    return {
        **measured(bench.reader.measure(intervention, dose)),
        **rollouts.damage(),
        **coherence(bench.model, rollouts, bench.neutral),
    }


def of_control(bench: Bench, control: Control, dose: float) -> Record:
    """Measure a control at one dose: read-out, and at dose 1 the divergence."""
    found = measured(bench.reader.measure(control.intervention, dose))
    if dose == DAMAGED:
        found |= roll_out(bench.model, control.intervention, dose, bench.neutral).damage()
    return found


def control_at(
    bench: Bench, control: Control, kept: Measurements, target: float | None, before: float
) -> Control:
    """Return a control of the same length, or, with a ``target``, of the same divergence."""
    if target is None:
        return control
    factor: float = kept.get(
        f"{control.name}: factor",
        lambda: at_same_kl(bench.model, control, bench.neutral, target, before).intervention.factor,
    )
    return replace(control, intervention=replace(control.intervention, factor=factor))


def planned(
    bench: Bench, intervention: Intervention, controls: Sequence[Control]
) -> Iterator[tuple[str, float, Callable[[], Record]]]:
    """Yield the name, the dose and the work of every unit; what a control does at dose 0 the direction does too."""
    for dose in bench.doses:
        yield "direction", dose, partial(of_direction, bench, intervention, dose)
    for control in controls:
        for dose in bench.doses:
            if dose != 0:
                yield control.name, dose, partial(of_control, bench, control, dose)
