"""Which tokens a prompt's last token attends to: means over the heads of a layer."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from circuit.methods.arrays import Array
from circuit.present.document import Number, Table


@dataclass(frozen=True, kw_only=True)
class Attended:
    """Weights of the last token in one layer, averaged over heads.

    ``top`` are (index, token, weight), the largest first; ``entropy`` is the mean over heads of a
    head's entropy in nats. With a learned sink the weights of a head add up to less than 1.
    """

    layer: int
    n_heads: int
    first: float
    previous: float
    itself: float
    entropy: float
    top: list[tuple[int, str, float]]


def attended(layer: int, weights: Array, tokens: Sequence[str], *, top: int = 5) -> Attended:
    """Describe the weights (n_heads, n_tokens) of the last token."""
    mean = weights.mean(axis=0, dtype=np.float64)
    order = np.argsort(-mean, kind="stable")[:top]
    logs = np.log(np.where(weights > 0, weights, 1))
    return Attended(
        layer=layer,
        n_heads=len(weights),
        first=float(mean[0]),
        previous=float(mean[-2]) if len(mean) > 1 else 0.0,
        itself=float(mean[-1]),
        entropy=float(-(weights * logs).sum(axis=1).mean()),
        top=[(int(i), tokens[i], round(float(mean[i]), 6)) for i in order],
    )


def attended_table(layers: Sequence[Attended]) -> Table:
    """Return a row for each layer: weights averaged over heads."""
    return Table.of(
        layers,
        {
            "layer": lambda each: str(each.layer),
            "heads": lambda each: each.n_heads,
            "first": lambda each: Number(each.first, ".2f"),
            "previous": lambda each: Number(each.previous, ".2f"),
            "itself": lambda each: Number(each.itself, ".2f"),
            "entropy": lambda each: Number(each.entropy, ".2f"),
            "most attended": lambda each: ", ".join(
                f"{text!r}@{i} {weight:.2f}" for i, text, weight in each.top[:3]
            ),
        },
    )
