"""Geometry of every layer, and how well a probe reads the label and the category from it.

Reads an archive of activations, writes ``analysis.json`` (``circuit.analysis/1``). Results:

    questions   {label, category}: classes, n, n_groups
    layers      one entry per site, position and layer:
                  geometry      spectrum, dimensions, norms (``methods.geometry.Shape``), over all rows
                  pca, umap     coordinates of all rows, with what the axes hold or how they were made
                  separation    {question: silhouette, Fisher ratio, centroid cosines, k-means against the classes}
                  probes        {question: held-out AUROC, balanced accuracy, intervals, shuffled baseline}
    curves      per site, position and question: emergence layer and first layer at the threshold
    similarity  per site and position: linear CKA between the layers
    labels      how the model's labels agree with the annotator's, where --labels takes them (``circuit.stages.labels``)

Every probe score is held out by group. Geometry is a description, and says what chance gives where that is not 0.
"""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from circuit.artifacts.activations import Activations
from circuit.artifacts.manifest import Run, reusable, write_manifest
from circuit.errors import UsageError
from circuit.methods import geometry, projection
from circuit.methods.emergence import check_threshold, emergence_layer, threshold_crossing
from circuit.methods.layers import parse_layers
from circuit.methods.probing import cross_validated_probe
from circuit.methods.rowspace import RowSpace, row_space
from circuit.methods.similarity import centred_gram, cka
from circuit.stages.labels import OF_PROMPTS, labelled
from circuit.stages.questions import (
    Array,
    Note,
    Question,
    category_question,
    joined_groups,
    label_question,
    same_partition,
    silent,
    warn_if_few,
)
from circuit.stages.running import Track, untracked

SCHEMA = "circuit.analysis/1"
Place = tuple[str, str]  # site, position


def analyze(
    archive: Path,
    out: Path | None = None,
    *,
    layers: str = "all",
    site: str | None = None,
    position: str | None = None,
    umap: bool = False,
    folds: int = 5,
    seed: int = 0,
    threshold: float = 0.75,
    n_boot: int = 1000,
    labels: str = OF_PROMPTS,
    force: bool = False,
    note: Note = silent,
    track: Track = untracked,
) -> tuple[dict[str, Any], bool]:
    """Return the results, and whether they were in ``out`` already."""
    started = time.perf_counter()
    check_threshold(threshold)
    activations = Activations.open(archive)
    wanted = _wanted(activations, layers, site, position)
    parameters = {
        "layers": layers,
        "site": site,
        "position": position,
        "umap": umap,
        "folds": folds,
        "seed": seed,
        "threshold": threshold,
        "n_boot": n_boot,
        "labels": labels,
    }
    described: dict[str, Any] = {
        "schema": SCHEMA,
        "parameters": parameters,
        "inputs": [activations.path],
    }
    if out is not None:
        found = reusable(out, **described, force=force)
        if found is not None:
            return found.results, True
    activations, agreement = labelled(activations, labels)
    results = {
        **_results(activations, wanted, parameters, note, track),
        "labels": agreement,
    }
    if out is not None:
        write_manifest(
            out,
            **described,
            results=results,
            model=activations.manifest.model,
            tokenizer=activations.manifest.tokenizer,
            run=Run.since(started),
            force=force,
        )
    return results, False


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
    wanted: dict[Place, list[int]],
    parameters: dict[str, Any],
    note: Note,
    track: Track,
) -> dict[str, Any]:
    questions = ask(activations, *list(wanted)[-1], folds=parameters["folds"], note=note)
    steps = [(place, layer) for place, layers in wanted.items() for layer in layers]
    entries, grams = [], {}
    for (site, position), layer in track(steps, "Analyzing", len(steps)):
        rows = activations.read(site, layer, position)
        entries.append(
            {
                "site": site,
                "position": position,
                "layer": layer,
                **_layer(rows, questions, parameters),
            }
        )
        grams[site, position, layer] = centred_gram(rows) if len(rows) > 3 else None
    return {
        "model": None if activations.manifest.model is None else activations.manifest.model.id,
        "n_layers": activations.n_layers,
        "d_model": activations.d_model,
        "n_prompts": len(activations.prompts),
        "questions": {q.name: {**q.describe(), "classes_order": q.names} for q in questions},
        "layers": entries,
        "curves": [
            _curve(entries, place, q.name, parameters) for place in wanted for q in questions
        ],
        "similarity": [_similarity(place, layers, grams) for place, layers in wanted.items()],
    }


def ask(
    activations: Activations, site: str, position: str, *, folds: int, note: Note
) -> list[Question]:
    """Return the questions that the archive's labels and categories pose."""
    groups = joined_groups(activations, site, position, note)
    label = label_question(activations, groups)
    category = category_question(activations, groups, note)
    questions = [label]
    if category is not None and not same_partition(label, category):
        questions.append(category)
    for question in questions:
        warn_if_few(question, folds, note)
    return questions


def _layer(rows: Array, questions: list[Question], parameters: dict[str, Any]) -> dict[str, Any]:
    """Describe one layer (n_prompts, d)."""
    space = row_space(rows, standardise=False)
    pictures = {"pca": projection.pca(rows, space).as_dict()}
    if parameters["umap"] and space.coordinates.shape[1]:  # equal rows have no layout
        pictures["umap"] = projection.umap(space.coordinates, seed=parameters["seed"]).as_dict()
    return {
        "geometry": geometry.shape(rows, space).as_dict(),
        **pictures,
        "separation": {q.name: _separation(space, q, parameters["seed"]) for q in questions},
        "probes": {q.name: _probe(rows, q, parameters) for q in questions},
    }


def _separation(space: RowSpace, question: Question, seed: int) -> dict[str, Any]:
    rows = space.coordinates[question.rows]
    return geometry.separation(rows, question.y, question.groups, seed=seed).as_dict()


def _probe(rows: Array, question: Question, parameters: dict[str, Any]) -> dict[str, Any]:
    return cross_validated_probe(
        rows[question.rows],
        question.y,
        question.groups,
        folds=parameters["folds"],
        seed=parameters["seed"],
        n_boot=parameters["n_boot"],
    ).as_dict()


def _curve(
    entries: Iterable[dict[str, Any]], place: Place, question: str, parameters: dict[str, Any]
) -> dict[str, Any]:
    """Say where along the layers of one place a question becomes readable."""
    found = [e for e in entries if (e["site"], e["position"]) == place]
    layers = [e["layer"] for e in found]
    probes = [e["probes"][question] for e in found]
    return {
        "site": place[0],
        "position": place[1],
        "question": question,
        "layers": layers,
        "emergence_layer": emergence_layer(
            layers, [p["auroc"][1] for p in probes], [p["shuffled"][2] for p in probes]
        ),
        "threshold": parameters["threshold"],
        "threshold_layer": threshold_crossing(
            layers, [p["auroc"][0] for p in probes], parameters["threshold"]
        ),
    }


def _similarity(
    place: Place, layers: list[int], grams: dict[tuple[str, str, int], Array | None]
) -> dict[str, Any]:
    found = [gram for layer in layers if (gram := grams[(*place, layer)]) is not None]
    matrix = np.round(cka(found), 5).tolist() if len(found) > 1 else None
    return {"site": place[0], "position": place[1], "layers": layers, "cka": matrix}


def entries_at(
    results: dict[str, Any], site: str, position: str, keep: Callable[[int], bool] = lambda _: True
) -> list[dict[str, Any]]:
    """Return the entries of one site and position, in the order of the layers."""
    return [
        entry
        for entry in results["layers"]
        if (entry["site"], entry["position"]) == (site, position) and keep(entry["layer"])
    ]
