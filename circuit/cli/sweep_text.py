"""What ``circuit steer sweep`` prints: the response at every dose beside its controls and its cost, and the verdict."""

from typing import Any

from circuit.cli import console

Record = dict[str, Any]


def sweep_text(results: Record) -> str:
    """Lay out a sweep."""
    named = ", ".join(f"{d['name']} at layer {d['layer']}" for d in results["directions"])
    head = [
        f"Steering {named}: {results['n_test']} test prompts in {results['n_groups']} groups",
        f"Read-out: {_readout(results['readout'])}",
        f"Dose 1 is c = {results['c_star']:.4f} ({results['dose_unit']})",
        "",
    ]
    parts = [*head, _doses(results), "", *_facts(results), "", *_controls(results), ""]
    verdict = results["verdict"]
    parts += [f"Verdict: {verdict['word']}. {verdict['text']}"]
    parts += [f"Note: {text}." for text in results["warnings"]]
    return "\n".join(parts)


def _readout(readout: Record) -> str:
    after = f" after {readout['prefill']!r}" if readout["prefill"] else ""
    if readout["kind"] == "criterion":
        return f"share of texts that meet `{readout['criterion']}`{after}"
    against = "|".join(readout["negative"]) or "everything else"
    return f"log p({'|'.join(readout['positive'])}) - log p({against}){after}"


def _doses(results: Record) -> str:
    doses = results["doses"]
    rows = [["m"] + [f"{value:.2f}" for value, _, _ in results["curve"]]]
    rows.append(
        ["  95% interval"] + [f"{low:.2f}..{high:.2f}" for _, low, high in results["curve"]]
    )
    for kind in ("random", "shuffled"):
        if results[kind]["n"]:
            columns = list(zip(*results[kind]["curves"], strict=True))
            rows.append([f"  {kind}"] + [f"{min(c):.2f}..{max(c):.2f}" for c in columns])
    for name, label in (
        ("pmass_mean", "p of the answers"),
        ("kl_p95", "KL p95"),
        ("top1", "top-1 agreement"),
        ("nll_delta", "NLL - NLL at 0"),
        ("repeated_4", "repeated 4-grams"),
        ("collapsed", "collapsed texts"),
    ):
        if results[name] is not None:
            rows.append([label] + [_number(value) for value in results[name]])
    return console.table(["dose", *(f"{dose:+g}" if dose else "0" for dose in doses)], rows)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _facts(results: Record) -> list[str]:
    low, high = results["slope_ci"]
    anti_low, anti_high = results["anti_steerable_ci"]
    shown = {
        "R2": results["r2"],
        "Spearman": results["spearman"],
        "monotone": results["monotone_frac"],
        "symmetry": results["symmetry"],
    }
    score = results["score"]
    lines = [
        f"Slope per dose: {results['slope']:+.3f} [{low:+.3f}, {high:+.3f}]; quartiles of prompts "
        + ", ".join(f"{q:+.3f}" for q in results["slope_quantiles"]),
        f"Anti-steerable prompts: {results['anti_steerable_frac']:.0%} [{anti_low:.0%}, {anti_high:.0%}]",
        "; ".join(f"{k} {'n/a' if v is None else f'{v:.2f}'}" for k, v in shown.items())
        + f"; linear up to |dose| {results['linear_range']:g}"
        + ("" if results["bidirectional"] else "; not in both directions"),
        f"Effect per root of KL: {_or_none(results['efficiency'])}; score (slope x R2 x valid^2): {_or_none(score)}",
    ]
    if results["valid_frac"] is not None:
        lines.append(
            f"Valid points (answers hold half of the probability): {results['valid_frac']:.0%}, least {results['pmass_min']:.2f}"
        )
    for each in results["by_label"]:
        interval = each["slope_ci"]
        shown_ci = "" if interval is None else f" [{interval[0]:+.3f}, {interval[1]:+.3f}]"
        lines.append(
            f"  {each['label']}: {each['slope']:+.3f}{shown_ci} (n={each['n']}, {each['n_groups']} groups)"
        )
    return lines


def _or_none(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def _controls(results: Record) -> list[str]:
    lines = []
    for kind, what in (("random", "random directions"), ("shuffled", "shuffled-label directions")):
        found = results[kind]
        if not found["n"]:
            lines.append(f"No {what} beside it")
            continue
        lines.append(
            f"{found['n']} {what} of the same {found['same']}: |slope| up to {max(map(abs, found['slopes'])):.3f}, "
            f"95th percentile {found['slope_p95']:.3f}, p {found['perm_p']:.3f}"
        )
    asked = results["prompt_baseline"]
    if asked is not None:
        low, high = asked["delta_ci"]
        lines.append(
            f"Asking in words ({asked['text']!r}): m {asked['m']:.2f}, {asked['delta_m']:+.2f} [{low:+.2f}, {high:+.2f}]"
        )
    if results["configs_tried"] is not None:
        lines.append(f"Configurations tried on validation prompts: {results['configs_tried']}")
    return lines
