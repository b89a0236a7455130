"""How a report says a number: estimate, interval, size, and a p that is never called zero."""

from collections.abc import Sequence
from typing import Any

Record = dict[str, Any]
# What each verdict of ``methods.verdict`` is worth: 0 nothing shown, 1 readable, 2 readable beyond every baseline.
STRENGTH = {"selective": 2, "decodable": 1, "tokens": 1, "surface": 1, "unresolved": 1}


def interval(estimate: Sequence[float]) -> str:
    """0.93 [0.88, 0.97]."""
    value, low, high = estimate
    return f"{value:z.2f} [{low:z.2f}, {high:z.2f}]"  # z: never -0.00


def size(entry: Record) -> str:
    """How many rows, and in how many groups."""
    return f"n = {entry['n']} in {entry['n_groups']} groups"


def p_text(p: float | None) -> str:
    """Three digits, or a dash where there is none."""
    return "–" if p is None else f"{p:.3f}"


def layer_text(layer: int | None) -> str:
    """L3, or never."""
    return "never" if layer is None else f"L{layer}"


def listed(names: Sequence[str]) -> str:
    """Join names as in a sentence: a, b and c."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def counted(n: int, what: str) -> str:
    """1 probe, 2 probes."""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def emergence_text(layer: int | None, found: Record) -> str:
    """Say where something emerges and how sure that is."""
    low, high = (layer_text(end) for end in found["interval_90"])
    never = f"; in {found['never']:.0%} of them nothing emerges" if found["never"] else ""
    if layer is None:
        return "It emerges at no layer above all baselines."
    return f"It emerges at L{layer} (90 % of resamples: {low} to {high}{never})."
