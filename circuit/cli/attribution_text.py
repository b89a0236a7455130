"""What ``circuit introspect attribute`` prints: terms along the layers, the strongest heads, and that the sum is the logit difference."""

from typing import Any

from circuit.cli import console
from circuit.cli.figures_text import claim, counted

TOP = 12  # heads that are printed


def attribution_text(results: dict[str, Any]) -> str:
    """Lay out an attribution."""
    prompts, terms = results["prompts"], results["terms"]
    lines = [
        f"Direct logit attribution of `{results['model']}`: {counted(len(prompts))}, {results['format']}"
    ]
    lines += [
        f"  {p['prompt']!r}: {p['answer']!r} over {p['wrong']!r} by {p['difference']:+.4f} logits"
        for p in prompts[:4]
    ]
    if len(prompts) > 4:
        lines.append(f"  … and {len(prompts) - 4} more")
    if not results["same_tokens"]:
        lines.append(
            "Each prompt has its own pair of tokens: the means are over unlike differences (--answer, --wrong)."
        )
    if results["soft_cap"] is not None:
        lines.append(
            f"The model caps its logits softly at ±{results['soft_cap']:g}; the terms are those of the logits before the cap."
        )
    rows = [[t["name"], _value(t)] for t in terms]
    total = sum(t["mean"] for t in terms)
    rows.append(["sum", f"{total:+.4f}"])
    lines += ["", console.table(["component", "logits"], rows)]
    if results["heads"]:
        heads = sorted(results["heads"], key=lambda t: -abs(t["mean"]))[:TOP]
        rows = [[t["name"], _value(t)] for t in heads]
        lines += ["", "The largest of the heads:", console.table(["head", "logits"], rows)]
    read = sum(p["read"] for p in prompts) / len(prompts)
    lines += [
        "",
        f"The model's own difference is {read:+.4f}; the largest error of a sum is {results['error']:.1e} of it.",
    ]
    lines.append(
        "Only what is written directly is counted: circuit introspect patch sees the rest."
    )
    return "\n".join([*lines, *claim(results["n_groups"])])


def _value(term: dict[str, Any]) -> str:
    if term["interval"] is None:
        return f"{term['mean']:+.4f}"
    low, high = term["interval"]
    return f"{term['mean']:+.4f} [{low:+.4f}, {high:+.4f}]"
