"""What ``circuit introspect ablate`` prints: a sweep as a table, or prompts of growing difficulty side by side."""

from typing import Any

from circuit.cli import console
from circuit.cli.figures_text import counted

WIDE = 6  # prompts that stand side by side; more are counted


def study_text(study: dict[str, Any], *, verbose: bool) -> str:
    """Lay out a study."""
    n = len(study["prompts"])
    kept = n - study["n_excluded"]
    lines = [
        f"{_method(study)}: {counted(n)}, {study['format']}",
        f"Baseline: {kept} of {n} pass{_left_out(study['n_excluded'])}",
        "",
        _table(study),
    ]
    if n <= WIDE:
        lines += ["", "What the answers are:", "", _answers(study)]
    elif verbose:
        lines += ["", *_listed(study)]
    lines += ["", *_summary(study, kept)]
    return "\n".join(lines)


def _method(study: dict[str, Any]) -> str:
    if study["method"] == "zero":
        return "Ablation to zero"
    return f"Ablation by {study['method']} of {study['reference']}"


def _left_out(n: int) -> str:
    return f"; {counted(n)} that the model fails {'is' if n == 1 else 'are'} left out" if n else ""


def _table(study: dict[str, Any]) -> str:
    rows = [[trial["name"], _rate(trial), _effect(trial)] for trial in study["trials"]]
    return console.table(["ablated", "still pass", "Δ log p of the answer, nats a token"], rows)


def _rate(trial: dict[str, Any]) -> str:
    if trial["rate"] is None:
        return "no prompt passed"
    low, high = trial["interval"]
    return f"{trial['rate']:.2f} [{low:.2f}, {high:.2f}]"


def _effect(trial: dict[str, Any]) -> str:
    if trial["effect"] is None:
        known = [delta for delta in trial["delta"] if delta is not None]
        return ", ".join(f"{delta:+.3f}" for delta in known) or "–"
    value, low, high = trial["effect"]
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"


def _answers(study: dict[str, Any]) -> str:
    """Prompts side by side: whether each passes, and what was written."""
    header = ["ablated", *(f"{p!r}" for p in study["prompts"])]
    marks = [_mark(passed) for passed in study["baseline_passes"]]
    rows = [["none", *_cells(marks, study["baseline"])]]
    rows += [
        [trial["name"], *_cells(map(_mark, trial["passes"]), trial["outputs"])]
        for trial in study["trials"]
    ]
    return console.table(header, rows)


def _mark(passed: bool | None) -> str:
    return {True: "✓", False: "✗", None: "–"}[passed]


def _cells(marks: Any, outputs: list[str]) -> list[str]:
    return [f"{mark} {_short(text)}" for mark, text in zip(marks, outputs, strict=True)]


def _short(text: str, width: int = 24) -> str:
    shown = repr(text)
    return shown if len(shown) <= width else f"{shown[: width - 1]}…"


def _listed(study: dict[str, Any]) -> list[str]:
    lines = []
    for i, prompt in enumerate(study["prompts"]):
        lines += [f"{prompt!r}: {study['baseline'][i]!r}"]
        lines += [f"  without {t['name']}: {t['outputs'][i]!r}" for t in study["trials"]]
    return lines


def _summary(study: dict[str, Any], kept: int) -> list[str]:
    """Say which ablations break the behaviour, and how much that is worth."""
    if not kept:
        return ["The model fails every prompt as it is, so nothing can be said of its parts."]
    broken = [t["name"] for t in study["trials"] if t["rate"] == 0]
    some = [t["name"] for t in study["trials"] if t["rate"] is not None and 0 < t["rate"] < 1]
    lines = [
        f"Breaks every prompt: {', '.join(broken) or 'none'}",
        f"Breaks some: {', '.join(some) or 'none'}",
    ]
    if kept < 10:
        lines.append(
            f"With {counted(kept)} an interval is wide: this is an example, not a finding."
        )
    return lines
