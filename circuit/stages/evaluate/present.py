"""What ``circuit evaluate`` says: a table of vectors, remarks, and first answers."""

from collections.abc import Sequence

from circuit.present.document import (
    Cell,
    Document,
    Estimate,
    Notice,
    Number,
    Part,
    Section,
    Table,
    Text,
)
from circuit.present.numbers import few_groups, formatted, listed, p_text
from circuit.stages.evaluate.results import (
    ComparedRate,
    EvaluationResult,
    VectorEntry,
    VectorSummary,
)
from circuit.stages.steering.generate import shown

SMALL = 0.02  # of the residual's norm
EXPLANATION = (
    "",
    "of norm: what the vector adds, as a share of the median residual at its layer. NLL: nats per",
    "token of the answers under the unsteered model. KL: of the steered model from it.",
    "Differences: from the unsteered answers, 95 % over questions; one question has no interval.",
    "random: range, and p over all vectors and criteria; *: acts, beyond unsteered and random.",
)


def present(result: EvaluationResult) -> Document:
    """Show vectors in rows, what the table says, and the first answer of each to each question."""
    parts: list[Part] = [_table(result), Text(EXPLANATION), *map(Notice, _remarks(result))]
    return Document("", [*parts, *_answers(result)])


def _table(result: EvaluationResult) -> Table:
    entries = {each.name: each for each in result.vectors}
    controlled = any(each.controls for each in result.overall)
    header = ["vector", "layer", "c", "of norm", "n"]
    for criterion in result.criteria:
        header += [criterion, "difference", *(["random"] if controlled else [])]
    header += ["NLL", "difference", "KL", "distinct-2", "repeated-4", "collapsed"]
    rows: list[Sequence[Cell]] = []
    for number, each in enumerate(result.overall):
        cells: list[Cell] = [each.vector, *_place(entries.get(each.vector)), each.n]
        for criterion in result.criteria:
            cells += _rate(each.rates[criterion], unsteered=number == 0, controlled=controlled)
        rows.append([*cells, *_measures(each, unsteered=number == 0)])
    return Table(header=header, rows=rows)


def _place(entry: VectorEntry | None) -> list[Cell]:
    if entry is None:
        return ["", "", ""]
    return [entry.layer, formatted(entry.coefficient, "+g"), Number(entry.share, ".0%")]


def _rate(rate: ComparedRate, *, unsteered: bool, controlled: bool) -> list[Cell]:
    cells: list[Cell] = [
        Estimate(rate.rate, *rate.interval),
        "" if unsteered else Estimate.of(rate.difference, "+.2f"),
    ]
    if not controlled:
        return cells
    if not rate.controls:
        return [*cells, ""]
    low, high = formatted(min(rate.controls)), formatted(max(rate.controls))
    return [*cells, f"{low} to {high}, p {p_text(rate.p_any)}{'*' if rate.acts else ''}"]


def _measures(each: VectorSummary, *, unsteered: bool) -> list[Cell]:
    return [
        Number(each.nll, ".2f"),
        "" if unsteered else Estimate.of(each.differences["nll"], "+.2f"),
        Number(each.kl, ".2f"),
        Number(each.distinct_2, ".2f"),
        Number(each.repeated_4, ".2f"),
        f"{each.collapsed} of {each.n}",
    ]


def _remarks(result: EvaluationResult) -> list[str]:
    lines = [few.text for few in few_groups(result.n_groups, "question")]
    if result.ignored:
        lines.append(f"the questions' keys {listed(result.ignored)} are not used")
    for entry in result.vectors:
        if entry.share is not None and entry.share < SMALL:
            unit = ": `normalize: true` makes c a length" if _is_unit(entry) else ""
            share = formatted(entry.share, ".1%")
            moved = "of the residual's norm, which hardly moves a model"
            lines.append(f"`{entry.name}` adds {share} {moved}{unit}")
    return lines + [
        f"`{each.vector}`: {each.collapsed} of {each.n} answers fell into repetition"
        for each in result.overall
        if each.collapsed
    ]


def _is_unit(entry: VectorEntry) -> bool:
    match entry.intervention:
        case {"directions": [{"unit": 1}, *_]}:
            return True
    return False


def _answers(result: EvaluationResult) -> list[Section]:
    first = [each for each in result.answers if each.sample == 0 and each.control_of is None]
    sections = []
    for question in dict.fromkeys(each.question for each in first):
        own = [each for each in first if each.question == question]
        lines = [f"{each.vector}: {shown(each.answer, each)}" for each in own]
        sections.append(Section(f"{question}: {own[0].prompt!r}", [Text(lines)]))
    return sections
