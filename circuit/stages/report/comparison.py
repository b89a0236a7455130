"""What a report says of ``analyze --compare``: how far the rows moved from one model to another, and what a probe loses by it.

A loss is shown where the paired interval of ``lost_a`` lies below 0. The layer that is named is the one of the largest loss, which
is a choice on the scored rows and is called that.
"""

from collections.abc import Sequence

from circuit.plots.curve import Panel, Series, curves, limits
from circuit.plots.style import png
from circuit.present.numbers import Record, interval, listed, size
from circuit.stages.figures.archive import Picture
from circuit.stages.report.page import Finding, Section, Table

READ = {"a_to_a": "a read by a", "b_to_b": "b read by b", "a_to_b": "b read by a"}


def compared(results: Record) -> Section:
    """Findings, figures and a table of the comparison in ``results``."""
    comparison = results["comparison"]
    names = {"a": str(results["model"]), "b": str(comparison["model"])}
    entries = comparison["layers"]
    read = [entry for entry in entries if entry["probes"]]
    findings = [_drift(entries)] + [
        _reading(name, question, read) for name, question in results["questions"].items() if read
    ]
    return Section(
        f"Compared with {names['b']} (b); {names['a']} is a.",
        findings,
        _pictures(entries),
        [_table(entries)],
    )


def _where(entry: Record) -> str:
    return f"{entry['site']}.{entry['layer']}, {entry['position']}"


def _drift(entries: Sequence[Record]) -> Finding:
    """How far the rows moved: the place that moved most, and the one that moved least."""
    known = [entry for entry in entries if entry["moved"] is not None]
    if not known:
        text = "The widths differ, so rows cannot be compared one by one; CKA is in the table."
        return Finding("what moved", "described", 0, text)
    most = max(known, key=lambda entry: entry["moved"][0])
    least = min(known, key=lambda entry: entry["moved"][0])
    if most["moved"][0] == 0:
        text = f"Every row is the same in both archives.{_equal(known)}"
        return Finding("what moved", "nothing moved", 0, text)
    text = f"Rows moved by {interval(most['moved'])} times their length at {_where(most)} ({_cka(most)})"
    if most is not least:
        text += f", the most, and by {interval(least['moved'])} at {_where(least)} ({_cka(least)}), the least"
    text += f". That is a distance, not a difference in what can be read.{_equal(known)}"
    return Finding("what moved", "described", 1, text)


def _equal(entries: Sequence[Record]) -> str:
    """Name the places where cosine and CKA are not defined."""
    where = [_where(entry) for entry in entries if entry["cosine"] is None]
    return (
        f" At {listed(where)} all rows are equal, so cosine and CKA are not defined."
        if where
        else ""
    )


def _cka(entry: Record) -> str:
    return "CKA not defined" if entry["cka"] is None else f"CKA {entry['cka']:.3f}"


def _reading(name: str, question: Record, entries: Sequence[Record]) -> Finding:
    """Whether a probe of a still reads b, at the place where it loses most."""
    worst = min(entries, key=lambda entry: entry["probes"][name]["lost_a"][0])
    probe = worst["probes"][name]
    lost = [entry for entry in entries if entry["probes"][name]["lost_a"][2] < 0]
    word, strength = ("loss shown", 1) if lost else ("no loss shown", 0)
    text = (
        f"A probe of a reads b with AUROC {interval(probe['a_to_b'])} at {_where(worst)}, b's own probe with {interval(probe['b_to_b'])}: "
        f"difference {interval(probe['lost_a'])}, paired, {size(question)}; of {len(entries)} places the one of the largest loss. "
        f"At {len(lost)} of them the interval of the difference lies below 0, which is not corrected for their number."
    )
    if probe["direction_cosine"] is not None:
        text += f" The directions of the two have cosine {probe['direction_cosine']:z.2f} there."
    return Finding(f"does {name} read across", word, strength, text)


def _pictures(entries: Sequence[Record]) -> list[Picture]:
    places = dict.fromkeys((entry["site"], entry["position"]) for entry in entries)
    drawn = []
    for site, position in places:
        here = [e for e in entries if (e["site"], e["position"]) == (site, position)]
        if len(here) > 1 and all(entry["moved"] is not None for entry in here):
            drawn.append(_picture(here))
    return drawn


def _picture(entries: Sequence[Record]) -> Picture:
    """Movement along the layers, and the probes of one model on the rows of both."""
    first = entries[0]
    layers = [entry["layer"] for entry in entries]
    moved = _series("moved", layers, [entry["moved"] for entry in entries])
    top = max(moved.high) or 1.0
    panels = [Panel("Distance moved / length", [moved], (0.0, top))]
    for name in list(first["probes"] or {}):
        found = [
            _series(title, layers, [entry["probes"][name][key] for entry in entries], chance=0.5)
            for key, title in READ.items()
        ]
        panels.append(Panel(f"Held-out AUROC of {name}", found, limits(found, floor=0.4)))
    caption = (
        f"{first['site']} at the {first['position']} position. a: mean distance that a prompt's row moved from model a to model b, over its "
        "length. Then the held-out AUROC of probes: a's on a, b's on b, and a's on b. Bands: 95 % cluster-bootstrap intervals."
    )
    numbers = {"layers": list(entries)}
    return Picture(f"comparison_{first['site']}", png(curves(panels)), caption, numbers)


def _series(
    name: str, layers: Sequence[int], values: Sequence[Sequence[float]], chance: float | None = None
) -> Series:
    value, low, high = (list(each) for each in zip(*values, strict=True))
    return Series(name, layers, value, low, high, chance=chance)


def _table(entries: Sequence[Record]) -> Table:
    header = ["place", "moved", "cosine", "CKA", "question", *READ.values(), "a read by b", "lost"]
    rows = [row for entry in entries for row in _rows(entry)]
    note = "Lost: a's probe on b less b's own, paired. All AUROCs are held out by group."
    return Table("What moved", header, rows, note)


def _rows(entry: Record) -> list[list[str]]:
    cka = "–" if entry["cka"] is None else f"{entry['cka']:.3f}"
    first = [_where(entry), *(_known(entry[key]) for key in ("moved", "cosine")), cka]
    if not entry["probes"]:
        return [[*first, *["–"] * 6]]
    keys = (*READ, "b_to_a", "lost_a")
    return [
        [*first, name, *(interval(probe[key]) for key in keys)]
        for name, probe in entry["probes"].items()
    ]


def _known(estimate: Sequence[float] | None) -> str:
    return "–" if estimate is None else interval(estimate)
