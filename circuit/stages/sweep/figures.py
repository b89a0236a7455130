"""The figures of sweeps, each with its numbers.

dose_response   the read-out against the dose, over random and shuffled-label directions
frontier        effect against damage: divergence on neutral text, and how unlikely the steered text
                is to the unsteered model
steering        several sweeps: small multiples of the first
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from circuit.methods.arrays import Array
from circuit.present.document import Figure
from circuit.stages.steering.readout import ReadoutSummary
from circuit.stages.sweep.doses import DAMAGED
from circuit.stages.sweep.result import ControlSlopes, SweepResult

if TYPE_CHECKING:
    from circuit.plots.dose import Dose


def sweep_figures(result: SweepResult) -> list[Figure]:
    """Return the figures of one sweep."""
    return [_response(result), _frontier(result)]


def _response(result: SweepResult) -> Figure:
    low, high = result.slope_ci

    def draw() -> bytes:
        from circuit.plots.dose import dose_response
        from circuit.plots.style import png

        drawn = _dose(result.title, result, prompts=True)
        return png(dose_response([drawn], ylabel=axis(result.readout)))

    return Figure(
        name="dose_response",
        png=draw,
        caption=(
            f"{result.title}: mean read-out at each dose; band: 95 % interval of the change from "
            f"dose 0, over {result.n_groups} groups of {result.n_test} test prompts; slope "
            f"{result.slope:.3f} [{low:.3f}, {high:.3f}] per dose, {result.dose_unit}. Bands: all "
            f"of {result.random.n} random and {result.shuffled.n} shuffled-label directions of the "
            f"same {result.random.same}. {result.verdict.text}"
        ),
        numbers=_numbers(result, "doses", "curve", "random", "shuffled"),
    )


def _frontier(result: SweepResult) -> Figure:
    """Draw the effect against two kinds of damage."""

    def draw() -> bytes:
        from circuit.plots.frontier import Points, frontier
        from circuit.plots.style import png

        doses, effect = result.array("doses"), result.array("curve")[:, 0]
        effect = effect - effect[result.zero]
        label = f"Change of {axis(result.readout)}"
        kl, controls = "KL on neutral text, p95 (nats)", _control_points(result)
        drawings = [Points(doses, effect, result.array("kl_p95"), controls, label, kl)]
        if None not in result.nll_delta:
            cost = "ΔNLL of the generated text (nats)"
            drawings.append(Points(doses, effect, result.array("nll_delta"), {}, label, cost))
        return png(frontier(drawings))

    return Figure(
        name="frontier",
        png=draw,
        caption=(
            f"{result.title}: what each dose does to the read-out, against its damage on neutral "
            "text. a: the 95th percentile of the divergence per token, with controls at dose 1. b: "
            "how much less likely the steered text is to the unsteered model. Root scale."
        ),
        numbers=_numbers(result, "doses", "curve", "kl_p95", "nll_delta"),
    )


def multiples_figure(sweeps: Mapping[str, SweepResult]) -> Figure:
    """Draw several sweeps as small multiples; each has its own scale of the read-out."""

    def draw() -> bytes:
        from circuit.plots.dose import dose_response
        from circuit.plots.style import png

        drawn = [_dose(name, result, note=_note(result)) for name, result in sweeps.items()]
        return png(dose_response(drawn, ylabel="Read-out"))

    names = ("doses", "curve", "change", "slope", "slope_ci", "verdict")
    return Figure(
        name="steering",
        png=draw,
        caption=(
            "Held-out read-out against the dose in units of c*. Line: the direction, with the 95 "
            "% interval of its change from dose 0 over groups of prompts; bands: all random "
            "(grey) and all shuffled-label (yellow, hatched) directions of the same norm. Under "
            "each name: the read-out and the verdict."
        ),
        numbers={name: _numbers(result, *names) for name, result in sweeps.items()},
    )


def _numbers(result: SweepResult, *names: str) -> dict[str, object]:
    return {name: getattr(result, name) for name in names}


def _note(result: SweepResult) -> str:
    return f"{unit_of(result.readout)}; {result.verdict.word}"


def unit_of(readout: ReadoutSummary) -> str:
    """Name the unit of a read-out."""
    return "share" if readout.kind == "criterion" else "log-odds"


def axis(readout: ReadoutSummary) -> str:
    """Name the read-out as an axis does."""
    if readout.kind == "criterion":
        return "share of texts that meet the criterion"
    return "log p(positive) − log p(negative)"


def _dose(name: str, result: SweepResult, *, prompts: bool = False, note: str = "") -> "Dose":
    from circuit.plots.dose import Dose

    single = prompts and result.readout.kind != "criterion"
    asked, k = result.prompt_baseline, len(result.doses)
    return Dose(
        name,
        result.array("doses"),
        result.curve[result.zero][0] + result.array("change"),
        _curves(result.random.curves, k),
        _curves(result.shuffled.curves, k),
        result.array("m") if single else None,
        None if asked is None else asked.m,
        note,
    )


def _curves(curves: Sequence[Sequence[float]], k: int) -> Array:
    return np.array(curves, dtype=np.float64).reshape(-1, k)


def _control_points(result: SweepResult) -> dict[str, Array]:
    """Return effect and damage of every control at dose 1, (n, 2); empty where that is no dose."""
    return {kind: _ends(result, each) for kind, each in result.controls.items()}


def _ends(result: SweepResult, controls: ControlSlopes) -> Array:
    points: list[tuple[float, float]] = []
    if DAMAGED in result.doses:
        at, base = result.doses.index(DAMAGED), result.curve[result.zero][0]
        ends = zip(controls.curves, controls.kl_p95, strict=True)
        points = [(values[at] - base, kl) for values, kl in ends]
    return np.array(points, dtype=np.float64).reshape(-1, 2)
