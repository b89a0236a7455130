"""``directions compare``: the cosines between all directions of some steering files that lie at the same site and layer.

Axes of different layers are not the same axes, so a matrix holds one site and one layer. Beside it stands what
chance gives in d dimensions: the mean |cos| √(2 / πd), its 95 % bound for one pair, and for the largest of all pairs of
the matrix (``methods.chance``). A pair is

    orthogonal   |cos| within the bound of one pair: no more alike than two random directions
    correlated   above it
    aligned      |cos| ≥ √½: each lies closer to the other than to being orthogonal, or is its opposite

with a ``threshold`` in the place of both bounds where one is given, and the matrix is orthogonal when its largest |cos| is
within the bound of the largest. One class against the K − 1 others gives cosines of about −1 / (K − 1) by construction (the K
differences nearly cancel). Directions made with other weights share axes only where one model was trained from the other: that is
said in words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from circuit.artifacts.steering_files.files import Direction, read_steering_file
from circuit.errors import DataError, UsageError
from circuit.methods.geometry.similarity import cosine_matrix, expected_cosine
from circuit.methods.quality.chance_cosine import cosine_bound
from circuit.stages.rows.same_weights import other_weights

ALIGNED = 0.5**0.5
Place = tuple[str, int]


@dataclass(frozen=True)
class Held:
    """A direction, and the file that holds it."""

    file: str
    direction: Direction

    @property
    def place(self) -> Place:
        """Where it lies: only directions of one place have a cosine."""
        return self.direction.site, self.direction.layer


def compare_directions(files: Sequence[Path], threshold: float | None = None) -> dict[str, Any]:
    """Return one matrix for each site and layer at which ``files`` hold two directions or more.

    Pairs under ``threshold`` are called orthogonal; by default that is what chance gives.
    """
    if threshold is not None and not 0 < threshold < ALIGNED:
        message = f"{threshold:g} is no |cosine| under which directions are orthogonal"
        raise UsageError(message, hint=f"--threshold lies between 0 and {ALIGNED:.2f}")
    held = [Held(str(path), each) for path in files for each in read_steering_file(path)]
    places: dict[Place, list[Held]] = {}
    for each in held:
        places.setdefault(each.place, []).append(each)
    shared = {place: found for place, found in sorted(places.items()) if len(found) > 1}
    if not shared:
        message = f"no two of the {len(held)} directions lie at the same site and layer"
        where = ", ".join(f"{site} {layer}" for site, layer in sorted(places))
        raise DataError(message, hint=f"they lie at {where}; fit them at one layer with --layer")
    return {
        "files": [str(path) for path in files],
        "places": [_compared(place, found, threshold) for place, found in shared.items()],
        "alone": [
            {"file": found[0].file, "name": found[0].direction.name, "site": site, "layer": layer}
            for (site, layer), found in sorted(places.items())
            if len(found) == 1
        ],
    }


def _compared(place: Place, held: Sequence[Held], threshold: float | None) -> dict[str, Any]:
    site, layer = place
    d = _width(place, held)
    matrix = cosine_matrix(np.stack([each.direction.vector for each in held]))
    n_pairs = len(held) * (len(held) - 1) // 2
    bound, largest_bound = cosine_bound(d), cosine_bound(d, pairs=n_pairs)
    within = bound if threshold is None else threshold
    pairs = [_pair(i, j, float(matrix[i, j]), within) for i, j in combinations(range(len(held)), 2)]
    largest = max(pairs, key=lambda pair: abs(pair["cosine"]))
    return {
        "site": site,
        "layer": layer,
        "d": d,
        "names": _names(held),
        "methods": [each.direction.method for each in held],
        "matrix": np.round(matrix, 5).tolist(),
        "chance": {
            "mean": round(expected_cosine(d), 5),
            "bound_95": round(bound, 5),
            "bound_95_of_largest": round(largest_bound, 5),
        },
        "threshold": threshold,
        "pairs": pairs,
        "counts": {
            verdict: sum(pair["verdict"] == verdict for pair in pairs)
            for verdict in ("orthogonal", "correlated", "aligned")
        },
        "largest": largest,
        "orthogonal": abs(largest["cosine"]) <= (threshold or largest_bound),
        "models": _models(held),
        "same_weights": not any(
            other_weights(a.direction.model, b.direction.model) for a, b in combinations(held, 2)
        ),
    }


def _width(place: Place, held: Sequence[Held]) -> int:
    widths = {each.direction.vector.size: each for each in held}
    if len(widths) > 1:
        (a, first), (b, second) = list(widths.items())[:2]
        message = (
            f"`{first.direction.name}` in `{first.file}` has {a} entries, "
            f"`{second.direction.name}` in `{second.file}` has {b}, both at {place[0]} {place[1]}"
        )
        raise DataError(message, hint="directions of one model have one width: compare those")
    return next(iter(widths))


def _pair(i: int, j: int, cosine: float, bound: float) -> dict[str, Any]:
    size = abs(cosine)
    near = "aligned" if size >= ALIGNED else "correlated"
    return {
        "a": i,
        "b": j,
        "cosine": round(cosine, 5),
        "verdict": "orthogonal" if size <= bound else near,
    }


def _names(held: Sequence[Held]) -> list[str]:
    """Names, with the file where two files hold the same name."""
    names = [each.direction.name for each in held]
    return [
        each.direction.name
        if names.count(each.direction.name) == 1
        else f"{each.direction.name} ({each.file})"
        for each in held
    ]


def _models(held: Sequence[Held]) -> list[str]:
    ids = (each.direction.model.id if each.direction.model else "unknown" for each in held)
    return list(dict.fromkeys(ids))
