"""The logit lens as a figure: probabilities and entropy by layer."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from circuit.introspect.lens.logit_lens import AnalysisResult, TokenEvolutionResult
from circuit.plots.curve import Panel, Series, curves
from circuit.present.characters import shortened

if TYPE_CHECKING:
    from circuit.plots.style import Figure


def lens_panels(found: Sequence[AnalysisResult]) -> list[Panel]:
    """Return the probability of the answer, or of the tracked tokens, and the entropy by layer.

    Of several prompts the curve is the median, and the band its quartiles.
    """
    layers = found[0].captured_layers
    tracked = [track_name(evolution) for evolution in found[0].token_evolutions]
    probabilities: Mapping[str, list[list[float]]] = {
        name: [list(each.token_evolutions[i].layer_probabilities.values()) for each in found]
        for i, name in enumerate(tracked)
    }
    if not tracked:
        name = repr(found[0].predicted_token) if len(found) == 1 else "the model's answer"
        probabilities = {name: [list(each.answer_probabilities.values()) for each in found]}
    panels = [Panel("Probability", [_series(n, layers, p) for n, p in probabilities.items()])]
    if found[0].layer_predictions[0].entropy is not None:
        entropies = [
            [p.normalized_entropy or 0.0 for p in each.layer_predictions] for each in found
        ]
        panels.append(Panel("Entropy / log V", [_series("entropy", layers, entropies)]))
    return panels


def lens_figure(found: Sequence[AnalysisResult]) -> "Figure":
    """Draw the probabilities and the entropy by layer."""
    return curves(lens_panels(found))


def track_name(evolution: TokenEvolutionResult) -> str:
    """Name the token that is tracked, and the text that it begins where that is longer."""
    first, *more = evolution.pieces
    return f"{first!r} of {shortened(repr(evolution.token), 14)}" if more else repr(evolution.token)


def _series(name: str, layers: Sequence[int], values: Sequence[Sequence[float]]) -> Series:
    low, middle, high = np.quantile(np.array(values, dtype=float), [0.25, 0.5, 0.75], axis=0)
    return Series(
        name.replace("$", r"\$"), list(layers), middle.tolist(), low.tolist(), high.tolist()
    )
