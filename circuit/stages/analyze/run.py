"""Geometry of every layer, and how well a probe reads the label and the category from it.

Reads an archive of activations, writes ``analysis.json`` (``circuit.analysis/1``). Results:

    questions   {label, category}: classes, n, n_groups, what is wrong with its rows (``flags``), and its baselines: words, word pairs and surface of
                the text, ``embed`` where collected
    blind       the places at which all prompts have the same activations
    layers      one entry per site, position and layer:
                  geometry      spectrum, dimensions, norms (``methods.geometry.Shape``), over all rows
                  pca, umap     coordinates of all rows, with what the axes hold or how they were made
                  separation    {question: silhouette, Fisher ratio, centroid cosines, k-means against the classes}
                  probes        {question: held-out scores with intervals, permutation p of the layer (``p``) and over the layers of the
                                place (``p_any``), ``significant`` as ``methods.verdict`` has it}
    curves      per site, position and question: emergence layer with its distribution over resamples, saturation, first layer at the
                threshold, and what may be said (``verdict``; never "selective", which needs the control task of ``probes run``)
    similarity  per site and position: linear CKA between the layers
    places      per position, with several sites: linear CKA between all sites and layers; None where all rows are equal
    labels      how the model's labels agree with the annotator's, where --labels takes them (``circuit.stages.rows.labels``)
    comparison  with ``other``, an archive of the same prompts (fine-tuned, say): per place how far the rows moved, and whether a
                probe of one reads the other (``methods.across``)

Every probe score is held out by group. Geometry is a description, and says what chance gives where that is not 0. CKA
of more than 1,000 prompts is that of 1,000 of them, drawn with the seed.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from circuit.artifacts.activations.activations import Activations
from circuit.artifacts.manifest.manifest import Run, reusable, write_manifest
from circuit.errors import UsageError
from circuit.methods.geometry.similarity import cka
from circuit.methods.probes.probing import ProbeResult
from circuit.methods.probes.verdict import decodable, verdict
from circuit.methods.text.surface import TEXT_BASELINES
from circuit.methods.uncertainty.above_baseline import Certainty
from circuit.methods.uncertainty.emergence import (
    check_threshold,
    emergence,
    saturation_layer,
    threshold_crossing,
)
from circuit.stages.analyze.compare import check_same_prompts, compare
from circuit.stages.analyze.layers import (
    Asked,
    Measured,
    Place,
    Settings,
    ask,
    described,
    judge,
    measured_layers,
    text_baselines,
)
from circuit.stages.rows.labels import OF_PROMPTS, labelled
from circuit.stages.rows.questions import Note, silent
from circuit.stages.rows.warnings import blindness, flags
from circuit.stages.run import Track, untracked
from circuit.values import schemas
from circuit.values.layers import parse_layers


def analyze(
    archive: Path,
    out: Path | None = None,
    *,
    layers: str = "all",
    site: str | None = None,
    position: str | None = None,
    other: Path | None = None,
    labels: str = OF_PROMPTS,
    umap: bool = False,
    folds: int = 5,
    seed: int = 0,
    threshold: float = 0.75,
    n_boot: int = 1000,
    n_shuffles: int = 1000,
    force: bool = False,
    note: Note = silent,
    track: Track = untracked,
) -> tuple[dict[str, Any], bool]:
    """Return the results, and whether they were in ``out`` already."""
    started = time.perf_counter()
    check_threshold(threshold)
    settings = Settings(umap, folds, seed, threshold, n_boot, n_shuffles)
    activations = Activations.open(archive)
    beside = _other(activations, other)
    wanted = _wanted(activations, layers, site, position)
    places = {"layers": layers, "site": site, "position": position, "labels": labels}
    about: dict[str, Any] = {
        "schema": schemas.ANALYSIS,
        "parameters": {**places, **vars(settings)},
        "inputs": [activations.path, *([beside.path] if beside else [])],
    }
    if out is not None:
        found = reusable(out, **about, force=force)
        if found is not None:
            return found.results, True
    activations, agreement = labelled(activations, labels)
    results = _results(activations, beside, wanted, settings, note, track)
    results["labels"] = agreement
    if out is not None:
        write_manifest(
            out,
            **about,
            results=results,
            model=activations.manifest.model,
            tokenizer=activations.manifest.tokenizer,
            run=Run.since(started),
            force=force,
        )
    return results, False


def _other(activations: Activations, other: Path | None) -> Activations | None:
    """Open the archive to compare with, if there is one and it holds the same prompts."""
    if other is None:
        return None
    beside = Activations.open(other)
    check_same_prompts(activations, beside)
    return beside


def _wanted(
    activations: Activations, layers: str, site: str | None, position: str | None
) -> dict[Place, list[int]]:
    """Return the layers to analyse of each site and position."""
    if position is not None and position not in activations.positions:
        message = f"`{activations.path}` holds no position `{position}`"
        raise UsageError(message, hint=f"it holds {', '.join(activations.positions)}")
    sites = activations.sites if site is None else [site]
    positions = activations.positions if position is None else [position]
    return {
        (s, p): _layers_of(activations, s, layers, chosen=site is not None)
        for s in sites
        for p in positions
    }


def _layers_of(activations: Activations, site: str, layers: str, *, chosen: bool) -> list[int]:
    if site == "embed" and not chosen:
        return [0]  # the embedding has no layer; it is the baseline of every other site
    return parse_layers(layers, activations.layers(site), activations.n_layers)


def _results(
    activations: Activations,
    other: Activations | None,
    wanted: Mapping[Place, list[int]],
    settings: Settings,
    note: Note,
    track: Track,
) -> dict[str, Any]:
    asked = ask(activations, *list(wanted)[-1], settings=settings, note=note)
    measured = list(measured_layers(activations, wanted, asked, settings, track))
    by_place = {
        place: {m.where[2]: m for m in measured if m.where[:2] == place} for place in wanted
    }
    beside = {each.question.name: text_baselines(activations, wanted, each) for each in asked}
    for each in asked:
        for at in by_place.values():
            judge(at, each.question.name)
    results = {
        "model": None if activations.manifest.model is None else activations.manifest.model.id,
        "n_layers": activations.n_layers,
        "d_model": activations.d_model,
        "n_prompts": len(activations.prompts),
        "questions": {
            q.name: {
                **q.describe(),
                "classes_order": q.names,
                "flags": flags(q, settings.folds),
                "baselines": {name: described(r) for name, r in beside[q.name].items()},
            }
            for q in (each.question for each in asked)
        },
        "layers": [m.entry for m in measured],
        "curves": [
            _curve(place, at, each, beside[each.question.name], settings.threshold)
            for place, at in by_place.items()
            for each in asked
        ],
        "similarity": [_similarity(place, at) for place, at in by_place.items()],
        "places": _across_sites(measured),
        "blind": _blind(measured, note),
        "comparison": None,
    }
    if other is not None:
        tasks = [(each.question, each.task) for each in asked]
        results["comparison"] = compare(activations, other, wanted, tasks, settings.n_boot, track)
    return results


def _curve(
    place: Place,
    at: Mapping[int, Measured],
    asked: Asked,
    beside: Mapping[str, ProbeResult],
    threshold: float,
) -> dict[str, Any]:
    """Say where along the layers of one place a question becomes readable."""
    name, task = asked.question.name, asked.task
    probes = {layer: m.probes[name] for layer, m in at.items()}
    others = {key: r for key, r in beside.items() if not (key == "embed" and place[0] == "embed")}
    sure = Certainty.of(task.y, task.groups)
    located = emergence(
        {layer: r.scored for layer, r in probes.items()},
        [r.draws for r in others.values()],
        decodable(probes),
        sure,
    ).as_dict()
    draws = {layer: r.draws for layer, r in probes.items()}
    return {
        "site": place[0],
        "position": place[1],
        "question": name,
        "layers": list(probes),
        "emergence_layer": located.pop("layer"),
        "emergence": located,
        "saturation_layer": saturation_layer(draws, n_groups=task.n_groups),
        "threshold": threshold,
        "threshold_layer": threshold_crossing(
            list(probes), [r.estimate for r in probes.values()], threshold
        ),
        "verdict": verdict(
            probes,
            surface=[others[key] for key in TEXT_BASELINES],
            tokens=[others[key] for key in ("embed",) if key in others],
            control=None,
            certainty=sure,
        ),
    }


def _blind(measured: list[Measured], note: Note) -> list[str]:
    """Name the places at which all prompts look alike; an embedding may well be one."""
    found = []
    for site, position, layer in (m.where for m in measured if not m.entry["geometry"]["spectrum"]):
        name = f"{site}.{layer}" if site != "embed" else site
        found.append(f"{name} at the {position} position")
        if site != "embed":
            note(blindness(found[-1], len(measured[0].entry["pca"]["coordinates"])))
    return found


def _similarity(place: Place, at: Mapping[int, Measured]) -> dict[str, Any]:
    grams = [m.gram for m in at.values() if m.gram is not None]
    matrix = _similar(grams) if len(grams) > 1 else None
    return {"site": place[0], "position": place[1], "layers": list(at), "cka": matrix}


def _across_sites(measured: list[Measured]) -> list[dict[str, Any]]:
    """CKA between all sites and layers of each position that has several sites."""
    found = []
    for position in dict.fromkeys(m.where[1] for m in measured):
        here = [m for m in measured if m.where[1] == position and m.gram is not None]
        if len({m.where[0] for m in here}) > 1:
            names = [
                m.where[0] if m.where[0] == "embed" else f"{m.where[0]}.{m.where[2]}" for m in here
            ]
            matrix = _similar([m.gram for m in here if m.gram is not None])
            found.append({"position": position, "names": names, "cka": matrix})
    return found


def _similar(grams: list[Any]) -> list[list[float | None]]:
    """CKA as JSON holds it: None where a layer has the same rows throughout."""
    return [
        [None if np.isnan(value) else round(float(value), 5) for value in row] for row in cka(grams)
    ]


def entries_at(
    results: dict[str, Any], site: str, position: str, keep: Callable[[int], bool] = lambda _: True
) -> list[dict[str, Any]]:
    """Return the entries of one site and position, in the order of the layers."""
    return [
        entry
        for entry in results["layers"]
        if (entry["site"], entry["position"]) == (site, position) and keep(entry["layer"])
    ]
