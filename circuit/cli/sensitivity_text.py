"""What ``circuit introspect format-sensitivity`` prints: a block for each pair of forms."""

from typing import Any

from circuit.cli import console
from circuit.cli.figures_text import claim, counted, estimate

Record = dict[str, Any]


def sensitivity_text(results: Record, *, summary_only: bool) -> str:
    """Lay out every contrast of forms."""
    lines = [f"Model: {results['model']} ({counted(results['n'])})"]
    if not results["has_template"]:
        lines.append("It has no chat template: raw text only.")
    for contrast in results["contrasts"]:
        lines += ["", *_contrast(contrast, results["n"], summary_only)]
    return "\n".join([*lines, "", *claim(results["n_groups"])]).rstrip()


def _contrast(found: Record, n: int, summary_only: bool) -> list[str]:
    a, b = found["forms"]
    lines = [f"=== {a} -> {b} ===", _layers(found["layers"]), ""]
    if not summary_only:
        for each in found["outputs"]:
            lines += [*_output(each), ""]
    lines += [
        f"Next token: the same for {found['n_same_next_token']} of {n}; KL {estimate(found['kl'])} nats",
        f"Text: the same for {found['n_same_text']} of {n}",
    ]
    if found["n_same_ids"]:
        lines.append(f"Both forms are the same tokens for {found['n_same_ids']} of {n}")
    return lines


def _layers(gaps: list[Record]) -> str:
    header = ["layer", "cosine", "|h' - h| / |h|", "between prompts: cosine", "distance"]
    return console.table(header, [_row(gap) for gap in gaps])


def _row(gap: Record) -> list[str]:
    between = (gap["between_cosine"], gap["between_distance"])
    return [
        str(gap["layer"]),
        estimate(gap["cosine"]),
        estimate(gap["distance"]),
        *("-" if value is None else f"{value:.3f}" for value in between),
    ]


def _output(found: Record) -> list[str]:
    lines = [f"Prompt: {found['prompts'][0]!r}, KL {found['kl']:.3f} nats"]
    for i in range(2):
        last, token, p = (found[key][i] for key in ("last_tokens", "next_tokens", "probabilities"))
        lines.append(f"  after {last!r}: {token!r} ({p:.4f})  {found['texts'][i]!r}")
    return lines
