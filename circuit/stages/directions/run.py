"""The direction that tells two classes apart, at every layer, with its cross-fitted quality.

Reads an archive of activations, writes ``directions.safetensors`` and ``directions.json`` (``circuit.directions/1``). Names:

    <positive>_vs_<negative>     the label
    category:<name>              one category against all the others (--per-category)
    tool:<name>                  one tool against the other tools, prompts without a tool left out (--per-tool)

Layers at which both classes have the same activations are left out with a note, and the run is refused when all are.
Results beside the directions: ``layers`` (quality of the label's direction at each layer), ``best`` (the layer chosen, and
the held-out score of choosing), ``transfer`` (the direction of one category's prompts scored on another's, at that layer),
``cosines`` (between all directions of a layer) with the |cos| that random
directions have, ``across_layers`` (the label's directions with each other), ``held_out`` (projection of each prompt on
the label's direction that was fitted without its group), ``labels`` (how the model's labels agree with the annotator's, where
``--labels model`` takes them: ``circuit.stages.rows.labels``). With a corpus (``circuit.stages.directions.corpus``) there is no
``transfer``, and the choice of the layer has no score of its own. The label's direction at the best layer is marked
``recommended``, and is what ``steer`` takes when it is not told otherwise.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from circuit.artifacts.activations.activations import Activations
from circuit.artifacts.manifest.manifest import Run, manifest_path, reusable
from circuit.artifacts.steering_files.files import Direction, write_directions
from circuit.errors import DataError
from circuit.methods.directions import load
from circuit.methods.geometry.similarity import cosine_matrix, expected_cosine
from circuit.methods.linear.threads import workers_for
from circuit.methods.probes.permutation import family_wise
from circuit.methods.quality.nested import nested_layer_choice
from circuit.stages.directions.corpus import Corpus, check_corpus, corpus_of
from circuit.stages.directions.fit import Choices, Fitted, fit_contrasts
from circuit.stages.rows.contrasts import (
    Contrast,
    chosen_place,
    label_contrast,
    one_against_rest,
    transfer,
)
from circuit.stages.rows.labels import labelled
from circuit.stages.rows.questions import Array, Note, Question, joined_groups, silent
from circuit.stages.rows.warnings import flags, tell
from circuit.stages.run import Track, untracked
from circuit.values import schemas
from circuit.values.layers import parse_layers

__all__ = ["Choices", "directions"]


def directions(
    archive: Path,
    out: Path,
    choices: Choices = Choices(),
    *,
    force: bool = False,
    note: Note = silent,
    track: Track = untracked,
) -> tuple[dict[str, Any], bool]:
    """Return the results, and whether they were at ``out`` already."""
    started = time.perf_counter()
    load(choices.method)
    check_corpus(choices.method, choices.corpus)
    activations = Activations.open(archive)
    site, position = chosen_place(activations, choices.site, choices.position)
    layers = parse_layers(choices.layers, activations.layers(site), activations.n_layers)
    parameters = choices.parameters(site, position)
    inputs = [activations.path]
    if choices.corpus is not None:
        inputs.append(manifest_path(choices.corpus))
    found = reusable(
        manifest_path(out),
        schema=schemas.DIRECTIONS,
        parameters=parameters,
        inputs=inputs,
        force=force,
    )
    if found is not None:
        return found.results, True
    activations, agreement = labelled(activations, choices.labels)
    groups = joined_groups(activations, site, position, note)
    contrasts = _contrasts(activations, groups, choices, note)
    place = (site, position)
    corpus = corpus_of(activations, contrasts, groups, place, choices.method, choices.corpus, note)
    fitted = fit_contrasts(activations, contrasts, *place, layers, choices, corpus, note, track)
    layers = [each.direction.layer for each in fitted if each.direction.name == contrasts[0].name]
    results = _results(activations, contrasts[0], fitted, *place, layers, choices, corpus, note)
    manifest = write_directions(
        out,
        _marked(fitted, results["best"]["layer"]),
        parameters=parameters,
        inputs=inputs,
        results={**results, "labels": agreement},
        model=activations.manifest.model,
        tokenizer=activations.manifest.tokenizer,
        run=Run.since(started),
        force=force,
    )
    return manifest.results, False


def _contrasts(
    activations: Activations, groups: Array, choices: Choices, note: Note
) -> list[Contrast]:
    """List what to fit, the label first."""
    contrasts = [label_contrast(activations, groups, choices.positive, choices.negative)]
    main = contrasts[0]
    names = [main.negative_label, main.positive_label]
    question = Question(main.name, main.rows, main.y, names, main.groups)
    tell(main.name, flags(question, choices.folds), note)
    wanted = {"category": choices.per_category, "expected_tool": choices.per_tool}
    for field in (field for field, asked in wanted.items() if asked):
        contrasts += one_against_rest(activations, groups, field, choices.folds, note)
    return contrasts


def _results(
    activations: Activations,
    main: Contrast,
    fitted: Sequence[Fitted],
    site: str,
    position: str,
    layers: Sequence[int],
    choices: Choices,
    corpus: Corpus | None,
    note: Note,
) -> dict[str, Any]:
    with_corpus = corpus is not None and corpus.stands_beside(main)
    of_label = [each for each in fitted if each.direction.name == main.name]
    p_any = family_wise({f.direction.layer: f.quality.null for f in of_label})
    if with_corpus:
        best = _best_measured(of_label, "with a corpus the choice of a layer is not scored", note)
    else:
        best = _best(activations, main, of_label, site, position, choices, note)
    rows = activations.read(site, best["layer"], position)[main.rows]
    return {
        "label_direction": main.name,
        "layers": [
            {
                "layer": f.direction.layer,
                "norm": f.direction.norm,
                **f.quality.as_dict(),
                "p_any": p_any[f.direction.layer],
            }
            for f in of_label
        ],
        "best": best,
        "transfer": None
        if with_corpus
        else transfer(activations, main, rows, choices.method, choices.folds, choices.seed),
        "random_cosine": expected_cosine(len(fitted[0].direction.vector)),
        "cosines": [_cosines(fitted, layer) for layer in layers],
        "across_layers": {
            "layers": list(layers),
            "matrix": _rounded_cosines([f.direction for f in of_label]),
        },
        "held_out": {
            f.direction.tensor: {
                "rows": main.rows.tolist(),
                "positive": main.y.tolist(),
                "scores": np.round(f.quality.scores, 5).tolist(),
            }
            for f in of_label
        },
    }


def _best(
    activations: Activations,
    main: Contrast,
    of_label: Sequence[Fitted],
    site: str,
    position: str,
    choices: Choices,
    note: Note,
) -> dict[str, Any]:
    """Choose a layer; with several, score the choice on prompts that had no part in it."""
    if len(of_label) == 1:
        return _unscored(of_label[0])
    at = [f.direction.layer for f in of_label]
    candidates = ((layer, activations.read(site, layer, position)[main.rows]) for layer in at)
    try:
        choice = nested_layer_choice(
            choices.method,
            candidates,
            main.y,
            main.groups,
            main.pairs,
            folds=choices.folds,
            seed=choices.seed,
            n_boot=choices.n_boot,
            workers=workers_for(len(main.rows) * activations.width(site)),
        )
    except DataError:
        return _best_measured(of_label, "too few groups to score the choice of a layer", note)
    return choice.as_dict()


def _best_measured(of_label: Sequence[Fitted], why: str, note: Note) -> dict[str, Any]:
    if len(of_label) > 1:
        note(f"{why}: it is the best of those measured")
    return _unscored(max(of_label, key=lambda f: (f.quality.auroc.value, f.quality.d_prime)))


def _unscored(best: Fitted) -> dict[str, Any]:
    return {"layer": best.direction.layer, "auroc": None, "chosen_by_fold": None}


def _cosines(fitted: Sequence[Fitted], layer: int) -> dict[str, Any]:
    here = [f.direction for f in fitted if f.direction.layer == layer]
    return {"layer": layer, "names": [d.name for d in here], "matrix": _rounded_cosines(here)}


def _rounded_cosines(found: Sequence[Direction]) -> list[list[float]]:
    matrix: list[list[float]] = np.round(
        cosine_matrix(np.stack([d.vector for d in found])), 5
    ).tolist()
    return matrix


def _marked(fitted: Sequence[Fitted], best: int) -> list[Direction]:
    """Mark the label's direction at the best layer; it comes first in ``fitted`` at each layer."""
    name = fitted[0].direction.name
    marked = []
    for each in (f.direction for f in fitted):
        extra = {"recommended": True} if (each.name, each.layer) == (name, best) else {}
        marked.append(replace(each, extra={**each.extra, **extra}))
    return marked
