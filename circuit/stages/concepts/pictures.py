"""Pictures of concepts at work: a scan, and the tokens of a steered answer.

Their numbers are the results (``--output``).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from circuit.plots.curve import Panel, Series, curves
from circuit.plots.tokens import token_lines
from circuit.present.numbers import formatted
from circuit.stages.concepts.results import ScanAnswer, ScanResult, TryResult
from circuit.stages.figures.picture_files import write_picture
from circuit.values.intervals import Interval

Measured = Sequence[tuple[Interval, list[float]]]  # at each point: an estimate, and random ones


def draw_scan(result: ScanResult, path: Path, *, force: bool) -> str:
    """Draw effect, damage and coherence over layers or strengths; return the caption."""
    effect = [(p.effect, p.random_effects) for p in result.points if p.effect is not None]
    damage = [(p.kl, p.random_kl) for p in result.points]
    panels = [_panel(result, "KL on neutral prompts (nats)", damage), *_coherence(result)]
    if len(effect) == len(result.points):
        panels = [_panel(result, "Effect (nats per token)", effect), *panels]
    xlabel = "Layer" if result.axis == "layer" else "Strength (natural lengths)"
    write_picture(path, curves(panels, xlabel=xlabel), force=force)
    return (
        f"`{result.name}` added {_fixed(result)}. Effect: log-probability per token of "
        f"{result.n_held_out} texts that the direction was not fitted to, those with the concept "
        f"beyond neutral ones. KL: of the steered model, on {result.n_neutral} neutral prompts. "
        f"NLL: of the greedy answers, per token, under the unsteered model. Bands: 95 % bootstrap; "
        f"grey: mean and range of {result.controls} random directions of the same length."
    )


def draw_trial(result: TryResult, path: Path, *, force: bool) -> str:
    """Draw the log-probabilities of the tokens of the first steered answer; return the caption."""
    first = result.answers[0]
    lines = {"steered": first.steered.log_p_steered, "unsteered": first.steered.log_p}
    figure = token_lines(first.steered.tokens, lines, "log p of the token (nats)")
    write_picture(path, figure, force=force)
    mix = " + ".join(f"{formatted(each.strength, 'g')} {each.name}" for each in result.concepts)
    return (
        f"The answer to {first.prompt!r} under {mix}, token by token: its log-probability under "
        "the steered model that wrote it, and under the unsteered model. Where they differ, "
        "steering chose the token."
    )


def _panel(result: ScanResult, ylabel: str, measured: Measured) -> Panel:
    value, low, high = np.array([estimate for estimate, _ in measured]).T.tolist()
    bands = [(float(np.mean(each)), min(each), max(each)) for _, each in measured if each]
    band = bands if len(bands) == len(measured) else None
    ends = [0.0, *(number for estimate, random in measured for number in (*estimate, *random))]
    return Panel(
        ylabel,
        [Series(result.name, result.along(), value, low, high, band)],
        (min(ends), max(ends)),
        baseline_name="random directions",
    )


def _coherence(result: ScanResult) -> list[Panel]:
    if not result.unsteered:
        return []
    values = [_nll(point.answers) for point in result.points]
    plain = [_nll(result.unsteered)] * len(result.points)
    lines = {result.name: values, "unsteered": plain}
    series = [Series(name, result.along(), line, line, line) for name, line in lines.items()]
    return [Panel("NLL of the answers (nats)", series, (0.0, max(values + plain)))]


def _nll(answers: Sequence[ScanAnswer]) -> float:
    known = [answer.nll for answer in answers if answer.nll is not None]
    return float(np.mean(known)) if known else 0.0


def _fixed(result: ScanResult) -> str:
    point = result.points[0]
    if result.axis == "layer":
        return f"at strength {formatted(point.strength, 'g')}"
    return f"after layer {point.layer}"
