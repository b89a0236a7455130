"""At which coefficients ``circuit steer`` answers, how it generates, and how it judges answers."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TypeAlias

from circuit.artifacts.prompts.prompts import PromptSet
from circuit.errors import UsageError
from circuit.stages.rows.prompting import texts_of
from circuit.stages.steering.request import SteerRequest
from circuit.stages.steering.source import parse_numbers
from circuit.stages.steering.trial import check_criterion
from circuit.values.sampling import Sampling

Prompts: TypeAlias = PromptSet | list[str]


@dataclass(frozen=True, kw_only=True)
class SteerSettings:
    """Coefficients, sampling, and the criterion with its number of random directions."""

    coefficients: Sequence[float]
    sampling: Sampling = field(default_factory=Sampling)
    criterion: str | None = None
    controls: int = 0

    @classmethod
    def of(cls, request: SteerRequest) -> "SteerSettings":
        """Read the settings of a request; raise ``UsageError`` where they contradict each other."""
        return cls(
            coefficients=coefficients_of(request),
            sampling=Sampling(**vars(request.sampling), seed=request.seed.seed),
            criterion=request.criterion,
            controls=request.controls,
        )

    def check(self, prompts: Prompts) -> None:
        """Raise for answers that cannot be judged, and for numbers that are not finite."""
        for number in (*self.coefficients, self.sampling.temperature):
            if not math.isfinite(number):
                message = f"coefficients and temperature must be finite, got {number}"
                hint = 'write for example --compare "-2,-1,0,1,2"'
                raise UsageError("not-finite", message, hint=hint)
        if self.criterion is not None:
            check_criterion(prompts, self.criterion)
        elif self.controls:
            message = "`--controls` needs `--criterion`"
            raise UsageError("option-needed", message, hint="say how answers are judged")

    def parameters(self, prompts: Prompts) -> dict[str, object]:
        """Return every choice that does not depend on the model, for the manifest."""
        return {
            **asdict(self.sampling),
            "coefficients": list(self.coefficients),
            "criterion": self.criterion,
            "controls": self.controls,
            "prompts": texts_of(prompts),
        }


def coefficients_of(request: SteerRequest) -> tuple[float, ...]:
    """Read `-c` or `--compare`; by default the coefficient is 1."""
    if request.compare is None:
        return (1.0 if request.coefficient is None else request.coefficient,)
    if request.coefficient is not None:
        message = "`-c` and `--compare` both give coefficients"
        raise UsageError("option-given-twice", message, hint="give one of them")
    return parse_numbers(request.compare, "--compare")
