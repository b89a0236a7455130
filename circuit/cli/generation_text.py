"""What ``circuit introspect generate`` prints: the answers to each prompt, and when the answer begins."""

from typing import Any

from circuit.cli import console
from circuit.cli.figures_text import claim

Record = dict[str, Any]


def generation_text(results: Record, *, show_tokens: bool) -> str:
    """Lay out every answer, then the ways of asking side by side."""
    ways = {each["way"] for each in results["answers"]}
    lines = [f"Model: {results['model']}"]
    if len(ways) == 2 and not results["has_template"]:
        lines.append("  It has no chat template: raw text only.")
    for each in results["answers"]:
        lines += ["", *_answer(each, show_tokens)]
    if results["ways"]:
        lines += ["", "=== Onset of the answer ===", _table(results["ways"])]
        lines += claim(results["n_groups"])
    return "\n".join(lines)


def _answer(found: Record, show_tokens: bool) -> list[str]:
    same = found["same_tokens_as"]
    lines = [
        f"Prompt: {found['prompt']!r} ({found['way']}, {found['n_prompt_tokens']} tokens)"
        + (f", the same tokens as {same}" if same else ""),
        f"  Output: {found['text']!r}",
    ]
    if show_tokens:
        lines.append(f"  Tokens ({len(found['tokens'])}): {found['tokens']}")
    if found["at_once"] is not None:
        lines.append(f"  Onset: {_onset(found)}")
    return lines


def _onset(found: Record) -> str:
    wanted = "" if found["expected"] is None else f"{found['expected']!r} "
    if found["onset"] is None:
        return f"{wanted}does not come"
    token = repr(found["tokens"][found["onset"]])
    when = "at once" if found["at_once"] else "later"
    return f"{wanted}begins at token {found['onset']} ({token}), {when}"


def _table(ways: list[Record]) -> str:
    header = ["asked", "n", "has the answer", "at once", "median onset"]
    return console.table(header, [_row(way) for way in ways])


def _row(way: Record) -> list[str]:
    middle = way["median_onset"]
    return [
        way["name"],
        str(way["n"]),
        _share(way["found"], way["n"], way["found_interval"]),
        _share(way["at_once"], way["n"], way["at_once_interval"]),
        "-" if middle is None else f"{middle:g}",
    ]


def _share(count: int, n: int, interval: list[float]) -> str:
    return f"{count / n:.2f} [{interval[0]:.2f}, {interval[1]:.2f}]"
