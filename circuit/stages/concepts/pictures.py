"""Pictures of concepts at work: a scan, and the tokens of a steered answer. Their numbers are the results (``--output``)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from circuit.plots.curve import Panel, Series, curves
from circuit.plots.tokens import token_lines
from circuit.stages.figures.picture_files import write_picture

Record = dict[str, Any]


def draw_scan(results: Record, path: Path, *, force: bool) -> str:
    """Draw effect, damage and coherence over layers or strengths to ``path``; return the caption."""
    key = "layer" if results["over"] == "layers" else "strength"
    points = results["points"]
    at = [point[key] for point in points]
    panels = [
        *_effect(results, points, at),
        Panel(
            "KL on neutral prompts (nats)",
            [_with_random(results["name"], at, points, "kl", "random_kl")],
            _limits(points, "kl", "random_kl"),
            baseline_name="random directions",
        ),
        *_coherence(results, points, at),
    ]
    label = "Layer" if key == "layer" else "Strength (natural lengths)"
    caption = (
        f"`{results['name']}` added {_held_fixed(results)}. Effect: log-probability per token of {results['n_held_out']} texts that had "
        f"no part in the direction, those with the concept beyond neutral ones. KL: of the steered model, on {results['n_neutral']} neutral "
        f"prompts. NLL: of the greedy answers, per token, under the model as it is. Bands: 95 % bootstrap; grey: mean and range of "
        f"{results['controls']} random directions of the same length."
    )
    write_picture(path, curves(panels, xlabel=label), force=force)
    return caption


def draw_trial(results: Record, path: Path, *, force: bool) -> str:
    """Draw the log-probabilities of the tokens of the first steered answer, steered and as it is; return the caption."""
    answer = results["answers"][0]["steered"]
    lines = {"steered": answer["log_p_steered"], "as it is": answer["log_p"]}
    figure = token_lines(answer["tokens"], lines, "log p of the token (nats)")
    mixed = " + ".join(f"{each['strength']:g} {each['name']}" for each in results["concepts"])
    caption = (
        f"The answer to {results['answers'][0]['prompt']!r} under {mixed}, token by token: its log-probability under the steered model "
        "that wrote it, and under the model as it is. Where they part, steering chose the token."
    )
    write_picture(path, figure, force=force)
    return caption


def _effect(results: Record, points: Sequence[Record], at: Sequence[float]) -> list[Panel]:
    if any(point["effect"] is None for point in points):
        return []
    series = _with_random(results["name"], at, points, "effect", "random_effects")
    panel = Panel(
        "Effect (nats per token)",
        [series],
        _limits(points, "effect", "random_effects"),
        threshold=None,
        baseline_name="random directions",
    )
    return [panel]


def _coherence(results: Record, points: Sequence[Record], at: Sequence[float]) -> list[Panel]:
    if not results["unsteered"]:
        return []
    values = [_nll(point["answers"]) for point in points]
    plain = [_nll(results["unsteered"])] * len(points)
    lines = {results["name"]: values, "unsteered": plain}
    series = [Series(name, at, line, line, line) for name, line in lines.items()]
    return [Panel("NLL of the answers (nats)", series, (0.0, max(values + plain)))]


def _nll(answers: Sequence[Record]) -> float:
    known = [answer["nll"] for answer in answers if answer["nll"] is not None]
    return float(np.mean(known)) if known else 0.0


def _with_random(
    name: str, at: Sequence[float], points: Sequence[Record], key: str, random: str
) -> Series:
    value, low, high = np.array([point[key] for point in points]).T.tolist()
    drawn = [point[random] for point in points]
    bands = [(float(np.mean(each)), min(each), max(each)) for each in drawn if each]
    return Series(name, at, value, low, high, bands if len(bands) == len(points) else None)


def _limits(points: Sequence[Record], key: str, random: str) -> tuple[float, float]:
    ends = [value for point in points for value in (*point[key], *point[random])]
    return min(0.0, *ends), max(0.0, *ends)


def _held_fixed(results: Record) -> str:
    point = results["points"][0]
    if results["over"] == "layers":
        return f"at strength {point['strength']:g}"
    return f"after layer {point['layer']}"
