"""Directions of concepts: the difference of the mean residuals of texts that have a concept and of neutral ones.

The residual of a text is the mean over its tokens but the first. (At the last token these texts are told apart worse: the score
there is kept beside, as ``auroc_last``.) Minimal pairs (category ``minimal``), which differ in a word and go on about something
else, have no part in it: they ask what is carried along, and vectors that were fitted to them hardly moved a model. A quarter of a concept's groups of texts has no part in its direction: on these, ``concepts
scan`` measures what steering does. The quality is cross-fitted on the others, as in ``circuit directions``. Under ``ENOUGH`` groups
nothing is held out, and under ``LEAST`` nothing is said about quality: one pair is no sample.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from circuit.artifacts.prompts.prompts import PromptSet
from circuit.artifacts.steering_files.files import Direction
from circuit.methods.arrays import Array
from circuit.methods.directions import fit_direction
from circuit.methods.quality.crossfit import cross_fitted_quality
from circuit.methods.quality.design import design
from circuit.methods.uncertainty.splits import grouped_folds, merge_identical
from circuit.stages.rows.prompting import encode
from circuit.stages.run import Track
from circuit.values.prompt_format import RAW
from circuit.values.sites import Site

METHOD, POSITION, OTHER = "mean_diff", "mean", "last"
MINIMAL = "minimal"
HELD_OUT = 4  # one group in so many is held out
ENOUGH, LEAST = 16, 8
N_BOOT = 1000

Rows = dict[tuple[int, str], Array]


@dataclass(frozen=True)
class Texts:
    """A concept's labelled texts: rows of the prompt set, classes, groups, pairs, and which rows are held out."""

    rows: Array
    y: Array
    groups: Array
    pairs: list[int | None]
    held_out: Array  # (n,) bool

    @classmethod
    def of(cls, prompts: PromptSet) -> "Texts":
        """Divide a prompt set of two labels; equal texts share a group."""
        rows, y = prompts.y()
        whole = np.array([prompts.prompts[row].category != MINIMAL for row in rows])
        rows, y = rows[whole], y[whole]
        groups, _ = merge_identical(prompts.groups()[rows], [prompts.texts[row] for row in rows])
        number = {int(row): k for k, pair in enumerate(prompts.pairs()) for row in pair}
        held_out = np.zeros(len(rows), bool)
        if _fewest_groups(y, groups) >= ENOUGH:
            held_out[grouped_folds(y, groups, folds=HELD_OUT, seed=0)[0][1]] = True
        return cls(rows, y, groups, [number.get(int(row)) for row in rows], held_out)


def held_out_texts(prompts: PromptSet) -> tuple[list[str], Array, Array]:
    """Return the texts that have no part in a concept's direction, their classes, and their groups."""
    texts = Texts.of(prompts)
    kept = np.flatnonzero(texts.held_out)
    return (
        [prompts.texts[row] for row in texts.rows[kept]],
        texts.y[kept],
        texts.groups[kept],
    )


def fit_concepts(
    model: Any, sets: Mapping[str, PromptSet], layers: Sequence[int], track: Track
) -> list[Direction]:
    """Return the direction of every concept at every layer; all texts are run once."""
    texts = list(dict.fromkeys(text for prompts in sets.values() for text in prompts.texts))
    rows = _residuals(model, texts, layers, track)
    at = {text: i for i, text in enumerate(texts)}
    found = []
    for name, prompts in track(sets.items(), "Fitting", len(sets)):
        own = np.array([at[text] for text in prompts.texts])
        divided = Texts.of(prompts)
        found += [
            _direction(model, name, prompts, divided, layer, rows, own[divided.rows])
            for layer in layers
        ]
    return found


def _residuals(model: Any, texts: Sequence[str], layers: Sequence[int], track: Track) -> Rows:
    from circuit.model.forward.capture import capture, plan
    from circuit.model.prompts.positions import parse_positions

    sites = [Site("resid_post", layer) for layer in layers]
    positions = parse_positions([f"{POSITION},{OTHER}"])
    planned = plan(model, encode(model, texts, RAW), sites=sites, positions=positions)
    rows: Rows = {
        (layer, position.name): np.empty((len(texts), model.d_model), np.float32)
        for layer in layers
        for position in positions
    }
    for batch in track(capture(model, planned), "Collecting", len(planned.batches)):
        for (site, position), values in batch.values.items():
            assert site.layer is not None
            rows[site.layer, position][batch.rows] = values
    return rows


def _direction(
    model: Any,
    name: str,
    prompts: PromptSet,
    texts: Texts,
    layer: int,
    rows: Rows,
    own: Array,
) -> Direction:
    fitted = np.flatnonzero(~texts.held_out)
    y, inside = texts.y[fitted], {p: rows[layer, p][own[fitted]] for p in (POSITION, OTHER)}
    here = inside[POSITION]
    fit = fit_direction(METHOD, here[y == 1], here[y == 0])
    return Direction(
        name=name,
        site="resid_post",
        layer=layer,
        vector=fit.vector,
        norm=fit.norm,
        method=METHOD,
        positive_label=prompts.labels[1],
        negative_label=prompts.labels[0],
        quality=_quality(inside, texts, fitted),
        model=model.identity,
        format=RAW.name,
        extra={
            "along": fit.along,
            "position": POSITION,
            "n_held_out": int(texts.held_out.sum()),
        },
    )


def _quality(inside: Mapping[str, Array], texts: Texts, fitted: Array) -> dict[str, Any]:
    y, groups = texts.y[fitted], texts.groups[fitted]
    if _fewest_groups(y, groups) < LEAST:
        return {}
    rows = design(y, groups, [texts.pairs[row] for row in fitted])
    quality = cross_fitted_quality(METHOD, inside[POSITION], rows, n_boot=N_BOOT)
    other = cross_fitted_quality(METHOD, inside[OTHER], rows, n_boot=2, n_shuffles=2)
    return {**quality.as_dict(), "auroc_last": round(other.auroc.value, 6)}


def _fewest_groups(y: Array, groups: Array) -> int:
    return min((len(np.unique(groups[y == label])) for label in (0, 1)), default=0)
