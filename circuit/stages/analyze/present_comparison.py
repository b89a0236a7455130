"""``analyze --compare`` as parts of a document: how far rows moved, and what a probe loses by it.

A loss is shown where the paired interval of ``lost_a`` lies below 0. The layer that is named is the
one of the largest loss, which is a choice on the scored rows and is called that.
"""

from collections.abc import Sequence

from circuit.present.document import Cell, Estimate, Facts, Finding, Number, Part, Table
from circuit.present.numbers import interval, listed
from circuit.stages.analyze.figures import ACROSS, comparison_figures
from circuit.stages.analyze.results import AnalysisResult, ComparedLayer, Labelling, ProbesAcross


def present_comparison(result: AnalysisResult) -> list[Part]:
    """Return findings, figures and a table of the comparison; nothing where there is none."""
    if result.comparison is None:
        return []
    entries = result.comparison.layers
    findings = [_movement(entries)]
    if any(entry.probes for entry in entries):
        findings += [_reading(name, each, entries) for name, each in result.questions.items()]
    compared = f"{result.comparison.model} (b); {result.model} is a"
    return [
        Facts([("Compared with", compared)]),
        *findings,
        *comparison_figures(entries),
        _table(entries),
    ]


def _movement(entries: Sequence[ComparedLayer]) -> Finding:
    """Say how far rows moved, at the place that moved most and at the one that moved least."""
    known = [(entry.moved, entry) for entry in entries if entry.moved is not None]
    verdict, strength, score = "described", 0, None
    if not known:
        text = "The widths differ, so rows cannot be compared one by one; CKA is in the table."
    else:
        most, where = max(known, key=lambda each: each[0][0])
        least, other = min(known, key=lambda each: each[0][0])
        score = Estimate.of(most)
        if most[0] == 0:
            verdict, text = "nothing moved", "Every row is the same in both archives."
        else:
            strength = 1
            text = f"Rows moved by {interval(most)} times their length at {_at(where)}"
            if where is not other:
                text += f", the most, and by {interval(least)} at {_at(other)}, the least"
            text += ". That is a distance, not a difference in what can be read."
        text += _equal_rows([entry for _, entry in known])
    return Finding(
        subject="what moved", verdict=verdict, strength=strength, sentence=text, score=score
    )


def _at(entry: ComparedLayer) -> str:
    cka = "CKA not defined" if entry.cka is None else f"CKA {entry.cka:.3f}"
    return f"{entry.where} ({cka})"


def _equal_rows(entries: Sequence[ComparedLayer]) -> str:
    """Name the places where cosine and CKA are not defined."""
    where = [entry.where for entry in entries if entry.cosine is None]
    equal = f" At {listed(where)} all rows are equal, so cosine and CKA are not defined."
    return equal if where else ""


def _reading(name: str, labelling: Labelling, entries: Sequence[ComparedLayer]) -> Finding:
    """Say whether a probe of a still reads b, at the place where it loses most."""
    read = [(entry.probes[name], entry) for entry in entries if entry.probes]
    probe, worst = min(read, key=lambda each: each[0].lost_a[0])
    lost = sum(each.lost_a[2] < 0 for each, _ in read)
    text = (
        f"A probe of a reads b with AUROC {interval(probe.a_to_b)} at {worst.where}, b's own probe "
        f"with {interval(probe.b_to_b)}: difference {interval(probe.lost_a)}, paired, "
        f"{labelling.size}; of {len(read)} places the one of the largest loss. At {lost} of them "
        "the interval of the difference lies below 0, which is not corrected for their number."
    )
    if probe.direction_cosine is not None:
        text += f" The directions of the two have cosine {probe.direction_cosine:z.2f} there."
    return Finding(
        subject=f"does {name} read across",
        verdict="loss shown" if lost else "no loss shown",
        strength=int(lost > 0),
        sentence=text,
        score=Estimate.of(probe.a_to_b),
        baselines={"b read by b": probe.b_to_b[0]},
        n=labelling.n,
        n_groups=labelling.n_groups,
        layer=worst.layer,
        chance=0.5,
    )


def _table(entries: Sequence[ComparedLayer]) -> Table:
    return Table(
        title="What moved",
        header=[
            *["place", "moved", "cosine", "CKA", "labelling"],
            *[*ACROSS.values(), "a read by b", "lost"],
        ],
        rows=[row for entry in entries for row in _rows(entry)],
        note="Lost: a's probe on b less b's own, paired. All AUROCs are held out by group.",
    )


def _rows(entry: ComparedLayer) -> list[list[Cell]]:
    first: list[Cell] = [
        entry.where,
        Estimate.of(entry.moved),
        Estimate.of(entry.cosine),
        Number(entry.cka),
    ]
    if not entry.probes:
        return [[*first, *[None] * 6]]
    return [[*first, name, *_scores(probe)] for name, probe in entry.probes.items()]


def _scores(probe: ProbesAcross) -> list[Cell]:
    found = [getattr(probe, key) for key in (*ACROSS, "b_to_a", "lost_a")]
    return [Estimate.of(each) for each in found]
