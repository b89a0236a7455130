"""Pictures of an archive, each with its numbers in a JSON file of the same name.

Reads the archive and, where they are given or lie beside it, ``analysis.json`` and ``directions.json``; what they do not
hold is computed, and said so. Writes

    pca_layer<L>.png                  principal components and spectrum
    umap_layer<L>.png                 UMAP by label and by category
    probe_accuracy.png                held-out scores of the probes along the layers
    layer_similarity.png              CKA between the layers
    directions_auroc.png              cross-fitted quality of the direction along the layers
    directions_projection_layer<L>.png  held-out projections by class
    directions_cosines.png            cosines between directions
    directions_transfer.png           the direction of one category's prompts scored on another's

and last ``plots.json`` (``circuit.plots/1``), which lists them with captions. All figures are drawn before the first
file is written.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from circuit.artifacts.activations.activations import Activations
from circuit.artifacts.files.atomic import write_file
from circuit.artifacts.files.documents import document_bytes
from circuit.artifacts.manifest.manifest import (
    Manifest,
    Run,
    check_outputs,
    digest,
    manifest_path,
    read_manifest,
    reusable,
    write_manifest,
)
from circuit.errors import ArtifactError, DataError, UsageError
from circuit.methods.geometry import projection
from circuit.methods.linear.rowspace import row_coordinates
from circuit.methods.uncertainty.emergence import check_threshold
from circuit.stages.analyze.run import analyze, entries_at
from circuit.stages.figures import archive as figures
from circuit.stages.figures.archive import Picture
from circuit.stages.rows.contrasts import chosen_place
from circuit.stages.rows.questions import Note, silent
from circuit.stages.run import Track, untracked
from circuit.values import schemas
from circuit.values.layers import parse_layers

KINDS = ("pca", "umap", "probes", "directions")
Record = dict[str, Any]


@dataclass(frozen=True)
class Choices:
    """What to draw, and from which place of the archive."""

    kinds: tuple[str, ...] = KINDS
    layers: str | None = None
    site: str | None = None
    position: str | None = None
    folds: int = 5
    seed: int = 0
    threshold: float = 0.75


@dataclass(frozen=True)
class Sources:
    """An open archive, and the results that are drawn."""

    activations: Activations
    analysis: Manifest | None
    directions: Manifest | None
    site: str
    position: str
    layers: list[int]  # of the pictures of one layer


def visualize(
    archive: Path,
    out: Path,
    choices: Choices = Choices(),
    *,
    analysis: Path | None = None,
    direction_file: Path | None = None,
    force: bool = False,
    note: Note = silent,
    track: Track = untracked,
) -> tuple[Record, bool]:
    """Draw into the folder ``out``; return the results and whether they were there already."""
    started = time.perf_counter()
    check_threshold(choices.threshold)
    activations = Activations.open(archive)
    analysis_path = _found(activations, analysis, "analysis.json", schemas.ANALYSIS, note)
    direction_path = _found(
        activations, direction_file, "directions.json", schemas.DIRECTIONS, note
    )
    sources = _sources(activations, analysis_path, direction_path, choices)
    parameters = {**vars(choices), "site": sources.site, "position": sources.position}
    parameters["layers"] = sources.layers
    inputs = [
        path for path in (activations.path, analysis_path, direction_path) if path is not None
    ]
    target = out / "plots.json"
    found = reusable(
        target, schema=schemas.PLOTS, parameters=parameters, inputs=inputs, force=force
    )
    if found is not None:
        return found.results, True
    wanted = list(_pictures(sources, choices, note, track))
    if not wanted:
        message = f"there is nothing to draw of {sources.site} at the {sources.position} position"
        raise DataError(message, hint="choose another layer, site or position")
    results = {"figures": [described_picture(picture) for picture in wanted]}
    written = [path for picture in wanted for path in write_picture(picture, out, force)]
    write_manifest(
        target,
        schema=schemas.PLOTS,
        parameters=parameters,
        inputs=inputs,
        outputs=written,
        results=results,
        model=activations.manifest.model,
        run=Run.since(started),
        force=force,
    )
    return results, False


def _found(
    activations: Activations, given: Path | None, beside: str, schema: str, note: Note
) -> Path | None:
    """Return the manifest that was given or lies beside the archive, if it was made from this archive."""
    if given is not None:
        path = manifest_path(given)
        _require_from(activations, path, schema)
        return path
    path = activations.path.with_name(beside)
    if not path.is_file():
        return None
    try:
        _require_from(activations, path, schema)
    except ArtifactError as error:
        note(f"not used: {error.message}")
        return None
    return path


def _require_from(activations: Activations, path: Path, schema: str) -> None:
    manifest = read_manifest(path, schema)
    check_outputs(path, manifest)
    if digest(activations.path) not in {ref.sha256 for ref in manifest.inputs}:
        message = f"`{path}` was made from another archive than `{activations.path}`"
        raise ArtifactError(message, hint="make it again from this archive")


def _sources(
    activations: Activations,
    analysis_path: Path | None,
    direction_path: Path | None,
    choices: Choices,
) -> Sources:
    site, position = chosen_place(activations, choices.site, choices.position)
    directions = (
        None if direction_path is None else read_manifest(direction_path, schemas.DIRECTIONS)
    )
    analysis = None if analysis_path is None else read_manifest(analysis_path, schemas.ANALYSIS)
    if choices.layers is not None:
        available = activations.layers(site)
        layers = parse_layers(choices.layers, available, activations.n_layers)
    elif directions is not None and directions.parameters["site"] == site:
        layers = [directions.results["best"]["layer"]]
    else:
        layers = activations.layers(site)[-1:]
    return Sources(activations, analysis, directions, site, position, layers)


def _pictures(sources: Sources, choices: Choices, note: Note, track: Track) -> Iterator[Picture]:
    """Draw everything that was asked for."""
    if "pca" in choices.kinds or "umap" in choices.kinds:
        for layer in track(sources.layers, "Drawing layers", len(sources.layers)):
            yield from _layer_pictures(sources, layer, choices, note)
    if "probes" in choices.kinds:
        yield from _probe_pictures(sources, choices, note, track)
    if "directions" in choices.kinds:
        yield from _direction_pictures(sources, choices, note)


def _layer_pictures(
    sources: Sources, layer: int, choices: Choices, note: Note
) -> Iterator[Picture]:
    entry = _entry(sources, layer)
    if not entry["geometry"]["spectrum"]:
        note(f"{sources.site}.{layer}: all prompts have the same activations, nothing to lay out")
        return
    if "pca" in choices.kinds:
        yield figures.pca_picture(sources.activations, entry)
    if "umap" in choices.kinds:
        if "umap" not in entry:
            note(f"laying out layer {layer} by UMAP; analyze --umap keeps it for the next time")
            rows = sources.activations.read(sources.site, layer, sources.position)
            coordinates = row_coordinates(rows, standardise=False)
            entry["umap"] = projection.umap(coordinates, seed=choices.seed).as_dict()
        yield figures.umap_picture(sources.activations, entry)


def _entry(sources: Sources, layer: int) -> Record:
    """What the analysis says about a layer, or its geometry computed now."""
    from circuit.methods.geometry import geometry

    if sources.analysis is not None:
        found = entries_at(
            sources.analysis.results, sources.site, sources.position, lambda at: at == layer
        )
        if found:
            return dict(found[0])
    rows = sources.activations.read(sources.site, layer, sources.position)
    coordinates = row_coordinates(rows, standardise=False)
    return {
        "site": sources.site,
        "position": sources.position,
        "layer": layer,
        "geometry": geometry.shape(rows, coordinates).as_dict(),
        "pca": projection.pca(rows, coordinates).as_dict(),
    }


def _probe_pictures(
    sources: Sources, choices: Choices, note: Note, track: Track
) -> Iterator[Picture]:
    results = sources.analysis.results if sources.analysis is not None else None
    if results is None or not entries_at(results, sources.site, sources.position):
        note("probing every layer; analyze -o keeps the results for the next time")
        results, _ = analyze(
            sources.activations.path,
            site=sources.site,
            position=sources.position,
            folds=choices.folds,
            seed=choices.seed,
            note=note,
            track=track,
        )
    entries = entries_at(results, sources.site, sources.position)
    if len(entries) == 1:
        note(f"the analysis holds layer {entries[0]['layer']} only, so its curve is one point")
    yield figures.probe_picture(results, entries, choices.threshold)
    place = (sources.site, sources.position)
    for similarity in results["similarity"]:
        if (similarity["site"], similarity["position"]) == place and similarity["cka"]:
            yield figures.similarity_picture(similarity)
    for found in results["places"]:
        if found["position"] == sources.position:
            yield figures.sites_picture(found)


def _direction_pictures(sources: Sources, choices: Choices, note: Note) -> Iterator[Picture]:
    manifest = sources.directions
    if manifest is None and choices.kinds == ("directions",):
        message = f"there are no directions beside `{sources.activations.path}`"
        raise UsageError(message, hint="run circuit directions first, or give --direction-file")
    if manifest is None:
        note("no directions.json beside the archive, so directions are not drawn")
        return
    found = manifest.results
    best = found["best"]["layer"]
    if len(found["layers"]) > 1:
        yield figures.quality_picture(found, manifest.parameters["site"])
    yield figures.histogram_picture(found, best)
    if len(found["layers"]) > 1 or len(found["cosines"][0]["names"]) > 1:
        yield figures.cosine_picture(found, best)
    if found["transfer"] is not None:
        yield figures.transfer_picture(found)


def described_picture(picture: Picture) -> Record:
    """Return what the manifest says of a picture."""
    return {
        "file": f"{picture.name}.png",
        "numbers": f"{picture.name}.json",
        "caption": picture.caption,
    }


def write_picture(picture: Picture, out: Path, force: bool) -> list[Path]:
    """Write a picture and its numbers, and return both files."""
    image, numbers = out / f"{picture.name}.png", out / f"{picture.name}.json"
    document = {
        "schema": schemas.FIGURE,
        "figure": image.name,
        "caption": picture.caption,
        **picture.numbers,
    }
    write_file(numbers, document_bytes(document), force=force)
    write_file(image, picture.image, force=force)
    return [image, numbers]
