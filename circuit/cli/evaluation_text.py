"""What ``circuit evaluate`` prints: vectors side by side, and the first answer to each question."""

from typing import Any

from circuit.cli import console
from circuit.values.thresholds import MIN_GROUPS

SMALL = 0.02


def evaluation_text(results: dict[str, Any]) -> str:
    """Lay out the table of vectors, what it says, and one answer of each to each question."""
    return "\n".join([*_table(results), *_remarks(results), "", *_answers(results)]).rstrip()


def _table(results: dict[str, Any]) -> list[str]:
    vectors = {each["name"]: each for each in results["vectors"]}
    header = ["vector", "layer", "c", "of norm", "n"]
    for criterion in results["criteria"]:
        header += [criterion, "difference", *(["random"] if _has_controls(results) else [])]
    header += ["NLL", "difference", "KL", "distinct-2", "repeated-4", "collapsed"]
    rows = [_row(each, vectors.get(each["vector"]), results) for each in results["overall"]]
    return [console.table(header, rows)]


def _row(each: dict[str, Any], vector: dict[str, Any] | None, results: dict[str, Any]) -> list[str]:
    row = [each["vector"], *_place(vector), str(each["n"])]
    for criterion in results["criteria"]:
        rate = each["rates"][criterion]
        low, high = rate["interval"]
        row += [f"{rate['rate']:.2f} [{low:.2f}, {high:.2f}]"]
        row += ["" if _is_base(each, results) else _interval(rate["difference"], "+.2f")]
        if _has_controls(results):
            row.append(_random(rate))
    difference = "" if _is_base(each, results) else _interval(each["differences"]["nll"], "+.2f")
    row += [_number(each["nll"]), difference, _number(each["kl"])]
    row += [_number(each["distinct_2"]), _number(each["repeated_4"])]
    return [*row, f"{each['collapsed']} of {each['n']}"]


def _place(vector: dict[str, Any] | None) -> list[str]:
    if vector is None:
        return ["", "", ""]
    share = vector["share"]
    return [
        str(vector["layer"]),
        f"{vector['coefficient']:+g}",
        "" if share is None else f"{share:.0%}",
    ]


def _random(rate: dict[str, Any]) -> str:
    if not rate["controls"]:
        return ""
    return f"{min(rate['controls']):.2f} to {max(rate['controls']):.2f}, p {rate['p']:.2f}"


def _remarks(results: dict[str, Any]) -> list[str]:
    lines = [
        "",
        "of norm: what the vector adds, as a share of the median residual at its layer. NLL: nats per token of the answers under",
        "the model as it is. KL: of the steered model from it. Differences: from the unsteered answers, 95 % over questions.",
    ]
    if results["n_groups"] < MIN_GROUPS:
        lines.append(
            f"Only {results['n_groups']} groups of questions: under {MIN_GROUPS} nothing here supports a claim."
        )
    lines += [
        f"`{each['name']}` adds {each['share']:.1%} of the residual's norm, which hardly moves a model"
        + (": `normalize: true` makes c a length" if _is_unit(each) else "")
        for each in results["vectors"]
        if each["share"] is not None and each["share"] < SMALL
    ]
    return lines + [
        f"`{each['vector']}`: {each['collapsed']} of {each['n']} answers fell into repetition"
        for each in results["overall"]
        if each["collapsed"]
    ]


def _is_unit(vector: dict[str, Any]) -> bool:
    return bool(vector["intervention"]["directions"][0]["unit"] == 1)


def _answers(results: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    asked = dict.fromkeys(each["question"] for each in results["answers"])
    for question in asked:
        first = [
            each
            for each in results["answers"]
            if (each["question"], each["sample"], each["control_of"]) == (question, 0, None)
        ]
        lines += [f"{question}: {first[0]['prompt']!r}"]
        for each in first:
            mark = "  (repetition)" if each["collapsed"] else ""
            lines.append(f"  {each['vector']}: {each['answer']!r}{mark}")
        lines.append("")
    return lines


def _is_base(each: dict[str, Any], results: dict[str, Any]) -> bool:
    return each is results["overall"][0]


def _has_controls(results: dict[str, Any]) -> bool:
    return any(each["controls"] for each in results["overall"])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _interval(value: list[float] | None, form: str) -> str:
    if value is None:
        return "one question"
    middle, low, high = value
    return f"{middle:{form}} [{low:{form}}, {high:{form}}]"
