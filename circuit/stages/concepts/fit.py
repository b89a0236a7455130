"""Directions of concepts: the mean residual of texts that have one − that of neutral texts.

The residual of a text is the mean over its tokens but the first. (At the last token these texts are
separated worse; the score there is kept as ``auroc_last``.) Minimal pairs (category ``minimal``),
which differ in a word and continue about something else, are left out: they ask what is carried
along, and vectors that were fitted to them hardly moved a model.

A quarter of a concept's groups of texts is held out: on these, ``concepts scan`` measures what
steering does. The quality is cross-fitted on the others, as in ``circuit directions``. Under
``ENOUGH`` groups nothing is held out, and under ``LEAST`` no quality is measured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from circuit.artifacts.directions.direction import Direction
from circuit.artifacts.prompts.prompts import PromptSet
from circuit.methods.arrays import Array
from circuit.methods.directions import fit_direction
from circuit.methods.quality.crossfit import cross_fitted_quality
from circuit.methods.quality.design import design
from circuit.methods.uncertainty.splits import grouped_folds, merge_identical
from circuit.stages.directions.fit import FitSettings, quality_of
from circuit.stages.rows.contrasts import Contrast
from circuit.stages.rows.prompting import encode
from circuit.stages.run import Session
from circuit.values.prompt_format import RAW
from circuit.values.sites import Site

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel

SITE, POSITION, OTHER = "resid_post", "mean", "last"
MINIMAL = "minimal"
HELD_OUT = 4  # one group in so many is held out
ENOUGH, LEAST = 16, 8
SETTINGS = FitSettings(method="mean_diff", folds=5, seed=0, n_boot=1000)

Residuals = dict[tuple[int, str], Array]


@dataclass(frozen=True)
class ConceptTexts:
    """The rows of a concept's prompt set: those its direction is fitted to, and those held out."""

    fitted: Contrast
    held_out: Contrast

    @classmethod
    def of(cls, prompts: PromptSet) -> "ConceptTexts":
        """Divide a prompt set of two labels; equal texts share a group."""
        rows, y = prompts.y()
        whole = np.array([prompts.prompts[row].category != MINIMAL for row in rows])
        rows, y = rows[whole], y[whole]
        groups, _ = merge_identical(prompts.groups()[rows], [prompts.texts[row] for row in rows])
        pair_of = {int(row): k for k, pair in enumerate(prompts.pairs()) for row in pair}
        held_out = np.zeros(len(rows), bool)
        if _fewest_groups(y, groups) >= ENOUGH:
            held_out[grouped_folds(y, groups, folds=HELD_OUT, seed=0)[0][1]] = True
        both = (
            Contrast(
                name=prompts.name,
                positive_label=prompts.labels[1],
                negative_label=prompts.labels[0],
                rows=rows[part],
                y=y[part],
                groups=groups[part],
                pairs=[pair_of.get(int(row)) for row in rows[part]],
            )
            for part in (~held_out, held_out)
        )
        return cls(*both)


def fit_concepts(
    model: "LoadedModel",
    sets: Mapping[str, PromptSet],
    layers: Sequence[int],
    session: Session,
) -> list[Direction]:
    """Return the direction of every concept at every layer; all texts are run once."""
    texts = list(dict.fromkeys(text for prompts in sets.values() for text in prompts.texts))
    residuals = _residuals(model, texts, layers, session)
    index = {text: i for i, text in enumerate(texts)}
    found = []
    for name, prompts in session.track(sets.items(), "Fitting", len(sets)):
        divided = ConceptTexts.of(prompts)
        own = [index[prompts.texts[row]] for row in divided.fitted.rows]
        for layer in layers:
            inside = {place: residuals[layer, place][own] for place in (POSITION, OTHER)}
            direction = _direction(name, divided, layer, inside)
            found.append(replace(direction, model=model.identity))
    return found


def _residuals(
    model: "LoadedModel", texts: Sequence[str], layers: Sequence[int], session: Session
) -> Residuals:
    from circuit.model.forward.capture import capture, plan
    from circuit.model.prompts.positions import parse_positions

    sites = [Site(SITE, layer) for layer in layers]
    positions = parse_positions([f"{POSITION},{OTHER}"])
    planned = plan(model, encode(model, texts, RAW), sites=sites, positions=positions)
    residuals: Residuals = {
        (layer, position.name): np.empty((len(texts), model.d_model), np.float32)
        for layer in layers
        for position in positions
    }
    captured = capture(model, planned)
    for batch in session.track(captured, "Collecting", len(planned.batches)):
        for (site, position), values in batch.values.items():
            assert site.layer is not None
            residuals[site.layer, position][batch.rows] = values
    return residuals


def _direction(
    name: str, texts: ConceptTexts, layer: int, inside: Mapping[str, Array]
) -> Direction:
    contrast, rows = texts.fitted, inside[POSITION]
    fit = fit_direction(SETTINGS.method, rows[contrast.y == 1], rows[contrast.y == 0])
    return Direction(
        name=name,
        site=SITE,
        layer=layer,
        vector=fit.vector,
        norm=fit.norm,
        method=SETTINGS.method,
        positive_label=contrast.positive_label,
        negative_label=contrast.negative_label,
        quality=_quality(contrast, inside),
        format=RAW.name,
        extra={"along": fit.along, "position": POSITION, "n_held_out": len(texts.held_out.rows)},
    )


def _quality(contrast: Contrast, inside: Mapping[str, Array]) -> dict[str, object]:
    if _fewest_groups(contrast.y, contrast.groups) < LEAST:
        return {}
    quality = quality_of(contrast, inside[POSITION], SETTINGS)
    rows = design(contrast.y, contrast.groups, contrast.pairs)
    other = cross_fitted_quality(SETTINGS.method, inside[OTHER], rows, n_boot=2, n_shuffles=2)
    return {**quality.as_dict(), "auroc_last": round(other.auroc.value, 6)}


def _fewest_groups(y: Array, groups: Array) -> int:
    return min((len(np.unique(groups[y == label])) for label in (0, 1)), default=0)
