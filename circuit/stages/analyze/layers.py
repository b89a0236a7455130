"""Every layer of an archive, measured: its geometry, its layouts, and a probe of each labelling.

The folds, resamples and permutations of a labelling are drawn once (``Target``), so that all layers
and baselines are scored alike. ``judged`` adds what needs all layers of a place: the family-wise p
and the star. Layers of large archives are measured in parallel, one core each.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from circuit.artifacts.activations.activations import Activations
from circuit.artifacts.files.documents import restored
from circuit.methods.arrays import Array
from circuit.methods.geometry import geometry, projection
from circuit.methods.geometry.similarity import centred_gram
from circuit.methods.linear.rowspace import row_coordinates
from circuit.methods.linear.threads import parallel_map, workers_for
from circuit.methods.probes.permutation import family_wise
from circuit.methods.probes.probing import ProbeResult, probe
from circuit.methods.probes.question import Task, prepare
from circuit.methods.probes.verdict import decodable
from circuit.methods.text.surface import TEXT_BASELINES
from circuit.stages.analyze.results import (
    ClassSeparation,
    Geometry,
    LayerEntry,
    LayerScore,
    Layout,
)
from circuit.stages.rows.contrasts import Place
from circuit.stages.rows.labelled_rows import (
    LabelledRows,
    joined_groups,
    permutation_units,
    rows_by_category,
    rows_by_label,
    same_partition,
)
from circuit.stages.rows.warnings import note_each, row_warnings
from circuit.stages.run import Note, Track

CKA_ROWS = 1000


Layers = Mapping[Place, list[int]]


@dataclass(frozen=True)
class Settings:
    """How layers are measured and probes judged."""

    umap: bool = False
    folds: int = 5
    seed: int = 0
    threshold: float = 0.75
    n_boot: int = 1000
    n_shuffles: int = 1000


@dataclass(frozen=True)
class Target:
    """Labelled rows with the folds, resamples and permutations on which every layer is scored."""

    rows: LabelledRows
    task: Task

    @property
    def name(self) -> str:
        """``label`` or ``category``."""
        return self.rows.name


@dataclass(frozen=True)
class LayerMeasurement:
    """What one layer gave: its entry in the results, its probes and its centred Gram matrix."""

    place: Place
    layer: int
    entry: LayerEntry
    probes: dict[str, ProbeResult]
    gram: Array | None

    @property
    def name(self) -> str:
        """``resid_post.3``, or ``embed``."""
        site = self.place.site
        return site if site == "embed" else f"{site}.{self.layer}"


def probe_targets(
    activations: Activations, place: Place, *, settings: Settings, note: Note
) -> list[Target]:
    """Return what probes are fitted to: the label, and the category where it divides otherwise."""
    groups = joined_groups(activations, place.site, place.position, note)
    label = rows_by_label(activations, groups)
    category = rows_by_category(activations, groups, note)
    labellings = [label]
    if category is not None and not same_partition(label, category):
        labellings.append(category)
    for each in labellings:
        note_each(each.name, row_warnings(each, settings.folds), note)
    return [Target(each, _task(activations, each, settings)) for each in labellings]


def _task(activations: Activations, labelled: LabelledRows, settings: Settings) -> Task:
    return prepare(
        labelled.y,
        labelled.groups,
        units=permutation_units(activations, labelled),
        folds=settings.folds,
        seed=settings.seed,
        n_boot=settings.n_boot,
        n_shuffles=settings.n_shuffles,
    )


def measured_layers(
    activations: Activations,
    wanted: Layers,
    targets: Sequence[Target],
    settings: Settings,
    track: Track,
) -> Iterator[LayerMeasurement]:
    """Measure every layer of every place, several at once where they are large."""
    places = [(place, layer) for place, layers in wanted.items() for layer in layers]
    sampled = _sampled(len(activations.prompts), settings.seed)

    def read() -> Iterator[tuple[Place, int, Array]]:
        for place, layer in places:
            yield place, layer, activations.read(place.site, layer, place.position)

    def measure(one: tuple[Place, int, Array]) -> LayerMeasurement:
        place, layer, rows = one
        probes = {each.name: probe(rows[each.rows.rows], each.task) for each in targets}
        return LayerMeasurement(
            place,
            layer,
            _entry(place, layer, rows, targets, settings),
            probes,
            centred_gram(rows[sampled]) if len(sampled) > 3 else None,
        )

    workers = workers_for(len(activations.prompts) * activations.d_model)
    yield from track(parallel_map(measure, read(), workers=workers), "Analyzing", len(places))


def _entry(
    place: Place,
    layer: int,
    rows: Array,
    targets: Sequence[Target],
    settings: Settings,
) -> LayerEntry:
    coordinates = row_coordinates(rows, standardise=False)
    described = described_rows(place, layer, rows, coordinates)
    return replace(
        described,
        # Equal rows have no layout.
        umap=umap_layout(coordinates, settings.seed)
        if settings.umap and coordinates.shape[1]
        else None,
        separation={each.name: _separation(coordinates, each.rows, settings) for each in targets},
    )


def described_rows(place: Place, layer: int, rows: Array, coordinates: Array) -> LayerEntry:
    """Describe the rows (n_prompts, d) of one layer, without a probe.

    ``coordinates`` are those of the rows in their row space.
    """
    return LayerEntry(
        site=place.site,
        position=place.position,
        layer=layer,
        geometry=restored(Geometry, geometry.shape(rows, coordinates).as_dict()),
        pca=restored(Layout, projection.pca(rows, coordinates).as_dict()),
        separation={},
        probes={},
    )


def umap_layout(coordinates: Array, seed: int) -> Layout:
    """Lay rows out by UMAP."""
    return restored(Layout, projection.umap(coordinates, seed=seed).as_dict())


def _separation(coordinates: Array, labelled: LabelledRows, settings: Settings) -> ClassSeparation:
    rows = coordinates[labelled.rows]
    found = geometry.separation(rows, labelled.y, labelled.groups, seed=settings.seed)
    return restored(ClassSeparation, found.as_dict())


def _sampled(n: int, seed: int) -> Array:
    """Return the rows of which CKA is taken."""
    if n <= CKA_ROWS:
        return np.arange(n)
    return np.sort(np.random.default_rng([seed, 13]).choice(n, CKA_ROWS, replace=False))


def judged(at: Mapping[int, LayerMeasurement]) -> dict[int, LayerMeasurement]:
    """Add the probes' scores to the entries, with what depends on all layers: p and star."""
    scores: dict[int, dict[str, LayerScore]] = {layer: {} for layer in at}
    for name in next(iter(at.values())).probes:
        probes = {layer: found.probes[name] for layer, found in at.items()}
        p_any = family_wise({layer: result.null for layer, result in probes.items()})
        stars = decodable(probes)
        for layer, result in probes.items():
            judgement = {"p_any": p_any[layer], "significant": stars[layer]}
            scores[layer][name] = restored(LayerScore, {**result.as_dict(), **judgement})
    return {
        layer: replace(found, entry=replace(found.entry, probes=scores[layer]))
        for layer, found in at.items()
    }


def text_baselines(
    activations: Activations, wanted: Layers, target: Target, track: Track
) -> dict[str, ProbeResult]:
    """Probe the text, and the embedding where it was collected and is not itself analysed."""
    rows = target.rows.rows
    texts = [activations.prompt_set.texts[row] for row in rows]
    features = {name: measure(texts) for name, measure in TEXT_BASELINES.items()}
    if "embed" in activations.sites and any(place.site != "embed" for place in wanted):
        position = list(wanted)[-1].position
        features["embed"] = activations.read("embed", 0, position)[rows]
    tracked = track(features.items(), f"Baselines of {target.name}", len(features))
    return {name: probe(X, target.task) for name, X in tracked}
