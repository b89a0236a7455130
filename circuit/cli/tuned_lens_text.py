"""What ``circuit introspect tune-lens`` prints: how far each layer's reading is from the model's, tuned and plain."""

from typing import Any

from circuit.cli import console


def tuned_lens_text(results: dict[str, Any]) -> str:
    """Lay out a trained lens."""
    rows = [
        [f"L{one['layer']}", _bounds(one["tuned"]), _bounds(one["plain"])]
        for one in results["layers"]
    ]
    return "\n".join(
        [
            f"Tuned lens of `{results['model']}`: {results['n_texts']} texts, {results['n_tokens']} tokens to train on, "
            f"{results['n_held_out']} held out",
            "",
            "KL of the model's prediction from the lens's on held-out texts, nats a token:",
            console.table(["layer", "tuned lens", "logit lens"], rows),
            "",
            "More and more varied text makes a better lens; where the tuned lens is no better than the plain one it is not trained enough.",
        ]
    )


def _bounds(estimate: list[float]) -> str:
    value, low, high = estimate
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"
