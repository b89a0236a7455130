"""What ``circuit introspect layer`` prints: similarities of few prompts as a matrix, and what labels make of them."""

from typing import Any

from circuit.cli import console
from circuit.cli.attention_text import attended_text
from circuit.cli.figures_text import claim, estimate

Record = dict[str, Any]
WIDE = 8  # prompts that stand in a matrix


def similarity_text(results: Record) -> str:
    """Lay out every layer, then labels over all layers, then attention."""
    labels, prompts = results["labels"], results["prompts"]
    lines = [f"Model: {results['model']} ({results['format']})"]
    if len(prompts) <= WIDE:
        lines += [f"  {label}: {text!r}" for label, text in zip(labels, prompts, strict=True)]
        for layer in results["layers"]:
            lines += ["", f"=== Layer {layer['layer']}: cosines ===", _matrix(layer, labels)]
    if len(set(labels)) < len(labels) or len(set(labels)) == 2:
        lines += ["", "=== Within and between labels ===", _separations(results["layers"])]
    lines += claim(results["n_groups"])
    if results["attention"] is not None:
        for text, found in zip(prompts, results["attention"], strict=True):
            lines += ["", f"=== Attention of the last token of {text!r} ===", attended_text(found)]
    return "\n".join(lines)


def _matrix(layer: Record, labels: list[str]) -> str:
    """Lay out raw cosines, and centred ones in brackets."""
    centred = layer["centred_matrix"]
    rows = []
    for i, row in enumerate(layer["matrix"]):
        cells = [
            f"{value:.3f}" + ("" if centred is None else f" ({centred[i][j]:+.2f})")
            for j, value in enumerate(row)
        ]
        rows.append([labels[i], *cells])
    name = "raw" if centred is None else "raw (centred)"
    return console.table([name, *labels], rows)


def _separations(layers: list[Record]) -> str:
    header = ["layer", "cosine", "within", "between", "separation", "p"]
    rows = []
    for layer in layers:
        for kind in ("raw", "centred"):
            if (found := layer[kind]) is not None:
                means = [found[key] for key in ("within", "between", "separation")]
                cells = ["-" if each is None else estimate(each) for each in means]
                p = "-" if found["p"] is None else f"{found['p']:.3f}"
                rows.append([str(layer["layer"]), kind, *cells, p])
    return console.table(header, rows)
