"""How numbers are written: estimates with their intervals, p-values, layers, counts, sizes.

Nothing else formats a number for people. A number that does not exist is a dash, and a small
negative number is 0.00, not -0.00.
"""

import math
import re
from collections.abc import Sequence

from circuit.present.document import Cell, Estimate, Finding, Notice, Number, Share
from circuit.values.power import Power
from circuit.values.thresholds import MIN_GROUPS

# What each verdict of ``methods.probes.verdict`` is worth: 0 nothing shown, 1 readable, 2 readable
# beyond every baseline.
STRENGTH = {"selective": 2, "decodable": 1, "tokens": 1, "surface": 1, "unresolved": 1}
NOTHING = "-"
_FLOAT = re.compile(r"([+ -]?)((?:\.\d+)?[eEfFgG%])$|([+ -]?)(\.\d+)$")


def written(cell: Cell) -> str:
    """Write one cell of a table; what does not exist is a dash."""
    match cell:
        case None | Number(value=None) | Estimate(value=None):
            return NOTHING
        case Estimate():
            return _estimate(cell)
        case Number() | Share():
            return formatted(cell.value, cell.form)
        case _:
            return str(cell)


def formatted(value: float | None, form: str = ".2f") -> str:
    """Write a number by a format specification; zero has no sign, what is not known is a dash."""
    if value is None or math.isnan(value):
        return NOTHING
    return f"{value:{_unsigned_zero(form)}}"


def _unsigned_zero(form: str) -> str:
    match = _FLOAT.fullmatch(form)
    if match is None:  # a width or an alignment, which has its own reason
        return form
    sign, rest, sign_alone, digits = match.groups()
    return f"{sign or sign_alone or ''}z{rest or digits}"


def _estimate(found: Estimate) -> str:
    star = "*" if found.marked else ""
    value = formatted(found.value, found.form)
    ends = (found.low, found.high)
    if any(end is None or not math.isfinite(end) for end in ends):  # nothing bounds it
        return f"{value}{star}"
    low, high = formatted(found.low, found.form), formatted(found.high, found.form)
    return f"{value} [{low}, {high}]{star}"


def interval(estimate: Sequence[float | None] | None, form: str = ".2f") -> str:
    """0.93 [0.88, 0.97]."""
    return written(Estimate.of(estimate, form))


def p_text(p: float | None) -> str:
    """Three digits, or a dash where there is none."""
    return formatted(p, ".3f")


def layer_text(layer: int | None) -> str:
    """L3, or never."""
    return "never" if layer is None else f"L{layer}"


def layers_text(interval: Sequence[int | None]) -> str:
    """L2 to never: the ends of an interval of layers."""
    low, high = map(layer_text, interval)
    return low if low == high else f"{low} to {high}"


def baselines_text(finding: Finding) -> str:
    """List the baselines of a finding with their scores, or nothing."""
    texts = [
        f"{name} not run" if value is None else f"{name} {formatted(value)}"
        for name, value in finding.baselines.items()
    ]
    return f" Baselines: {', '.join(texts)}." if texts else ""


def best_baseline(finding: Finding) -> str:
    """Name the baseline that scores best, with its score, or nothing."""
    known = {name: value for name, value in finding.baselines.items() if value is not None}
    best = max(known, key=lambda name: known[name], default=None)
    return "" if best is None else f"{best} {formatted(known[best])}"


def listed(names: Sequence[str]) -> str:
    """Join names as in a sentence: a, b and c."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def counted(n: int, noun: str = "prompt") -> str:
    """1 probe, 2 probes."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def in_groups(n: int, n_groups: int | None) -> str:
    """Say how many rows there are, and in how many groups."""
    return f"n = {n}" if n_groups is None else f"n = {n} in {counted(n_groups, 'group')}"


def byte_size(n: float) -> str:
    """512 bytes, 1.2 MB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:.0f} {unit}" if unit == "bytes" else f"{n:.1f} {unit}"
        n /= 1000
    return f"{n:.1f} TB"


def few_groups(n_groups: int, noun: str = "prompt") -> list[Notice]:
    """Return the notice that few groups are an example, and none for enough groups."""
    if n_groups >= MIN_GROUPS:
        return []
    groups = counted(n_groups, f"independent {noun}")
    return [Notice(f"{groups}: an example, not a finding (under {MIN_GROUPS} nothing is claimed).")]


def power_sentences(power: Power | None) -> list[str]:
    """Say which AUROC this design would have found, and what another would need."""
    if power is None:
        return []
    if power.detectable is None:
        found = "This design would find no AUROC in 80 % of cases"
    else:
        found = f"This design would find an AUROC of {power.detectable:.2f} in 80 % of cases"
    return [f"{found}; one of {power.target:g} needs about {power.groups:,} such groups."]


def emergence_sentence(layer: int | None, interval_90: Sequence[int | None], never: float) -> str:
    """Say where something emerges and how sure that is; ``never`` is a share of the resamples."""
    if layer is None:
        return "It emerges at no layer above all baselines."
    low, high = map(layer_text, interval_90)
    some = f"; in {100 * never:.0f} % of them nothing emerges" if never else ""
    return f"It emerges at L{layer} (90 % of resamples: {low} to {high}{some})."
