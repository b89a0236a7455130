"""The figure of a trial: the share of answers that meet the criterion against the coefficient."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from circuit.present.document import Figure
from circuit.stages.steering.result import SteerResult
from circuit.stages.steering.trial import Rate, Trial
from circuit.values.thresholds import LEVEL

if TYPE_CHECKING:
    from circuit.plots.rates import Response


def rates_figure(result: SteerResult, trial: Trial) -> Figure:
    """Draw the share of answers against the coefficient, a panel for each label."""
    direction = result.direction

    def draw() -> bytes:
        from circuit.plots.rates import rates
        from circuit.plots.style import png

        labels = dict.fromkeys(rate.label for rate in trial.rates)
        responses = [
            _response([rate for rate in trial.rates if rate.label == label]) for label in labels
        ]
        return png(rates(responses, ylabel=f"Answers that meet {trial.criterion}"))

    return Figure(
        name="dose_response",
        png=draw,
        caption=(
            f"Share of answers that meet “{trial.criterion}” against the coefficient of "
            f"`{direction.name}` at layer {direction.layer} (blue; Wilson's 95 % interval, which "
            f"counts prompts, not groups), alongside {trial.n_controls} random directions of the "
            f"same norm (grey: mean and range). Filled: further than random directions, p over all "
            f"labels and coefficients at most {LEVEL}, and both differences on one side of 0."
        ),
        numbers={"rates": [vars(rate) for rate in trial.rates]},
    )


def _response(own: Sequence[Rate]) -> "Response":
    from circuit.plots.rates import Response

    return Response(
        f"{own[0].label} (n = {own[0].n}, {own[0].n_groups} groups)",
        [rate.coefficient for rate in own],
        [[rate.rate, *rate.interval] for rate in own],
        [rate.controls for rate in own],
        [rate.used for rate in own],
    )
