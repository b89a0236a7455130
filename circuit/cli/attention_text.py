"""How introspection commands print where a last token attends."""

from typing import Any

from circuit.cli import console


def attended_text(layers: list[dict[str, Any]]) -> str:
    """Lay out a row for each layer: weights averaged over heads."""
    header = ["layer", "heads", "first", "previous", "itself", "entropy", "most attended"]
    return console.table(header, [_row(layer) for layer in layers])


def _row(found: dict[str, Any]) -> list[str]:
    most = ", ".join(f"{text!r}@{i} {weight:.2f}" for i, text, weight in found["top"][:3])
    shares = [f"{found[key]:.2f}" for key in ("first", "previous", "itself")]
    return [
        str(found["layer"]),
        str(found["n_heads"]),
        *shares,
        f"{found['entropy']:.2f}",
        most,
    ]
