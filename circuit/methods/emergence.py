"""Where along the layers a label becomes readable.

*Emergence layer*: the first layer whose lower bound is above the baseline's upper bound and stays above it in the next two
layers. *Threshold crossing*: the first layer whose score reaches a bar, whatever its
uncertainty; it belongs in a plot, not in a claim. Layers that were not measured are not known to be below.
"""

from collections.abc import Sequence

from circuit.errors import UsageError

STAY = 2


def emergence_layer(
    layers: Sequence[int], low: Sequence[float], baseline_high: Sequence[float], *, stay: int = STAY
) -> int | None:
    """Return the first layer that is above its baseline and stays there, or None.

    The next ``stay`` measured layers must hold too, or as many as there are before the last one.
    """
    above = [bound > base for bound, base in zip(low, baseline_high, strict=True)]
    return next((layer for i, layer in enumerate(layers) if all(above[i : i + 1 + stay])), None)


def check_threshold(threshold: float) -> None:
    """Raise ``UsageError`` unless ``threshold`` is an AUROC that says something."""
    if not 0.5 < threshold <= 1:
        message = f"the threshold {threshold} is not an AUROC above chance"
        raise UsageError(message, hint="choose one above 0.5, at most 1")


def threshold_crossing(
    layers: Sequence[int], values: Sequence[float], threshold: float
) -> int | None:
    """Return the first layer whose value reaches ``threshold``, or None."""
    return next((layer for layer, v in zip(layers, values, strict=True) if v >= threshold), None)
