"""Every contrast at every layer: the direction, and its quality on prompts it was not fitted to.

A layer at which both classes of the label have the same activations has no direction: it is left
out with a note, and so is another contrast at such a layer. ``DataError`` where no layer is left.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from circuit.artifacts.activations.activations import Activations
from circuit.artifacts.directions.direction import Direction
from circuit.errors import DataError
from circuit.methods.arrays import Array
from circuit.methods.directions import SameActivationsError, fit_direction, load
from circuit.methods.linear.threads import parallel_map, workers_for
from circuit.methods.quality.crossfit import Quality, cross_fitted_quality
from circuit.methods.quality.design import design
from circuit.methods.quality.stability import stability
from circuit.stages.directions.corpus import Corpus
from circuit.stages.rows.contrasts import Contrast, Place, in_pair_order
from circuit.stages.run import Note, Session


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How each direction is fitted and scored."""

    method: str
    folds: int
    seed: int
    n_boot: int


@dataclass(frozen=True)
class LayerRows:
    """All rows (n_prompts, d) of a layer, and where they come from."""

    activations: Activations
    place: Place
    layer: int
    rows: Array


@dataclass(frozen=True)
class Fitted:
    """A direction, and the held-out projections behind its quality."""

    direction: Direction
    quality: Quality


def fit_contrasts(
    activations: Activations,
    contrasts: Sequence[Contrast],
    place: Place,
    layers: Sequence[int],
    settings: FitSettings,
    *,
    corpus: Corpus | None,
    session: Session,
) -> list[Fitted]:
    """Fit and score every contrast at every layer, layer by layer.

    Layers without a direction of the first contrast, the label's, are left out.
    """
    read = (
        LayerRows(activations, place, layer, activations.read(place.site, layer, place.position))
        for layer in layers
    )

    def fit(at: LayerRows) -> list[Fitted | SameActivationsError]:
        return [
            _fitted_or_error(
                at,
                contrast,
                settings,
                None if corpus is None else corpus.rows(contrast, at.rows, place, at.layer),
            )
            for contrast in contrasts
        ]

    workers = workers_for(len(activations.prompts) * activations.width(place.site))
    found = parallel_map(fit, read, workers=workers)
    tracked = session.track(found, "Fitting directions", len(layers))
    return _fitted(list(tracked), session.note)


def _fitted(found: Sequence[Sequence[Fitted | SameActivationsError]], note: Note) -> list[Fitted]:
    """Leave out, with a note, layers without a direction of the label, and others without one."""
    dead = [at[0] for at in found if isinstance(at[0], SameActivationsError)]
    if len(dead) == len(found):
        raise dead[0]
    alive = [at for at in found if isinstance(at[0], Fitted)]
    for each in [*dead, *(one for at in alive for one in at)]:
        if isinstance(each, SameActivationsError):
            note(f"{each.message}: left out")
    return [each for at in alive for each in at if isinstance(each, Fitted)]


def _fitted_or_error(
    at: LayerRows, contrast: Contrast, settings: FitSettings, corpus: Array | None
) -> Fitted | SameActivationsError:
    try:
        return _fit_one(at, contrast, settings, corpus)
    except SameActivationsError as error:
        return error.within(f"{contrast.name} at layer {at.layer}")
    except DataError as error:
        raise error.within(f"{contrast.name} at layer {at.layer}") from error


def _fit_one(
    at: LayerRows, contrast: Contrast, settings: FitSettings, corpus: Array | None
) -> Fitted:
    inside, manifest = at.rows[contrast.rows], at.activations.manifest
    quality = quality_of(contrast, inside, settings, corpus)
    positive, negative = in_pair_order(contrast, paired=quality.paired)
    fit = fit_direction(
        settings.method, inside[positive], inside[negative], paired=quality.paired, corpus=corpus
    )
    direction = Direction(
        name=contrast.name,
        site=at.place.site,
        layer=at.layer,
        vector=fit.vector,
        norm=fit.norm,
        method=settings.method,
        positive_label=contrast.positive_label,
        negative_label=contrast.negative_label,
        quality=quality.as_dict(),
        model=manifest.model,
        format=manifest.parameters.get("format"),
        extra={"along": fit.along},
    )
    return Fitted(direction, quality)


def quality_of(
    contrast: Contrast, rows: Array, settings: FitSettings, corpus: Array | None = None
) -> Quality:
    """Score the direction of a contrast on its ``rows`` (n, d) that it was not fitted to."""
    seed, n_boot = settings.seed, settings.n_boot
    of_rows = design(contrast.y, contrast.groups, contrast.pairs)
    quality = cross_fitted_quality(
        settings.method,
        rows,
        of_rows,
        corpus=corpus,
        folds=settings.folds,
        seed=seed,
        n_boot=n_boot,
    )
    if corpus is None:
        return quality
    method = load(settings.method).with_corpus(corpus)
    return replace(quality, stability=stability(method, rows, of_rows, seed=seed, n_boot=n_boot))
