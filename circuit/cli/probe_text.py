"""What ``circuit introspect probe`` prints: scores by layer with bars, the layer that is taken, test prompts."""

from typing import Any

from circuit.cli import console
from circuit.cli.figures_text import ENOUGH, estimate

Record = dict[str, Any]
BAR = 30  # characters of an AUROC of 1


def probe_text(results: Record) -> str:
    """Lay out a probe."""
    a, b = results["labels"]
    n_a, n_b = results["n"]
    lines = [
        f"Model: {results['model']} ({results['format']})",
        f"Probe: {b} -> {a}, {results['method']}",
        f"  {a}: {n_a} prompts, {b}: {n_b} prompts, {results['n_groups']} groups",
        "",
        "=== Held-out AUROC by layer ===",
        *_scores(results["scores"]),
        "",
        *_layer(results),
        *_claim(results),
    ]
    if results["tests"]:
        lines += ["", "=== Test prompts ===", _tests(results["tests"])]
    lines += ["", *(f"Saved to: {path}" for path in results["saved"])] if results["saved"] else []
    return "\n".join(lines)


def _scores(scores: list[Record]) -> list[str]:
    if not scores:
        return ["  none: a class with prompts of one group only has nothing to hold out"]
    header = ["layer", "", "AUROC", "accuracy", "p", "p_any"]
    rows = [
        [
            str(each["layer"]),
            ("#" * round(BAR * each["auroc"][0])).ljust(BAR),
            estimate(each["auroc"], ".2f"),
            "-" if each["accuracy"] is None else f"{each['accuracy']:.2f}",
            *("-" if each[key] is None else f"{each[key]:.3f}" for key in ("p", "p_any")),
        ]
        for each in scores
    ]
    return [console.table(header, rows)]


def _layer(results: Record) -> list[str]:
    a, b = results["labels"]
    at = results["train_projections"]
    lines = [f"Layer {results['layer']} ({results['how_chosen']})"]
    if results["choosing"] is not None:
        lines.append(f"  Held-out AUROC of choosing it: {estimate(results['choosing'], '.2f')}")
    return [
        *lines,
        f"  Direction: norm {results['norm']:.4g}, mean projections of the fitted prompts {a} {at[a]:.4g}, {b} {at[b]:.4g}",
        f"  Probe: logit = {results['slope']:.4g} * (v . h) {results['bias']:+.4g}",
    ]


def _claim(results: Record) -> list[str]:
    a, b = results["labels"]
    if results["claimed"] is None:
        return [f"{results['n_groups']} groups: nothing is claimed under {ENOUGH}."]
    if results["claimed"]:
        return [f"{a} and {b} can be told apart here (p_any <= 0.05); words alone may do it, too."]
    return [f"Nothing tells {a} and {b} apart better than permuted labels do (p_any > 0.05)."]


def _tests(tests: list[Record]) -> str:
    rows = [
        [
            repr(each["prompt"]) + (" (was fitted to)" if each["seen"] else ""),
            f"{each['projection']:.3f}",
            f"{each['probability']:.3f}",
            each["label"],
        ]
        for each in tests
    ]
    return console.table(["prompt", "v . h", "p", "read as"], rows)
