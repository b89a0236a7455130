"""Layer spellings: ``all | 0,4,8 | 8-13 | -1 | every:4 | 50%``, and any of them joined by commas.

``all`` and ``every:k`` select from the layers that are available (every k-th of them, from the
first). A number, a range and a percentage name layers of the model: ``-1`` is its last block,
``50%`` the block nearest to half of its depth, ``round(0.5 · (n_layers − 1))``. Naming a layer that
the model does not have, or that is not available (not collected, say), is a ``UsageError``: nothing
is dropped silently.
"""

import re
from collections.abc import Sequence

from circuit.errors import UsageError

SPELLINGS = "use all, 0,4,8, 8-13, -1, every:4 or 50%"


def parse_layers(text: str, available: Sequence[int], n_layers: int) -> list[int]:
    """Return the layers that ``text`` names, sorted, each once."""
    chosen: set[int] = set()
    for part in text.split(","):
        chosen.update(_part(part.strip(), sorted(available), n_layers))
    return sorted(chosen)


def _part(part: str, available: list[int], n_layers: int) -> list[int]:
    if part == "all":
        return available
    if match := re.fullmatch(r"every:([1-9]\d*)", part):
        return available[:: int(match[1])]
    named = _named(part, n_layers)
    for layer in named:
        _check(layer, part, available, n_layers)
    return named


def _named(part: str, n_layers: int) -> list[int]:
    if match := re.fullmatch(r"(\d+(?:\.\d+)?)%", part):
        return [_at_depth(float(match[1]), part, n_layers)]
    if match := re.fullmatch(r"-?\d+", part):
        return [_counted(int(part), n_layers)]
    if match := re.fullmatch(r"(-?\d+)-(-?\d+)", part):
        first, last = (_counted(int(end), n_layers) for end in match.groups())
        if first <= last:
            return list(range(first, last + 1))
    raise UsageError("unknown-layers", f"unknown layers `{part}`", hint=SPELLINGS, layers=part)


def _at_depth(percent: float, part: str, n_layers: int) -> int:
    if percent > 100:
        raise UsageError(
            "layer-out-of-range",
            f"depth `{part}` is out of range",
            hint="a depth is 0% to 100%",
            layer=part,
            n_layers=n_layers,
        )
    return round(percent / 100 * (n_layers - 1))


def _counted(layer: int, n_layers: int) -> int:
    return layer + n_layers if layer < 0 else layer


def _check(layer: int, part: str, available: list[int], n_layers: int) -> None:
    if not 0 <= layer < n_layers:
        raise UsageError(
            "layer-out-of-range",
            f"layer `{part}` is out of range: the model has layers 0 to {n_layers - 1}",
            hint=SPELLINGS,
            layer=part,
            n_layers=n_layers,
        )
    if layer not in available:
        raise UsageError(
            "layer-not-available",
            f"layer {layer} is not available",
            hint=f"available: {', '.join(map(str, available)) or 'none'}",
            layer=layer,
            available=available,
        )
