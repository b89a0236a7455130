"""What is drawn of an archive: from its analysis and directions, or computed where they lack it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from circuit.artifacts.activations.activations import Activations
from circuit.artifacts.files.documents import restored
from circuit.artifacts.manifest.manifest import (
    Manifest,
    check_outputs,
    digest,
    manifest_path,
    read_manifest,
)
from circuit.errors import ArtifactError, DataError, UsageError
from circuit.methods.linear.rowspace import row_coordinates
from circuit.present.document import Figure
from circuit.stages.analyze.figures import (
    pca_figure,
    probe_figure,
    similarity_figure,
    sites_figure,
    umap_figure,
)
from circuit.stages.analyze.layers import Settings, described_rows, umap_layout
from circuit.stages.analyze.results import AnalysisResult, LayerEntry
from circuit.stages.analyze.run import analysis, layers_of_places
from circuit.stages.directions.figures import direction_figures
from circuit.stages.directions.results import DirectionsResult
from circuit.stages.figures.request import VisualizeRequest
from circuit.stages.options import ArchiveOptions
from circuit.stages.rows.contrasts import Place, chosen_place
from circuit.stages.rows.labels import OF_PROMPTS
from circuit.stages.run import Session
from circuit.values.layers import parse_layers

KINDS = ("pca", "umap", "probes", "directions")
T = TypeVar("T")


@dataclass(frozen=True)
class FoundResults(Generic[T]):
    """Results that were made from the archive, and the manifest that holds them."""

    path: Path
    manifest: Manifest
    results: T


@dataclass(frozen=True, kw_only=True)
class ArchiveSources:
    """An open archive, the results that are drawn, and the layers of the pictures of one layer."""

    request: VisualizeRequest
    kinds: tuple[str, ...]
    activations: Activations
    analysis: AnalysisResult | None
    directions: DirectionsResult | None
    place: Place
    layers: list[int]


def found_results(
    kind: type[T], activations: Activations, given: Path | None, beside: str, schema: str
) -> FoundResults[T] | None:
    """Return the results that were given or lie beside the archive, made from this archive."""
    path = activations.path.with_name(beside) if given is None else manifest_path(given)
    if given is None and not path.is_file():
        return None
    manifest = read_manifest(path, schema)
    check_outputs(path, manifest)
    if digest(activations.path) not in {ref.sha256 for ref in manifest.inputs}:
        message = f"`{path}` was made from another archive than `{activations.path}`"
        hint = "make it again from this archive"
        raise ArtifactError("made-from-another-archive", message, hint=hint, path=str(path))
    try:
        return FoundResults(path, manifest, restored(kind, manifest.results))
    except ArtifactError as error:
        raise error.within(f"`{path}`") from error


def sources_of(
    request: VisualizeRequest,
    activations: Activations,
    analysed: FoundResults[AnalysisResult] | None,
    fitted: FoundResults[DirectionsResult] | None,
) -> ArchiveSources:
    """Choose the place, the layers and the kinds of pictures."""
    place = chosen_place(activations, request.site, request.position)
    available = activations.layers(place.site)
    if request.layers is not None:
        layers = parse_layers(request.layers, available, activations.n_layers)
    elif fitted is not None and fitted.manifest.parameters["site"] == place.site:
        layers = [fitted.results.best.layer]
    else:
        layers = available[-1:]
    chosen = tuple(kind for kind in KINDS if getattr(request, kind))
    kinds = KINDS if request.everything or not chosen else chosen
    if fitted is None and kinds == ("directions",):
        message = f"there are no directions beside `{activations.path}`"
        hint = "run circuit directions first, or give --direction-file"
        raise UsageError("no-directions", message, hint=hint, path=str(activations.path))
    return ArchiveSources(
        request=request,
        kinds=kinds,
        activations=activations,
        analysis=None if analysed is None else analysed.results,
        directions=None if fitted is None else fitted.results,
        place=place,
        layers=layers,
    )


def archive_figures(sources: ArchiveSources, session: Session) -> list[Figure]:
    """Return every figure that was asked for."""
    found: list[Figure] = []
    if "pca" in sources.kinds or "umap" in sources.kinds:
        for layer in session.track(sources.layers, "Drawing layers", len(sources.layers)):
            found += _layer_figures(sources, layer, session)
    if "probes" in sources.kinds:
        found += _probe_figures(sources, session)
    if "directions" in sources.kinds and sources.directions is not None:
        found += direction_figures(sources.directions)
    elif "directions" in sources.kinds:
        session.note("no directions.json beside the archive, so directions are not drawn")
    if not found:
        site, position = sources.place
        message = f"there is nothing to draw of {site} at the {position} position"
        hint = "choose another layer, site or position"
        raise DataError("nothing-to-draw", message, hint=hint, site=site, position=position)
    return found


def _layer_figures(sources: ArchiveSources, layer: int, session: Session) -> Iterator[Figure]:
    entry, activations = _entry(sources, layer), sources.activations
    if not entry.geometry.spectrum:
        where = f"{entry.site}.{layer}"
        session.note(f"{where}: all prompts have the same activations, nothing to lay out")
        return
    if "pca" in sources.kinds:
        yield pca_figure(activations, entry)
    if "umap" in sources.kinds:
        if entry.umap is None:
            session.note(
                f"laying out layer {layer} by UMAP; analyze --umap keeps it for the next time"
            )
            rows = activations.read(entry.site, layer, entry.position)
            coordinates = row_coordinates(rows, standardise=False)
            entry = replace(entry, umap=umap_layout(coordinates, sources.request.seed.seed))
        yield umap_figure(activations, entry)


def _entry(sources: ArchiveSources, layer: int) -> LayerEntry:
    """Return what the analysis says about a layer, or its geometry computed now."""
    place = sources.place
    if sources.analysis is not None:
        for entry in sources.analysis.entries_at(*place):
            if entry.layer == layer:
                return entry
    rows = sources.activations.read(place.site, layer, place.position)
    return described_rows(place, layer, rows, row_coordinates(rows, standardise=False))


def _probe_figures(sources: ArchiveSources, session: Session) -> Iterator[Figure]:
    place, request, found = sources.place, sources.request, sources.analysis
    if found is None or not found.entries_at(*place):
        session.note("probing every layer; analyze -o keeps the results for the next time")
        chosen = ArchiveOptions(
            activations=sources.activations.path, site=place.site, position=place.position
        )
        wanted = layers_of_places(sources.activations, chosen)
        settings = Settings(folds=request.folds, seed=request.seed.seed)
        found = analysis(
            sources.activations, None, wanted, settings, labels=OF_PROMPTS, session=session
        )
    entries = found.entries_at(*place)
    if len(entries) == 1:
        session.note(f"the analysis holds layer {entries[0].layer} only, so its curve is one point")
    yield probe_figure(found.questions, entries, request.threshold)
    for similarity in found.similarity:
        if (similarity.site, similarity.position) == place and similarity.cka:
            yield similarity_figure(similarity)
    for sites in found.places:
        if sites.position == place.position:
            yield sites_figure(sites)
