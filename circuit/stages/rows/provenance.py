"""What a direction was fitted to: the archive that its manifest leads to, and its prompts and rows.

A manifest names its inputs with their digests; an archive of activations among them, or among the
inputs of those, is what the direction was fitted to. A file of another program names none, and then
nothing is known of its training prompts.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from circuit.artifacts.activations.activations import Activations
from circuit.artifacts.directions.direction import Direction
from circuit.artifacts.files.documents import read_json, schema_of
from circuit.artifacts.manifest.manifest import Manifest, digest, manifest_path, read_manifest
from circuit.artifacts.prompts.prompts import PromptSet
from circuit.errors import ArtifactError, DataError, UsageError
from circuit.methods.arrays import Array
from circuit.methods.directions import fit_direction
from circuit.methods.uncertainty.splits import permuted_labels
from circuit.stages.rows.contrasts import Contrast, in_pair_order, label_contrast, one_against_rest
from circuit.stages.rows.labelled_rows import joined_groups
from circuit.stages.rows.labels import OF_PROMPTS, labelled
from circuit.stages.run import silent
from circuit.values import schemas


@dataclass(frozen=True)
class Fit:
    """The manifest of the fit, and of the archive that it read."""

    directions: Manifest
    archive: Path


def fit_of(direction_file: Path) -> Fit | None:
    """Follow the manifests of a steering file to its archive; None where they end before."""
    path = manifest_path(direction_file)
    if direction_file.suffix not in ("", ".safetensors", ".json") or not path.is_file():
        return None
    return _followed(path, None)


def _followed(path: Path, fitted: Manifest | None) -> Fit | None:
    schema = schema_of(read_json(path)) if path.is_file() and path.suffix == ".json" else None
    if schema == schemas.ACTIVATIONS and fitted is not None:
        return Fit(fitted, path)
    if schema != schemas.DIRECTIONS:
        return None
    manifest = read_manifest(path, schemas.DIRECTIONS)
    # What was chosen from another file was fitted where that one was.
    for ref in manifest.inputs:
        source = path.parent / ref.path
        if source.is_file() and digest(source) != ref.sha256:
            message = f"`{source}` has changed since `{path}` was made from it"
            hint = "run `circuit directions` again"
            raise ArtifactError("input-changed", message, hint=hint, path=str(source))
        of_source = manifest_path(source) if source.suffix == ".safetensors" else source
        if (found := _followed(of_source, manifest)) is not None:
            return found
    return None


def shuffled_vectors(
    direction: Direction, fit: Fit | None, archive: Path | None, n: int, seed: int
) -> list[Array]:
    """Fit a direction ``n`` times to its rows under permuted labels, by its own method.

    Labels are permuted where the prompts' design leaves them exchangeable (``methods.splits``):
    within pairs, or between groups.
    """
    if n == 0:
        return []
    where = archive or (fit.archive if fit else None)
    if where is None or fit is None:
        message = f"cannot find the training activations of direction `{direction.name}`"
        hint = "keep the archive where `circuit directions` read it, or use --shuffled 0"
        raise UsageError("no-training-archive", message, hint=hint, name=direction.name)
    parameters = fit.directions.parameters
    activations, _ = labelled(Activations.open(where), parameters.get("labels", OF_PROMPTS))
    site, position = parameters["site"], parameters["position"]
    contrast = _contrast(activations, direction, site, position, parameters["folds"])
    rows = activations.read(site, direction.layer, position)[contrast.rows]
    pairs = contrast.pairs
    paired = pairs is not None and None not in pairs and len(set(pairs)) * 2 == len(pairs)
    design = pairs if paired and pairs is not None else contrast.groups
    rng = np.random.default_rng([seed, 11])
    drawn = permuted_labels(contrast.y, design, rng, size=n)
    return [_refitted(direction, contrast, rows, labels, paired=paired) for labels in drawn]


def _contrast(
    activations: Activations, direction: Direction, site: str, position: str, folds: int
) -> Contrast:
    groups = joined_groups(activations, site, position)
    kind = direction.name.partition(":")[0]
    if kind in ("category", "tool"):
        field = "category" if kind == "category" else "expected_tool"
        of_kind = one_against_rest(activations, groups, field, folds, silent)
        return next(each for each in of_kind if each.name == direction.name)
    others = {direction.positive_label, direction.negative_label}
    negative = direction.negative_label if others <= set(activations.labels) else None
    return label_contrast(activations, groups, direction.positive_label, negative)


def _refitted(
    direction: Direction, contrast: Contrast, rows: Array, labels: Array, *, paired: bool
) -> Array:
    positive, negative = in_pair_order(replace(contrast, y=labels), paired=paired)
    method = str(direction.method)
    try:
        fit = fit_direction(method, rows[positive], rows[negative], paired=paired)
    except DataError as error:
        message = f"`{method}` cannot be fitted to shuffled labels: {error.message}"
        hint = "use --shuffled 0"
        raise DataError(error.code, message, hint=hint, **error.fields) from error
    return fit.vector


def training_prompts(fit: Fit | None) -> PromptSet | None:
    """Return the prompt set that a direction was fitted to; None where it is not known."""
    return None if fit is None else Activations.open(fit.archive).prompt_set
