"""job."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from circuit.artifacts.prompts.prompts import PromptSet
from circuit.errors import UsageError
from circuit.stages.rows.provenance import Fit
from circuit.stages.steering.intervention import Intervention
from circuit.stages.steering.readout import Readout
from circuit.stages.steering.strength import check_target
from circuit.values.prompt_format import PromptFormat

DOSES = (-1.5, -1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0, 1.5)


@dataclass(frozen=True)
class Choices:
    """What decides the numbers, besides direction, prompts and read-out; ``strength`` takes the place of calibration."""

    doses: tuple[float, ...] = DOSES
    kl: float = 1.0
    strength: float | None = None
    n_random: int = 10
    n_shuffled: int = 10
    same_kl: bool = False
    prompt_baseline: str | None = None
    n_tokens: int = 20
    n_boot: int = 1000
    seed: int = 0

    def check(self) -> None:
        """Raise ``UsageError`` for doses and strengths that make no sweep."""
        if not all(math.isfinite(dose) for dose in self.doses):
            message = "a dose is not a finite number"
            raise UsageError(message, hint='write for example --doses "-1,-0.5,0,0.5,1"')
        if list(self.doses) != sorted(set(self.doses)) or 0 not in self.doses:
            message = "the doses do not rise, or lack 0"
            raise UsageError(message, hint='write for example --doses "-1,-0.5,0,0.5,1"')
        if sum(dose > 0 for dose in self.doses) < 2 or sum(dose < 0 for dose in self.doses) < 2:
            message = "a sweep needs two doses and more on either side of 0"
            raise UsageError(message, hint='write for example --doses "-1,-0.5,0,0.5,1"')
        check_target(self.kl)
        if self.strength is not None and not 0 < self.strength < math.inf:
            message = f"{self.strength:g} is not the strength of dose 1"
            raise UsageError(message, hint="give a positive number, or leave it to --kl")
        if self.strength is not None and self.same_kl:
            message = "controls of the same KL need a direction that is calibrated"
            raise UsageError(message, hint="leave out --dose-one or --same-kl")


@dataclass(frozen=True, eq=False)
class Job:
    """A resolved intervention, the test prompts and their read-out, and what must share nothing with them."""

    intervention: Intervention
    test: PromptSet
    readout: Readout
    form: PromptFormat
    choices: Choices = field(default_factory=Choices)
    others: Mapping[str, PromptSet] = field(default_factory=dict)  # train, validation
    fits: Sequence[Fit | None] = ()  # what each part was fitted to, where that is known
    archive: Path | None = None
    configs_tried: int | None = None
    neutral: tuple[str, ...] | None = None  # in place of the built-in neutral texts

    def parameters(self) -> dict[str, Any]:
        """Return every choice, for the manifest."""
        return {
            **asdict(self.choices),
            "intervention": self.intervention.described(),
            "readout": self.readout.described(self.test.prompts),
            "format": asdict(self.form),
            "configs_tried": self.configs_tried,
            "neutral": self.neutral,
        }
