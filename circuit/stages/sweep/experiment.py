"""What a sweep measures: an intervention on test prompts, at doses, with controls."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from circuit.artifacts.prompts.prompts import PromptSet
from circuit.errors import UsageError
from circuit.stages.rows.holdout import check_apart, check_size
from circuit.stages.rows.provenance import Fit, training_prompts
from circuit.stages.steering.intervention import Intervention
from circuit.stages.steering.readout import Readout
from circuit.stages.steering.source import parse_numbers
from circuit.stages.steering.strength import check_target
from circuit.stages.sweep.request import SweepRequest
from circuit.values.prompt_format import PromptFormat

DOSES = (-1.5, -1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0, 1.5)


@dataclass(frozen=True)
class SweepSettings:
    """The numbers that decide a sweep; ``strength`` is the coefficient of dose 1."""

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

    @classmethod
    def of(cls, request: SweepRequest) -> "SweepSettings":
        """Read the settings of a request."""
        return cls(
            doses=parse_numbers(request.doses, "--doses"),
            kl=request.kl,
            strength=request.dose_one,
            n_random=request.random,
            n_shuffled=request.shuffled,
            same_kl=request.same_kl,
            prompt_baseline=request.prompt_baseline,
            seed=request.seed.seed,
        )

    def check(self) -> None:
        """Raise ``UsageError`` for unusable doses and strengths."""
        self._check_doses()
        check_target(self.kl)
        if self.strength is not None and not 0 < self.strength < math.inf:
            message = f"`--dose-one` must be positive and finite, got {self.strength:g}"
            hint = "give a positive number, or leave it to --kl"
            raise UsageError("out-of-range", message, hint=hint, strength=self.strength)
        if self.strength is not None and self.same_kl:
            message = "`--same-kl` needs a calibrated direction, and `--dose-one` sets the strength"
            hint = "leave out --dose-one or --same-kl"
            raise UsageError("option-not-applicable", message, hint=hint)

    def _check_doses(self) -> None:
        doses, hint = self.doses, 'write for example --doses "-1,-0.5,0,0.5,1"'
        if not all(math.isfinite(dose) for dose in doses):
            raise UsageError("not-finite", "doses must be finite", hint=hint)
        if list(doses) != sorted(set(doses)) or 0 not in doses:
            message = "doses must increase and contain 0"
            raise UsageError("invalid-doses", message, hint=hint, doses=doses)
        positive, negative = (sum(sign * dose > 0 for dose in doses) for sign in (1, -1))
        if min(positive, negative) < 2:
            message = (
                f"a sweep needs at least 2 doses on each side of 0, got {negative} and {positive}"
            )
            raise UsageError("too-few-doses", message, hint=hint, doses=doses)


@dataclass(frozen=True, kw_only=True, eq=False)
class Experiment:
    """A resolved intervention, test prompts, read-out, format, and what it was fitted to.

    ``fits`` has an entry for each term of the intervention, None where its training prompts are
    unknown; ``has_train`` says whether they were given instead. ``neutral`` replaces the built-in
    neutral texts.
    """

    intervention: Intervention
    test: PromptSet
    readout: Readout
    form: PromptFormat
    settings: SweepSettings = SweepSettings()
    fits: Sequence[Fit | None] = ()
    has_train: bool = False
    archive: Path | None = None
    configs_tried: int | None = None
    neutral: tuple[str, ...] | None = None

    @property
    def training_is_known(self) -> bool:
        """Say whether the training prompts of every direction are known."""
        return self.has_train or (bool(self.fits) and None not in self.fits)

    def parameters(self) -> dict[str, object]:
        """Return every choice, for the manifest."""
        return {
            **asdict(self.settings),
            "intervention": self.intervention.described(),
            "readout": self.readout.described(self.test.prompts),
            "format": asdict(self.form),
            "configs_tried": self.configs_tried,
            "neutral": self.neutral,
        }


def check_test(test: PromptSet, readout: Readout, settings: SweepSettings) -> None:
    """Raise for unusable settings, a read-out that the prompts cannot have, and too few groups."""
    settings.check()
    readout.check(test.prompts)
    check_size(test)


def check_training(fits: Sequence[Fit | None], name: str, prompts: PromptSet) -> None:
    """Raise ``DataError`` where prompts share a group or text with the rows of a fit."""
    for fit in fits:
        if (fitted := training_prompts(fit)) is not None:
            check_apart({"training": fitted, name: prompts})
