"""Every contrast at every layer: the direction, and its quality on prompts that it was not fitted to.

A layer at which both classes of the label have the same activations has no direction: it is left out with a note, and so is another
contrast at such a layer. ``DataError`` when no layer is left.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from circuit.artifacts.activations.activations import Activations
from circuit.artifacts.steering_files.files import Direction
from circuit.errors import DataError
from circuit.methods.directions import SameActivationsError, fit_direction, load
from circuit.methods.linear.threads import parallel_map, workers_for
from circuit.methods.quality.crossfit import Quality, cross_fitted_quality
from circuit.methods.quality.design import design
from circuit.methods.quality.stability import stability
from circuit.stages.directions.corpus import Corpus
from circuit.stages.rows.contrasts import Contrast, in_pair_order
from circuit.stages.rows.labels import OF_PROMPTS
from circuit.stages.rows.questions import Array, Note
from circuit.stages.run import Track


@dataclass(frozen=True)
class Choices:
    """What decides the result: every one goes into the manifest."""

    layers: str = "all"
    method: str = "mean_diff"
    per_category: bool = False
    per_tool: bool = False
    positive: str | None = None
    negative: str | None = None
    site: str | None = None
    position: str | None = None
    folds: int = 5
    seed: int = 0
    n_boot: int = 1000
    labels: str = OF_PROMPTS
    corpus: Path | None = None

    def parameters(self, site: str, position: str) -> dict[str, Any]:
        """Return what goes into the manifest; the corpus is among its inputs."""
        named = {key: value for key, value in vars(self).items() if key != "corpus"}
        return {**named, "site": site, "position": position}


@dataclass(frozen=True)
class Fitted:
    """A direction, and the held-out projections behind its quality."""

    direction: Direction
    quality: Quality


def fit_contrasts(
    activations: Activations,
    contrasts: Sequence[Contrast],
    site: str,
    position: str,
    layers: Sequence[int],
    choices: Choices,
    corpus: Corpus | None,
    note: Note,
    track: Track,
) -> list[Fitted]:
    """Fit and score every contrast at every layer that has a direction of the first one, the label's, layer by layer."""
    read = ((layer, activations.read(site, layer, position)) for layer in layers)

    def fit(at: tuple[int, Array]) -> list[Fitted | SameActivationsError]:
        layer, rows = at
        place = (site, layer, position)
        beside = [None if corpus is None else corpus.beside(c, rows, place) for c in contrasts]
        return [
            _fit_or_why_not(activations, each, rows, site, layer, choices, others)
            for each, others in zip(contrasts, beside, strict=True)
        ]

    workers = workers_for(len(activations.prompts) * activations.width(site))
    found = parallel_map(fit, read, workers=workers)
    return _left(list(track(found, "Fitting directions", len(layers))), note)


def _left(found: Sequence[Sequence[Fitted | SameActivationsError]], note: Note) -> list[Fitted]:
    """Leave out, with a note, the layers without a direction of the label, and what else has none."""
    dead = [at[0] for at in found if isinstance(at[0], SameActivationsError)]
    if len(dead) == len(found):
        raise dead[0]
    alive = [at for at in found if isinstance(at[0], Fitted)]
    for each in [*dead, *(one for at in alive for one in at)]:
        if isinstance(each, SameActivationsError):
            note(f"{each.message}: left out")
    return [each for at in alive for each in at if isinstance(each, Fitted)]


def _fit_or_why_not(*of: Any) -> Fitted | SameActivationsError:
    try:
        return _fit_one(*of)
    except SameActivationsError as error:
        return error


def _fit_one(
    activations: Activations,
    contrast: Contrast,
    rows: Array,
    site: str,
    layer: int,
    choices: Choices,
    corpus: Array | None,
) -> Fitted:
    inside = rows[contrast.rows]
    try:
        quality = _quality(contrast, inside, choices, corpus)
        positive, negative = in_pair_order(contrast, paired=quality.paired)
        fit = fit_direction(
            choices.method,
            inside[positive],
            inside[negative],
            paired=quality.paired,
            corpus=corpus,
        )
    except DataError as error:
        message = f"{contrast.name} at layer {layer}: {error.message}"
        raise type(error)(message, hint=error.hint) from error
    direction = Direction(
        name=contrast.name,
        site=site,
        layer=layer,
        vector=fit.vector,
        norm=fit.norm,
        method=choices.method,
        positive_label=contrast.positive_label,
        negative_label=contrast.negative_label,
        quality=quality.as_dict(),
        model=activations.manifest.model,
        format=activations.manifest.parameters.get("format"),
        extra={"along": fit.along},
    )
    return Fitted(direction, quality)


def _quality(contrast: Contrast, rows: Array, choices: Choices, corpus: Array | None) -> Quality:
    quality = cross_fitted_quality(
        choices.method,
        rows,
        contrast.y,
        contrast.groups,
        contrast.pairs,
        corpus=corpus,
        folds=choices.folds,
        seed=choices.seed,
        n_boot=choices.n_boot,
    )
    if corpus is None:
        return quality
    beside = load(choices.method).with_corpus(corpus)
    rows_of = design(contrast.y, contrast.groups, contrast.pairs)
    stable = stability(beside, rows, rows_of, seed=choices.seed, n_boot=choices.n_boot)
    return replace(quality, stability=stable)
