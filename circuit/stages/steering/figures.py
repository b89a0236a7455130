"""The figure of a trial: the share of answers that meet the criterion against the coefficient."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from circuit.methods.probes.permutation import LEVEL, holm
from circuit.present.document import Figure
from circuit.stages.steering.result import SteerResult
from circuit.stages.steering.trial import Rate, Trial

if TYPE_CHECKING:
    from circuit.plots.rates import Response

Key = tuple[str, float]


def key(rate: Rate) -> Key:
    """Label and coefficient."""
    return rate.label, rate.coefficient


def corrected_p(trial: Trial) -> dict[Key, float | None]:
    """Correct the p of every label and coefficient for their number (Holm)."""
    return holm({key(rate): rate.p for rate in trial.rates if rate.controls})


def rates_figure(
    result: SteerResult, trial: Trial, corrected: Mapping[Key, float | None]
) -> Figure:
    """Draw the share of answers against the coefficient, a panel for each label."""
    direction = result.direction

    def draw() -> bytes:
        from circuit.plots.rates import rates
        from circuit.plots.style import png

        labels = dict.fromkeys(rate.label for rate in trial.rates)
        responses = [
            _response([rate for rate in trial.rates if rate.label == label], corrected)
            for label in labels
        ]
        return png(rates(responses, ylabel=f"Answers that meet {trial.criterion}"))

    return Figure(
        name="dose_response",
        png=draw,
        caption=(
            f"Share of answers that meet “{trial.criterion}” against the coefficient of "
            f"`{direction.name}` at layer {direction.layer} (blue; Wilson's 95 % interval, which "
            f"counts prompts, not groups), alongside {trial.n_controls} random directions of the "
            f"same norm (grey: mean and range). Filled: further than random directions, p at most "
            f"{LEVEL} after Holm's correction for {len(corrected)} comparisons."
        ),
        numbers={
            "rates": [{**vars(rate), "p_holm": corrected.get(key(rate))} for rate in trial.rates]
        },
    )


def _response(own: Sequence[Rate], corrected: Mapping[Key, float | None]) -> "Response":
    from circuit.plots.rates import Response

    ps = [corrected.get(key(rate)) for rate in own]
    return Response(
        f"{own[0].label} (n = {own[0].n}, {own[0].n_groups} groups)",
        [rate.coefficient for rate in own],
        [[rate.rate, *rate.interval] for rate in own],
        [rate.controls for rate in own],
        [p is not None and p <= LEVEL for p in ps],
    )
