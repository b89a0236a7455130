"""How numbers are written: estimates with their intervals, p-values, layers, counts, sizes. Nothing else formats a number for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from circuit.present.document import Cell, Estimate, Number

Record = dict[str, Any]
# What each verdict of ``methods.probes.verdict`` is worth: 0 nothing shown, 1 readable, 2 readable beyond every baseline.
STRENGTH = {"selective": 2, "decodable": 1, "tokens": 1, "surface": 1, "unresolved": 1}
ENOUGH = 10  # groups, under which nothing is claimed


def written(cell: Cell) -> str:
    """Write one cell of a table; what does not exist is a dash."""
    match cell:
        case None:
            return "-"
        case Estimate():
            return _estimate(cell)
        case Number(value=None):
            return "-"
        case Number():
            return f"{cell.value:{cell.form}}"
        case _:
            return str(cell)


def _estimate(found: Estimate) -> str:
    if found.value is None:
        return "-"
    # With z a small negative number is 0.00 and not -0.00.
    form = f"z{found.form}" if found.form[:1] == "." else found.form
    star = "*" if found.marked else ""
    if found.low is None or found.high is None:
        return f"{found.value:{form}}{star}"
    return f"{found.value:{form}} [{found.low:{form}}, {found.high:{form}}]{star}"


def interval(estimate: Sequence[float | None], form: str = ".2f") -> str:
    """0.93 [0.88, 0.97]."""
    return _estimate(Estimate.of(estimate, form))


def size(entry: Mapping[str, Any]) -> str:
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


def counted(n: int, noun: str = "prompt") -> str:
    """1 probe, 2 probes."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def byte_size(n: float) -> str:
    """512 bytes, 1.2 MB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:.0f} {unit}" if unit == "bytes" else f"{n:.1f} {unit}"
        n /= 1000
    return f"{n:.1f} TB"


def example_only(n_groups: int, noun: str = "prompt") -> str | None:
    """Return the sentence that says that few groups are an example, or None where there are enough."""
    if n_groups >= ENOUGH:
        return None
    groups = counted(n_groups, f"independent {noun}")
    return f"{groups}: an example, not a finding (under {ENOUGH} nothing is claimed)."


def emergence_text(layer: int | None, found: Mapping[str, Any]) -> str:
    """Say where something emerges and how sure that is."""
    low, high = (layer_text(end) for end in found["interval_90"])
    never = f"; in {found['never']:.0%} of them nothing emerges" if found["never"] else ""
    if layer is None:
        return "It emerges at no layer above all baselines."
    return f"It emerges at L{layer} (90 % of resamples: {low} to {high}{never})."
