"""Iso-KL strength: the coefficient c* at which steering changes neutral text by a given divergence.

    c*   where the 95th percentile of KL_t over rollouts on neutral prompts
         (``circuit.stages.steering.rollouts``) is 1 nat

found for + and for − by ``circuit.methods.steering.root`` to within 5 %, in at most 12 evaluations
each; both differ, because a model is not symmetric. c* is the smaller of the two, so that neither
side of a symmetric range of doses does more than the target; one sign can be asked for instead.
Doses in units of c* can be compared between directions, layers and models. A divergence near the
target does not prove that the text is whole: read it, or look at its coherence (``steer sweep``).

``circuit.calibration/1`` holds both sides with the history of every evaluation.
"""

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from circuit.errors import UsageError
from circuit.methods.steering.root import Root, Search, Status, search
from circuit.stages.run import Result
from circuit.stages.steering.intervention import Intervention
from circuit.stages.steering.rollouts import Neutral, percentile, roll_outs

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel

TARGET, STATISTIC = 1.0, "p95"
TOLERANCE, EVALUATIONS = 0.05, 12
LEAST, MOST = 2.0**-10, 2.0**6  # the coefficients between which c* is looked for
SIDES = {"+": 1, "-": -1}
TOGETHER = 6  # interventions that are calibrated in step: their texts fill the batches


@dataclass(frozen=True)
class Side:
    """What was found for one sign: c*, the divergence there, and every evaluation (c, KL)."""

    coefficient: float
    kl: float
    status: Status
    history: list[tuple[float, float]]

    @classmethod
    def of(cls, root: Root, sign: int) -> "Side":
        """Give the coefficients of a root their sign."""
        history = [(sign * c, kl) for c, kl in root.history]
        return cls(sign * root.c, root.value, root.status, history)


@dataclass(frozen=True, kw_only=True)
class Calibration(Result):
    """c* and the divergence there; ``sides`` by sign, or the one that was asked for."""

    COMMAND: ClassVar[str] = "circuit.stages.steering.calibrate:CALIBRATE"

    coefficient: float
    kl: float
    status: Status
    sides: dict[str, Side]
    target: float
    statistic: str
    n_tokens: int
    n_prompts: int


def calibrate(
    model: "LoadedModel",
    intervention: Intervention,
    neutral: Neutral,
    *,
    target: float = TARGET,
    statistic: str = STATISTIC,
    sign: int = 0,
) -> Calibration:
    """Find c* of an intervention on neutral prompts; ``sign`` +1 or −1 asks for one side only."""
    several = calibrations(
        model, [intervention], neutral, target=target, statistic=statistic, sign=sign
    )
    return next(several)


def calibrations(
    model: "LoadedModel",
    interventions: Sequence[Intervention],
    neutral: Neutral,
    *,
    target: float = TARGET,
    statistic: str = STATISTIC,
    sign: int = 0,
) -> Iterator[Calibration]:
    """Find c* of every intervention, in order; ``TOGETHER`` of them are evaluated together."""
    check_target(target, statistic)
    for first in range(0, len(interventions), TOGETHER):
        some = interventions[first : first + TOGETHER]
        searches = [_both_sides(each, target, sign) for each in some]
        wanted = {number: next(search) for number, search in enumerate(searches)}
        found: dict[int, dict[str, Side]] = {}
        while wanted:
            acting = [some[number].at(c) for number, c in wanted.items()]
            rollouts = roll_outs(model, acting, neutral)
            for number, each in zip(list(wanted), rollouts, strict=True):
                try:
                    wanted[number] = searches[number].send(each.statistic(statistic))
                except StopIteration as done:
                    found[number] = done.value
                    del wanted[number]
        for number in range(len(some)):
            yield _calibration(found[number], neutral, target, statistic)


def _both_sides(
    intervention: Intervention, target: float, sign: int
) -> Generator[float, float, dict[str, Side]]:
    """Search on each side that is asked for; the second starts where the first one ended."""
    from circuit.model.interventions.operators import find_operator

    sides: dict[str, Side] = {}
    start = 0.4
    most = min(MOST, find_operator(intervention.action.operator).largest)
    for name, side in SIDES.items():
        if sign not in (0, side):
            continue
        steps = search(
            target,
            start=start,
            bounds=(LEAST, most),
            tolerance=TOLERANCE,
            evaluations=EVALUATIONS,
        )
        found = yield from _signed(steps, side)
        sides[name] = Side.of(found, side)
        start = found.c
    return sides


def _signed(steps: Search, side: int) -> Search:
    """Search among coefficients of one sign."""
    try:
        c = next(steps)
        while True:
            c = steps.send((yield side * c))
    except StopIteration as done:
        found: Root = done.value
        return found


def _calibration(
    sides: dict[str, Side], neutral: Neutral, target: float, statistic: str
) -> Calibration:
    chosen = min(sides.values(), key=lambda side: abs(side.coefficient))
    statuses = (side.status for side in sides.values())
    return Calibration(
        coefficient=abs(chosen.coefficient),
        kl=chosen.kl,
        status=next((each for each in statuses if each != "converged"), "converged"),
        sides=sides,
        target=target,
        statistic=statistic,
        n_tokens=neutral.n_tokens,
        n_prompts=len(neutral.prompts),
    )


def calibrated(
    model: "LoadedModel", intervention: Intervention, neutral: Neutral, target: float
) -> Intervention:
    """Return the intervention with coefficient 1 at c*, as the rule ``kl:X`` means it."""
    found = calibrate(model, intervention, neutral, target=target)
    return replace(intervention, factor=intervention.factor * found.coefficient)


def check_target(target: float, statistic: str = STATISTIC) -> None:
    """Raise ``UsageError`` for a divergence that is not positive, and for an unknown statistic."""
    if not 0 < target < math.inf:
        message = f"the KL divergence must be positive and finite, got {target:g}"
        hint = "give a positive number of nats, such as 1.0"
        raise UsageError("out-of-range", message, hint=hint, target=target)
    percentile(statistic)
