"""What ``circuit introspect hooks`` prints: captured states, attention, and the lens of each prompt."""

from typing import Any

from circuit.cli import console
from circuit.cli.attention_text import attended_text

Record = dict[str, Any]


def hooks_text(results: Record) -> str:
    """Lay out every prompt."""
    lines = [f"Model: {results['model']}"]
    for each in results["prompts"]:
        lines += ["", *_prompt(each)]
    return "\n".join(lines)


def _prompt(found: Record) -> list[str]:
    lines = [
        f"Prompt: {found['prompt']!r}",
        f"Tokens ({len(found['tokens'])}): {found['tokens']}",
        "",
        "=== Captured states ===",
        console.table(
            ["site", "shape", "dtype", "norm at the last", "mean norm after the first"],
            [_held(each) for each in found["held"]],
        ),
    ]
    if found["attention"] is not None:
        title = "=== Attention of the last token (mean over heads) ==="
        lines += ["", title, attended_text(found["attention"])]
    if found["lens"] is not None:
        lines += ["", "=== Logit Lens ===", *(_lens(each) for each in found["lens"])]
    return lines


def _held(each: Record) -> list[str]:
    mean = each["mean_norm"]
    shape = " x ".join(map(str, each["shape"]))
    last = f"{each['last_norm']:.3f}"
    return [each["site"], shape, each["dtype"], last, "-" if mean is None else f"{mean:.3f}"]


def _lens(each: Record) -> str:
    said = ", ".join(f"{p['token']!r} ({p['probability']:.4f})" for p in each["predictions"])
    return f"  Layer {each['layer']:2d}: {said}"
