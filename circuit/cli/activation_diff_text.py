"""What ``circuit introspect activation-diff`` prints: a row for each layer, then what else differs."""

from typing import Any

from circuit.cli import console
from circuit.cli.figures_text import claim, counted, estimate

Record = dict[str, Any]


def activation_diff_text(results: Record) -> str:
    """Lay out the difference of two models' activations."""
    base, other = results["models"]
    n = len(results["prompts"])
    lines = [
        f"Base: {base['name']} ({base['n_layers']} layers of {base['d_model']})",
        f"Fine-tuned: {other['name']} ({other['n_layers']} layers of {other['d_model']})",
        f"{counted(n)}, {results['format']}, last token",
        *_matched(results),
        "",
        _table(results["layers"]),
        "",
        *_tokens(results),
    ]
    moved = [each for each in results["layers"] if each["moved"] is not None]
    if moved and _unlike(results):
        lines.append("The depths differ: no layer is said to have moved most.")
    elif moved:
        most = max(moved, key=lambda each: each["moved"][0])
        nothing = most["moved"][0] == 0
        lines.append(
            "Nothing moved."
            if nothing
            else f"Moved most: layer {most['layer']} ({estimate(most['moved'])} of the norm)"
        )
    else:
        lines.append("The widths differ: only CKA compares them.")
    if n < 4:
        lines.append("CKA needs 4 prompts or more.")
    return "\n".join([*lines, *claim(results["n_groups"])])


def _unlike(results: Record) -> bool:
    base, other = results["models"]
    return bool(base["n_layers"] != other["n_layers"])


def _matched(results: Record) -> list[str]:
    if not _unlike(results):
        return []
    return ["a ~ b: layer a of the base and the other's at the same share of the depth, layer b"]


def _table(layers: list[Record]) -> str:
    header = ["layer", "cosine", "centred", "|b - a| / |a|", "|b| / |a|", "CKA"]
    return console.table(header, [_row(layer) for layer in layers])


def _row(found: Record) -> list[str]:
    name, other = str(found["layer"]), str(found["other_layer"])
    keys = ("cosine", "centred_cosine", "moved", "norm_ratio", "cka")
    cells = ["-" if found[key] is None else estimate(found[key]) for key in keys]
    return [name if name == other else f"{name} ~ {other}", *cells]


def _tokens(results: Record) -> list[str]:
    differ = results["other_tokens"]
    if not differ:
        return []
    shown = ", ".join(repr(results["prompts"][i]) for i in differ[:3])
    return [
        f"{len(differ)} of {counted(len(results['prompts']))} {'becomes' if len(differ) == 1 else 'become'} other tokens: {shown}"
        + (" ..." if len(differ) > 3 else "")
    ]
