"""Geometry of every layer, and how well a probe reads the label and the category from it.

Reads an archive of activations, writes ``analysis.json`` (``circuit.analysis/1``). Results
(``stages.analyze.results`` has every field):

    questions   {label, category}: classes, n, n_groups, warnings about the rows (``flags``), and
                their baselines: words, word pairs and surface of the text, ``embed`` where
                collected
    blind       the places at which all prompts have the same activations
    layers      one entry per site, position and layer: geometry, PCA and UMAP coordinates,
                separation of the classes, and held-out scores of probes
    curves      per site, position and labelling: emergence layer with its distribution over
                resamples, saturation, first layer at the threshold, and the verdict
    similarity  per site and position: linear CKA between the layers
    places      per position, with several sites: linear CKA between all sites and layers
    labels      how the model's labels agree with the annotator's, where --labels takes them
    comparison  with --compare, an archive of the same prompts (fine-tuned, say): how far the rows
                moved, and whether a probe of one reads the other

Every probe score is held out by group. Geometry is a description, and gives its chance level where
that is not 0. CKA of more than 1,000 prompts is that of 1,000 of them, drawn with the seed.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from circuit.artifacts.activations.activations import Activations
from circuit.methods.arrays import Array
from circuit.methods.geometry.similarity import cka
from circuit.methods.probes.power import power
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
    LayerMeasurement,
    Layers,
    Settings,
    Target,
    judged,
    measured_layers,
    probe_targets,
    text_baselines,
)
from circuit.stages.analyze.present import present
from circuit.stages.analyze.request import AnalyzeRequest
from circuit.stages.analyze.results import (
    AnalysisResult,
    Labelling,
    LayerCurve,
    LayerSimilarity,
    Matrix,
    SiteSimilarity,
)
from circuit.stages.options import ArchiveOptions
from circuit.stages.rows.baselines import baseline_score
from circuit.stages.rows.contrasts import Place, check_position
from circuit.stages.rows.labels import check_labels, labelled
from circuit.stages.rows.probe_scores import EmergenceResamples
from circuit.stages.rows.warnings import equal_rows_text, row_warnings
from circuit.stages.run import Command, Job, Note, Plan, Session, without_model
from circuit.values import schemas
from circuit.values.layers import parse_layers


def plan(request: AnalyzeRequest) -> Plan[AnalysisResult]:
    """Open the archives and choose the layers."""
    check_threshold(request.threshold)
    check_labels(request.probe.labels)
    activations = Activations.open(request.archive.activations)
    other = None if request.compare is None else Activations.open(request.compare)
    if other is not None:
        check_same_prompts(activations, other)
    wanted = layers_of_places(activations, request.archive)
    settings = Settings(
        umap=request.umap,
        folds=request.probe.folds,
        seed=request.seed.seed,
        threshold=request.threshold,
        n_boot=request.n_boot,
        n_shuffles=request.n_shuffles,
    )
    chosen = request.archive
    parameters = {
        "layers": chosen.layers,
        "site": chosen.site,
        "position": chosen.position,
        "labels": request.probe.labels,
        **vars(settings),
    }

    def compute(session: Session) -> AnalysisResult:
        return analysis(
            activations, other, wanted, settings, labels=request.probe.labels, session=session
        )

    job = Job(
        parameters=parameters,
        compute=compute,
        about_model=activations.manifest.model,
        about_tokenizer=activations.manifest.tokenizer,
    )
    return Plan(
        result=AnalysisResult,
        schema=schemas.ANALYSIS,
        inputs=[each.path for each in (activations, other) if each is not None],
        output=request.output.output,
        force=request.output.force,
        known=parameters,
        begin=without_model(job),
    )


def layers_of_places(activations: Activations, chosen: ArchiveOptions) -> dict[Place, list[int]]:
    """Return the layers to analyse of each site and position."""
    if chosen.position is not None:
        check_position(activations, chosen.position)
    sites = activations.sites if chosen.site is None else [chosen.site]
    positions = activations.positions if chosen.position is None else [chosen.position]
    return {
        Place(site, position): _layers_of(activations, site, chosen)
        for site in sites
        for position in positions
    }


def _layers_of(activations: Activations, site: str, chosen: ArchiveOptions) -> list[int]:
    if site == "embed" and chosen.site is None:
        return [0]  # the embedding has no other layer; it is the baseline of every other site
    return parse_layers(chosen.layers, activations.layers(site), activations.n_layers)


def analysis(
    archive: Activations,
    other: Activations | None,
    wanted: Layers,
    settings: Settings,
    *,
    labels: str,
    session: Session,
) -> AnalysisResult:
    """Measure every layer of ``wanted``, and compare with ``other`` where there is one."""
    activations, agreement = labelled(archive, labels)
    targets = probe_targets(activations, list(wanted)[-1], settings=settings, note=session.note)
    measured = list(measured_layers(activations, wanted, targets, settings, session.track))
    by_place = {
        place: judged({m.layer: m for m in measured if m.place == place}) for place in wanted
    }
    measured = [m for at in by_place.values() for m in at.values()]
    baselines = {
        each.name: text_baselines(activations, wanted, each, session.track) for each in targets
    }
    model = activations.manifest.model
    return AnalysisResult(
        model=None if model is None else model.id,
        n_layers=activations.n_layers,
        d_model=activations.d_model,
        n_prompts=len(activations.prompts),
        questions={
            each.name: _labelling(each, baselines[each.name], settings.folds) for each in targets
        },
        layers=[m.entry for m in measured],
        curves=[
            _curve(place, at, each, baselines[each.name], settings.threshold)
            for place, at in by_place.items()
            for each in targets
        ],
        similarity=[_similarity(place, at) for place, at in by_place.items()],
        places=_site_similarities(measured),
        blind=_places_of_equal_rows(measured, len(activations.prompts), session.note),
        comparison=None
        if other is None
        else compare(
            activations, other, wanted, targets, n_boot=settings.n_boot, track=session.track
        ),
        labels=agreement,
    )


def _labelling(target: Target, baselines: Mapping[str, ProbeResult], folds: int) -> Labelling:
    rows = target.rows
    return Labelling(
        n=len(rows.rows),
        n_groups=rows.n_groups,
        classes=rows.class_sizes(),
        classes_order=rows.names,
        flags=row_warnings(rows, folds),
        baselines={name: baseline_score(result) for name, result in baselines.items()},
    )


def _curve(
    place: Place,
    at: Mapping[int, LayerMeasurement],
    target: Target,
    baselines: Mapping[str, ProbeResult],
    threshold: float,
) -> LayerCurve:
    """Say where along the layers of one place a labelling becomes readable."""
    task = target.task
    probes = {layer: m.probes[target.name] for layer, m in at.items()}
    others = {
        key: result
        for key, result in baselines.items()
        if not (key == "embed" and place.site == "embed")
    }
    sure = Certainty.of(task.y, task.groups)
    located = emergence(
        {layer: result.scored for layer, result in probes.items()},
        [result.draws for result in others.values()],
        decodable(probes),
        sure,
    )
    draws = {layer: result.draws for layer, result in probes.items()}
    return LayerCurve(
        site=place.site,
        position=place.position,
        question=target.name,
        layers=list(probes),
        emergence_layer=located.layer,
        emergence=EmergenceResamples(
            median=located.median,
            interval_90=located.interval,
            never=round(located.never, 4),
        ),
        saturation_layer=saturation_layer(draws, n_groups=task.n_groups),
        threshold=threshold,
        threshold_layer=threshold_crossing(
            list(probes), [result.estimate for result in probes.values()], threshold
        ),
        verdict=verdict(
            probes,
            surface=[others[key] for key in TEXT_BASELINES],
            tokens=[others[key] for key in ("embed",) if key in others],
            control=None,
            certainty=sure,
        ),
        power=power(probes),
    )


def _places_of_equal_rows(
    measured: Sequence[LayerMeasurement], n_prompts: int, note: Note
) -> list[str]:
    """Name the places at which all rows are equal; an embedding may well be one."""
    found = []
    for each in measured:
        if not each.entry.geometry.spectrum:
            found.append(f"{each.name} at the {each.place.position} position")
            if each.place.site != "embed":
                note(equal_rows_text(found[-1], n_prompts))
    return found


def _similarity(place: Place, at: Mapping[int, LayerMeasurement]) -> LayerSimilarity:
    grams = [m.gram for m in at.values() if m.gram is not None]
    return LayerSimilarity(
        site=place.site,
        position=place.position,
        layers=list(at),
        cka=_rounded_cka(grams) if len(grams) > 1 else None,
    )


def _site_similarities(measured: Sequence[LayerMeasurement]) -> list[SiteSimilarity]:
    """Compare all sites and layers of each position that has several sites."""
    found = []
    for position in dict.fromkeys(m.place.position for m in measured):
        here = [m for m in measured if m.place.position == position and m.gram is not None]
        if len({m.place.site for m in here}) > 1:
            matrix = _rounded_cka([m.gram for m in here if m.gram is not None])
            names = [m.name for m in here]
            found.append(SiteSimilarity(position=position, names=names, cka=matrix))
    return found


def _rounded_cka(grams: list[Array]) -> Matrix:
    """Return CKA as JSON holds it: None where a layer has the same rows throughout."""
    return [
        [None if np.isnan(value) else round(float(value), 5) for value in row] for row in cka(grams)
    ]


COMMAND = Command(
    request=AnalyzeRequest,
    plan=plan,
    present=present,
    result=AnalysisResult,
)
