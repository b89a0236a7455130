"""One question at every layer, alongside everything that it has to beat.

``score`` takes rows and returns the entries of a report on one question:

    baselines   words, surface, embed: the same probe on what needs no model, and on the embedding
                of the token
    layers      the probe, with ``p_any`` (family-wise over the layers), ``significant``
                (``methods.verdict``), ``step`` (paired difference to the layer before), the control
                task, random directions, and the same layer of the model with random weights
    choosing    the held-out score of "take the layer that looks best" (``methods.nested_probe``):
                that of the best layer is optimistic
    emergence   the layer, its distribution, saturation, threshold crossing, and the verdict
    power       the smallest AUROC that these folds and groups would have shown (``methods.power``)
    bits        description length at the best layer, from 500 prompts on: the labels of 200 prompts
                are not compressed even by a clear answer (``description_length``)
    raw         fold, class and held-out log-odds (two classes) or log-probabilities of every prompt

All of it on the same folds, with the same resamples of groups and the same permutations.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from circuit.artifacts.files.documents import restored
from circuit.methods.arrays import Array
from circuit.methods.linear.products import decompose
from circuit.methods.probes.controls import Control, control_task, random_directions
from circuit.methods.probes.description_length import MIN_ROWS, description_length
from circuit.methods.probes.nested_probe import nested_probe
from circuit.methods.probes.permutation import family_wise
from circuit.methods.probes.power import power
from circuit.methods.probes.probing import ProbeResult, probe
from circuit.methods.probes.question import Task
from circuit.methods.probes.verdict import decodable, verdict
from circuit.methods.text.surface import TEXT_BASELINES
from circuit.methods.uncertainty.above_baseline import Baseline, Certainty
from circuit.methods.uncertainty.bootstrap import Estimate
from circuit.methods.uncertainty.emergence import (
    emergence,
    saturation_layer,
    steps,
    threshold_crossing,
)
from circuit.stages.probes.results import (
    LabelBits,
    LayerChoice,
    LayerScore,
    ProbeEmergence,
    QuestionScore,
)
from circuit.stages.rows.baselines import baseline_score

SURFACE = tuple(TEXT_BASELINES)
Read = Callable[[int], Array]  # layer -> rows (n, d)


@dataclass(frozen=True)
class Sources:
    """Where the rows of a question come from."""

    texts: Sequence[str]
    embed: Array  # (n, d)
    layers: Sequence[int]
    read: Read
    random: Read | None  # the model with random weights


@dataclass(frozen=True, kw_only=True)
class LayerMeasurement:
    """What is measured at one layer."""

    probe: ProbeResult
    control: Control
    random_directions: Estimate
    random_weights: ProbeResult | None


def score(task: Task, sources: Sources, *, threshold: float) -> QuestionScore:
    """Score a question at every layer and every baseline."""
    features = {
        **{name: measure(sources.texts) for name, measure in TEXT_BASELINES.items()},
        "embed": sources.embed,
    }
    baselines = {name: probe(rows, task) for name, rows in features.items()}
    measured = {layer: _measured(task, sources, layer) for layer in sources.layers}
    probes = {layer: each.probe for layer, each in measured.items()}
    choice = nested_probe(probes, task)
    return QuestionScore(
        n=len(task.y),
        n_groups=task.n_groups,
        n_folds=len(task.splits),
        baselines={name: baseline_score(result) for name, result in baselines.items()},
        layers=_layers(measured, task),
        choosing=None if choice is None else restored(LayerChoice, choice.as_dict()),
        emergence=_emergence(measured, baselines, task, threshold),
        bits=_bits(task, sources, probes),
        power=power(probes),
        raw=_raw(task, {**baselines, **{str(k): result for k, result in probes.items()}}),
    )


def _measured(task: Task, sources: Sources, layer: int) -> LayerMeasurement:
    rows = sources.read(layer)
    prepared = decompose(rows, task.splits)
    result = probe(rows, task, prepared)
    return LayerMeasurement(
        probe=result,
        control=control_task(rows, task, result, prepared),
        random_directions=random_directions(rows, task),
        random_weights=None if sources.random is None else probe(sources.random(layer), task),
    )


def _layers(measured: Mapping[int, LayerMeasurement], task: Task) -> dict[int, LayerScore]:
    probes = {layer: each.probe for layer, each in measured.items()}
    p_any = family_wise({layer: result.null for layer, result in probes.items()})
    stars = decodable(probes)
    moved = steps({layer: each.draws for layer, each in probes.items()}, n_groups=task.n_groups)
    entries = {
        layer: {
            **each.probe.as_dict(),
            "p_any": p_any[layer],
            "significant": stars[layer],
            "step": moved[layer].as_list() if layer in moved else None,
            "control": each.control.as_dict(),
            "random_directions": each.random_directions.as_list(),
            "random_weights": _auroc(each.random_weights),
        }
        for layer, each in measured.items()
    }
    return {layer: restored(LayerScore, entry) for layer, entry in entries.items()}


def _auroc(result: ProbeResult | None) -> list[float] | None:
    return None if result is None else result.auroc.as_list()


def _emergence(
    measured: Mapping[int, LayerMeasurement],
    baselines: Mapping[str, ProbeResult],
    task: Task,
    threshold: float,
) -> ProbeEmergence:
    """Say where a question becomes readable, how sure that is, and what answers it already."""
    probes = {layer: each.probe for layer, each in measured.items()}
    random = {k: r.random_weights for k, r in measured.items() if r.random_weights is not None}
    alongside: list[Baseline] = [result.draws for result in baselines.values()]
    alongside += [{layer: result.draws for layer, result in random.items()}] if random else []
    sure = Certainty.of(task.y, task.groups)
    scored = {layer: result.scored for layer, result in probes.items()}
    located = emergence(scored, alongside, decodable(probes), sure)
    draws = {layer: result.draws for layer, result in probes.items()}
    values = [result.estimate for result in probes.values()]
    return restored(
        ProbeEmergence,
        {
            **located.as_dict(),
            "saturation_layer": saturation_layer(draws, n_groups=task.n_groups),
            "threshold_layer": threshold_crossing(list(probes), values, threshold),
            "best_layer": max(probes, key=lambda layer: probes[layer].estimate),
            "in_tokens": decodable({0: baselines["embed"]})[0],
            "on_surface": any(decodable({0: baselines[name]})[0] for name in SURFACE),
            "verdict": verdict(
                probes,
                surface=[baselines[name] for name in SURFACE],
                tokens=[baselines["embed"], *([random] if random else [])],
                control={layer: each.control.draws for layer, each in measured.items()},
                certainty=sure,
            ),
        },
    )


def _bits(task: Task, sources: Sources, probes: Mapping[int, ProbeResult]) -> LabelBits | None:
    if len(task.y) < MIN_ROWS:
        return None
    best = max(probes, key=lambda layer: probes[layer].estimate)
    length = description_length(sources.read(best), task.y, task.groups, seed=task.seed)
    return restored(LabelBits, {"layer": best, **length.as_dict()})


def _raw(task: Task, results: Mapping[str, ProbeResult]) -> dict[str, object]:
    """Return the held-out scores of every prompt, to compute something else from them."""
    first = next(iter(results.values()))
    return {
        "class": task.y.tolist(),
        "group": task.groups.tolist(),
        "fold": first.fold.tolist(),
        "scores": {name: _held_out(result.scores) for name, result in results.items()},
    }


def _held_out(log_p: Array) -> list[float] | list[list[float]]:
    values = log_p[:, 1] - log_p[:, 0] if log_p.shape[1] == 2 else log_p
    listed: list[float] | list[list[float]] = np.round(values, 4).tolist()
    return listed
