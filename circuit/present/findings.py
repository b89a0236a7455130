"""Findings as one compact table: question, verdict, score as a bar, baselines, size and layer.

A bar spans the scale of the score: a thick line is the interval, a dot the score, a black tick
chance, and short orange ticks the baselines. The sentence of a row is shown when its first cell is
opened (``present.style``), without a script.
"""

from collections.abc import Sequence
from dataclasses import replace

from circuit.present.document import Finding
from circuit.present.markup import Html, cell_text, element, escaped, joined
from circuit.present.numbers import baselines_text, best_baseline, layer_text

BAR = (150, 16)  # width and height of a bar, in pixels
MARGIN = 4
COLOURS = ("#8c959f", "#56B4E9", "#0072B2")  # by strength
STRENGTHS = ("none", "some", "strong")
INK, BASELINE, AXIS = "#1b1f24", "#D55E00", "#d8dee4"
HEADER = ("question", "verdict", "", "score [95 %]", "best baseline", "n (groups)", "layer")
NUMBERS = frozenset({"score [95 %]", "n (groups)", "layer"})


def findings(groups: Sequence[tuple[str, Sequence[Finding]]]) -> Html:
    """Return findings as one table, in groups (title, findings), the strongest of a group first."""
    head = element("tr", *(_th(name) for name in HEADER))
    rows = [row for title, found in groups if found for row in _group(title, found)]
    body = element("tbody", joined(rows))
    grid = element("table", element("thead", head), body, class_="findings")
    drawn = any(_has_bar(each) for _, found in groups for each in found)
    key = [_key()] if drawn else []
    return joined([element("div", grid, class_="scroll", tabindex="0"), *key])


def _th(name: str) -> Html:
    return element("th", name, scope="col", class_="number" if name in NUMBERS else "text")


def _group(title: str, found: Sequence[Finding]) -> list[Html]:
    scales = dict.fromkeys((each.measure, each.scale) for each in found if _has_bar(each))
    shown = [f"{measure}, bars from {low:g} to {high:g}" for measure, (low, high) in scales]
    about = ": ".join(filter(None, (title, "; ".join(shown))))
    head = element("th", about, colspan=str(len(HEADER)), scope="colgroup")
    rows = [element("tr", head, class_="group")] if about else []
    ordered = sorted(found, key=lambda each: -each.strength)
    return [*rows, *(row for each in ordered for row in _rows(each))]


def _rows(found: Finding) -> list[Html]:
    size = "" if found.n is None else str(found.n)
    size += "" if found.n_groups is None else f" ({found.n_groups})"
    layer = "" if found.layer is None else layer_text(found.layer)
    cells = [
        element("td", element("details", element("summary", found.subject)), class_="wraps"),
        element("td", element("span", found.verdict, class_="word")),
        element("td", bar(found)),
        element("td", _score(found), class_="number"),
        _labelled("best baseline", best_baseline(found), "text"),
        _labelled("n", size, "number"),
        _labelled("layer", layer, "number"),
    ]
    sentence = element("td", f"{found.sentence}{baselines_text(found)}", colspan=str(len(cells)))
    kind = STRENGTHS[found.strength]
    return [
        element("tr", *cells, class_=f"row {kind}"),
        element("tr", sentence, class_="sentence"),
    ]


def _score(found: Finding) -> str:
    """Write the score without a star: the verdict says what it allows."""
    return "" if found.score is None else cell_text(replace(found.score, marked=False))


def _labelled(label: str, text: str, kind: str) -> Html:
    """Make a cell that says what it is where there is no header, on a narrow screen."""
    if not text:
        return element("td", class_=kind)
    return element("td", text, class_=kind, data_label=label)


def _has_bar(found: Finding) -> bool:
    return found.score is not None and found.score.value is not None


def bar(found: Finding) -> Html:
    """Draw a score between the ends of its scale, with its interval, chance and the baselines."""
    score = found.score
    if score is None or score.value is None:
        return Html("")
    low = score.value if score.low is None else score.low
    high = score.value if score.high is None else score.high
    first, last = found.scale
    colour = COLOURS[found.strength]

    def x(value: float) -> float:
        share = (value - first) / (last - first)
        return round(MARGIN + (BAR[0] - 2 * MARGIN) * min(max(share, 0.0), 1.0), 1)

    shapes = [_line(x(first), x(last), AXIS, 1)]
    if found.chance is not None:
        shapes.append(_tick(x(found.chance), INK, BAR[1]))
    known = [value for value in found.baselines.values() if value is not None]
    shapes += [_line(x(low), x(high), colour, 5)]
    shapes += [_tick(x(value), BASELINE, BAR[1] / 2) for value in known]
    shapes.append(_dot(x(score.value), colour))
    return _svg(BAR[0], shapes, cell_text(score))


def _key() -> Html:
    """Explain the bars."""
    interval = [_line(2, 28, COLOURS[2], 5), _dot(15, COLOURS[2])]
    parts: list[str | Html] = [_svg(30, interval, "bar"), "score with its interval"]
    parts += [_svg(6, [_tick(3, INK, BAR[1])], "tick"), "chance"]
    parts += [_svg(6, [_tick(3, BASELINE, BAR[1] / 2)], "short tick"), "baselines"]
    parts.append(". Open a question to read its finding in words.")
    return element("p", *parts, class_="key")


def _svg(width: int, shapes: Sequence[Html], label: str) -> Html:
    inside = joined(shapes).text
    return Html(
        f'<svg width="{width}" height="{BAR[1]}" role="img" aria-label="{escaped(label)}">'
        f"{inside}</svg>"
    )


def _line(start: float, end: float, colour: str, thickness: int) -> Html:
    y = BAR[1] / 2
    return Html(
        f'<line x1="{start}" x2="{end}" y1="{y}" y2="{y}" stroke="{colour}" '
        f'stroke-width="{thickness}"/>'
    )


def _dot(x: float, colour: str) -> Html:
    return Html(
        f'<circle cx="{x}" cy="{BAR[1] / 2}" r="4" fill="{colour}" stroke="#fff" '
        f'stroke-width="1.5"/>'
    )


def _tick(x: float, colour: str, length: float) -> Html:
    top = (BAR[1] - length) / 2
    return Html(
        f'<line x1="{x}" x2="{x}" y1="{top}" y2="{top + length}" stroke="{colour}" '
        f'stroke-width="1.5"/>'
    )
