"""The direction that separates two classes, at every layer, with its cross-fitted quality.

Reads an archive of activations, writes ``directions.safetensors`` and ``directions.json``
(``circuit.directions/1``). Names:

    <positive>_vs_<negative>     the label
    category:<name>              one category against all the others (--per-category)
    tool:<name>                  one tool against the other tools, prompts without a tool left out
                                 (--per-tool)

Layers at which both classes have the same activations are left out with a note, and the run is
refused where all are. Results beside the directions (``stages.directions.results``):

    layers          quality of the label's direction at each layer
    best            the layer chosen, and the held-out score of choosing
    transfer        the direction of one category's prompts scored on another's, at that layer
    cosines         between all directions of a layer; ``random_cosine`` is the mean |cos| of random
                    directions
    across_layers   the label's directions with each other
    held_out        projection of each prompt on the label's direction fitted without its group
    labels          how the model's labels agree with the annotator's, where --labels takes them

With a corpus (``stages.directions.corpus``) there is no ``transfer``, and the choice of the layer
has no score of its own. The label's direction at the best layer is marked ``recommended``, and is
what ``steer`` takes by default.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from circuit.artifacts.activations.activations import Activations
from circuit.artifacts.directions.direction import Direction, entry_fields
from circuit.artifacts.files.documents import plain, restored
from circuit.artifacts.files.paths import archive_path, manifest_path
from circuit.artifacts.manifest.manifest import Manifest
from circuit.artifacts.steering_files.files import read_directions, write_directions
from circuit.methods.arrays import Array
from circuit.methods.directions import load
from circuit.methods.geometry.similarity import cosine_matrix, expected_cosine
from circuit.methods.probes.permutation import family_wise
from circuit.stages.directions.best_layer import best_measured, category_transfer, chosen_layer
from circuit.stages.directions.corpus import corpus_of, open_corpus
from circuit.stages.directions.fit import FitSettings, Fitted, fit_contrasts
from circuit.stages.directions.present import present_fitted
from circuit.stages.directions.request import DirectionsRequest
from circuit.stages.directions.results import (
    Cosines,
    CosinesAcrossLayers,
    CosinesAtLayer,
    DirectionEntry,
    DirectionsResult,
    FittedDirections,
    HeldOutProjections,
    LayerQuality,
    NamedDirection,
    StoredDirections,
)
from circuit.stages.rows.contrasts import (
    Contrast,
    Place,
    chosen_place,
    label_contrast,
    one_against_rest,
)
from circuit.stages.rows.labelled_rows import LabelledRows, joined_groups
from circuit.stages.rows.labels import check_labels, labelled
from circuit.stages.rows.warnings import note_each, row_warnings
from circuit.stages.run import Command, Job, Note, Plan, Record, Session, without_model
from circuit.values import schemas
from circuit.values.layers import parse_layers


@dataclass(frozen=True, kw_only=True)
class FitInputs:
    """Everything that a fit needs: the open archives, the place, the layers and the settings."""

    request: DirectionsRequest
    activations: Activations
    corpus: Activations | None
    place: Place
    layers: list[int]
    settings: FitSettings


def plan(request: DirectionsRequest) -> Plan[FittedDirections]:
    """Open the archive, and choose place and layers."""
    inputs = _inputs(request)
    place, activations, stem = inputs.place, inputs.activations, request.output.output
    parameters = {
        "layers": request.archive.layers,
        **vars(inputs.settings),
        "per_category": request.per_category,
        "per_tool": request.per_tool,
        "positive": request.positive,
        "negative": request.negative,
        "site": place.site,
        "position": place.position,
        "labels": request.probe.labels,
    }

    def write(fitted: FittedDirections, record: Record) -> None:
        found = {key: value for key, value in vars(record).items() if key != "schema"}
        write_directions(stem, fitted.directions, **found, results=plain(fitted.result))

    def read(manifest: Manifest) -> FittedDirections:
        return FittedDirections(
            result=restored(DirectionsResult, manifest.results), directions=read_directions(stem)
        )

    job = Job(
        parameters=parameters,
        compute=lambda session: fit_directions(inputs, session),
        write=write,
        about_model=activations.manifest.model,
        about_tokenizer=activations.manifest.tokenizer,
    )
    return Plan(
        result=FittedDirections,
        schema=schemas.DIRECTIONS,
        inputs=[activations.path, *([] if inputs.corpus is None else [inputs.corpus.path])],
        output=manifest_path(stem),
        saved_as=archive_path(stem),
        force=request.output.force,
        known=parameters,
        begin=without_model(job),
        read=read,
    )


def _inputs(request: DirectionsRequest) -> FitInputs:
    load(request.method)
    check_labels(request.probe.labels)
    chosen = request.archive
    activations = Activations.open(chosen.activations)
    place = chosen_place(activations, chosen.site, chosen.position)
    return FitInputs(
        request=request,
        activations=activations,
        corpus=open_corpus(request.corpus, request.method, activations, place),
        place=place,
        layers=parse_layers(chosen.layers, activations.layers(place.site), activations.n_layers),
        settings=FitSettings(
            method=request.method,
            folds=request.probe.folds,
            seed=request.seed.seed,
            n_boot=request.n_boot,
        ),
    )


def fit_directions(inputs: FitInputs, session: Session) -> FittedDirections:
    """Fit and score every direction, choose a layer, and compare the directions."""
    request, place, settings = inputs.request, inputs.place, inputs.settings
    activations, agreement = labelled(inputs.activations, request.probe.labels)
    groups = joined_groups(activations, place.site, place.position, session.note)
    contrasts = _contrasts(activations, groups, request, session.note)
    corpus = corpus_of(
        activations,
        contrasts,
        groups,
        inputs.corpus,
        method=settings.method,
        note=session.note,
    )
    fitted = fit_contrasts(
        activations, contrasts, place, inputs.layers, settings, corpus=corpus, session=session
    )
    main = contrasts[0]
    of_label = [each for each in fitted if each.direction.name == main.name]
    transfer = None
    if corpus is not None and corpus.holds(main):
        why = "with a corpus the choice of a layer is not scored"
        best = best_measured(of_label, why, session.note)
    else:
        best = chosen_layer(activations, main, of_label, place, settings, note=session.note)
        transfer = category_transfer(activations, main, place, best.layer, settings)
    directions = _marked(fitted, best.layer)
    layers = [each.direction.layer for each in of_label]
    p_any = family_wise({each.direction.layer: each.quality.null for each in of_label})
    result = DirectionsResult(
        label_direction=main.name,
        layers=[_layer_quality(each, p_any[each.direction.layer]) for each in of_label],
        best=best,
        transfer=transfer,
        random_cosine=expected_cosine(len(fitted[0].direction.vector)),
        cosines=[_cosines_at(fitted, layer) for layer in layers],
        across_layers=CosinesAcrossLayers(
            layers=layers, matrix=_cosines([each.direction for each in of_label])
        ),
        held_out={each.direction.tensor: _projections(each, main) for each in of_label},
        labels=agreement,
        directions=[restored(DirectionEntry, entry_fields(each)) for each in directions],
    )
    return FittedDirections(result=result, directions=directions)


def _contrasts(
    activations: Activations, groups: Array, request: DirectionsRequest, note: Note
) -> list[Contrast]:
    """List the contrasts to fit, the label first."""
    main = label_contrast(activations, groups, request.positive, request.negative)
    rows = LabelledRows(main.name, main.rows, main.y, main.names, main.groups)
    folds = request.probe.folds
    note_each(main.name, row_warnings(rows, folds), note)
    contrasts = [main]
    chosen = {"category": request.per_category, "expected_tool": request.per_tool}
    for field in (field for field, is_chosen in chosen.items() if is_chosen):
        contrasts += one_against_rest(activations, groups, field, folds, note)
    return contrasts


def _layer_quality(each: Fitted, p_any: float | None) -> LayerQuality:
    found = {
        "layer": each.direction.layer,
        "norm": each.direction.norm,
        **each.quality.as_dict(),
        "p_any": p_any,
    }
    return restored(LayerQuality, found)


def _projections(each: Fitted, main: Contrast) -> HeldOutProjections:
    return HeldOutProjections(
        rows=main.rows.tolist(),
        positive=main.y.tolist(),
        scores=np.round(each.quality.scores, 5).tolist(),
    )


def _cosines_at(fitted: Sequence[Fitted], layer: int) -> CosinesAtLayer:
    here = [f.direction for f in fitted if f.direction.layer == layer]
    return CosinesAtLayer(layer=layer, names=[d.name for d in here], matrix=_cosines(here))


def _cosines(found: Sequence[Direction]) -> Cosines:
    matrix: Cosines = np.round(cosine_matrix(np.stack([d.vector for d in found])), 5).tolist()
    return matrix


def _marked(fitted: Sequence[Fitted], best: int) -> list[Direction]:
    """Mark the label's direction at the best layer; it comes first in ``fitted`` at each layer."""
    name = fitted[0].direction.name
    return [
        replace(each, extra={**each.extra, "recommended": True})
        if (each.name, each.layer) == (name, best)
        else each
        for each in (f.direction for f in fitted)
    ]


def stored(manifest: Manifest) -> FittedDirections:
    """Read the results of any archive of directions; most commands write none with scores."""
    if "best" in manifest.results:
        return FittedDirections(result=restored(DirectionsResult, manifest.results), directions=[])
    named = restored(list[NamedDirection], manifest.results.get("directions"))
    names = [each.name for each in named]
    return FittedDirections(result=StoredDirections(names=names), directions=[])


COMMAND = Command(
    request=DirectionsRequest,
    plan=plan,
    present=present_fitted,
    data=lambda fitted: plain(fitted.result),
    read=stored,
)
