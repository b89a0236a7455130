"""What ``circuit introspect neurons`` prints: a map over tokens, means by label, what each neuron writes."""

from typing import Any

from circuit.cli import console
from circuit.cli.figures_text import claim, estimate

Record = dict[str, Any]
SHOWN = 4  # prompts whose tokens are shown one by one


def neurons_text(results: Record) -> str:
    """Lay out the chosen neurons of a layer."""
    neurons, prompts = results["neurons"], results["prompts"]
    lines = [
        f"Model: {results['model']} ({results['format']})",
        f"Layer {results['layer']}: {len(neurons)} of {results['n_neurons']} neurons, {results['how']}",
        *_discovery(results),
    ]
    if results["chance_cosine"] is not None:
        lines += ["", "=== Along the direction ===", _along(results)]
    for i in range(min(len(prompts), SHOWN)):
        lines += ["", f"=== Activations: {prompts[i]!r} ===", _map(results, i)]
    if len(prompts) > SHOWN:
        lines += ["", f"({len(prompts) - SHOWN} more prompts: --json or -o has their tokens)"]
    lines += ["", "=== At the last token ===", _labels(neurons)]
    lines += ["", "=== What they promote ===", _promoted(neurons)]
    low, high = results["random_promotes"]
    lines.append(
        f"(logits at a step of 0.1 of the residual's norm each way; the strongest token of a random direction has {low:.2f}, 95 % below {high:.2f})"
    )
    return "\n".join([*lines, *claim(results["n_groups"])])


def _discovery(results: Record) -> list[str]:
    found = results["discovery"]
    if found is None:
        return []
    lines = [
        f"Held-out AUROC of choosing the best: {estimate(found['auroc'], '.2f')}, p {found['p']:.3f} "
        f"(chosen by fold: {', '.join(map(str, found['by_fold']))})"
    ]
    if results["claimed"] is not None:
        lines.append(
            "One neuron tells them apart on prompts that it was not chosen on."
            if results["claimed"]
            else "No neuron does better than with permuted labels."
        )
    return lines


def _along(results: Record) -> str:
    rows = [
        [str(each["index"]), f"{each['along']['dot']:+.4f}", f"{each['along']['cosine']:+.3f}"]
        for each in results["neurons"]
    ]
    table = console.table(["neuron", "w . v", "cosine"], rows)
    return f"{table}\n(the largest |cosine| of as many random directions: 95 % below {results['chance_cosine']:.3f})"


def _map(results: Record, prompt: int) -> str:
    """Lay out a row for each token and a column for each neuron."""
    header = ["token", *(str(each["index"]) for each in results["neurons"])]
    rows = [
        [repr(token), *(f"{each['activations'][prompt][i]:+.2f}" for each in results["neurons"])]
        for i, token in enumerate(results["tokens"][prompt])
    ]
    return console.table(header, rows)


def _labels(neurons: list[Record]) -> str:
    labels = list(neurons[0]["by_label"])
    rows = [
        [str(each["index"]), *(estimate(each["by_label"][label]) for label in labels)]
        for each in neurons
    ]
    return console.table(["neuron", *(label or "mean" for label in labels)], rows)


def _promoted(neurons: list[Record]) -> str:
    rows = [
        [
            str(each["index"]),
            f"{each['write_norm']:.3f}",
            _tokens(each["promoted"]),
            _tokens(each["suppressed"]),
        ]
        for each in neurons
    ]
    return console.table(["neuron", "|w|", "promotes", "suppresses"], rows)


def _tokens(found: list[Record]) -> str:
    return " ".join(f"{each['token']!r} {each['difference']:+.1f}" for each in found[:3])
