"""``directions compare``: cosines between all directions of some steering files, place by place.

Axes of different layers are not the same axes, so a matrix holds one site and one layer. Beside it
is its chance level in d dimensions: the mean |cos| √(2 / πd), its 95 % bound for one pair, and for
the largest of all pairs of the matrix (``methods.quality.chance_cosine``). A pair is

    orthogonal   |cos| within the bound of one pair: no more alike than two random directions
    correlated   above it
    aligned      |cos| ≥ √½: closer to the other, or to its opposite, than to being orthogonal

``--threshold`` replaces both bounds. The matrix is orthogonal where its largest |cos| is within the
bound of the largest. One class against the K − 1 others gives cosines of about −1 / (K − 1) by
construction (the K differences nearly cancel). Directions made with other weights share axes only
where one model was trained from the other, which is noted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from circuit.artifacts.directions.direction import Direction
from circuit.artifacts.steering_files.files import read_steering_file
from circuit.errors import DataError, UsageError
from circuit.methods.geometry.similarity import cosine_matrix, expected_cosine
from circuit.methods.quality.chance_cosine import cosine_bound
from circuit.present.document import Document, Facts, Notice, Part, Text
from circuit.stages.directions.cosines import cosine_table
from circuit.stages.directions.request import CompareRequest
from circuit.stages.rows.same_weights import other_weights
from circuit.stages.run import Command, Job, Plan, Result, Session, without_model
from circuit.values import schemas
from circuit.values.sites import Site

ALIGNED = 0.5**0.5
VERDICTS = ("orthogonal", "correlated", "aligned")


@dataclass(frozen=True, kw_only=True)
class Chance:
    """|cosine| of random directions: mean, 95 % bound of one pair and of the largest pair."""

    mean: float
    bound_95: float
    bound_95_of_largest: float


@dataclass(frozen=True, kw_only=True)
class DirectionPair:
    """Two directions, by their numbers in the matrix, and how alike they are."""

    a: int
    b: int
    cosine: float
    verdict: str


@dataclass(frozen=True, kw_only=True)
class PlaceCosines:
    """All directions at one site and layer."""

    site: str
    layer: int
    d: int
    names: list[str]
    methods: list[str | None]
    matrix: list[list[float]]
    chance: Chance
    threshold: float | None
    pairs: list[DirectionPair]
    counts: dict[str, int]
    largest: DirectionPair
    orthogonal: bool
    models: list[str]
    same_weights: bool


@dataclass(frozen=True, kw_only=True)
class LoneDirection:
    """A direction that is the only one at its site and layer."""

    file: str
    name: str
    site: str
    layer: int


@dataclass(frozen=True, kw_only=True)
class CosinesResult(Result):
    """One matrix for each site and layer at which the files hold two directions or more."""

    files: list[str]
    places: list[PlaceCosines]
    alone: list[LoneDirection]


@dataclass(frozen=True)
class FileDirection:
    """A direction, and the file that holds it."""

    file: str
    direction: Direction


def plan(request: CompareRequest) -> Plan[CosinesResult]:
    """Read the files."""
    check_cosine_threshold(request.threshold)

    def compute(session: Session) -> CosinesResult:  # noqa: ARG001
        return compare_directions(request.files, request.threshold)

    parameters = {"threshold": request.threshold}
    return Plan(
        result=CosinesResult,
        schema=schemas.COSINES,
        inputs=request.files,
        output=request.output.output,
        force=request.output.force,
        known=parameters,
        begin=without_model(Job(parameters=parameters, compute=compute)),
    )


def check_cosine_threshold(threshold: float | None) -> None:
    """Raise ``UsageError`` for a bound under which nothing, or everything, is orthogonal."""
    if threshold is not None and not 0 < threshold < ALIGNED:
        message = f"--threshold {threshold:g} is out of range: it bounds |cosine| of a pair"
        hint = f"choose one between 0 and {ALIGNED:.2f}"
        raise UsageError("threshold-out-of-range", message, hint=hint, threshold=threshold)


def compare_directions(files: Sequence[Path], threshold: float | None = None) -> CosinesResult:
    """Compare all directions of ``files``; pairs under ``threshold`` are called orthogonal."""
    held = [FileDirection(str(path), each) for path in files for each in read_steering_file(path)]
    places: dict[Site, list[FileDirection]] = {}
    for each in held:
        place = Site(each.direction.site, each.direction.layer)
        places.setdefault(place, []).append(each)
    shared = {place: found for place, found in sorted(places.items()) if len(found) > 1}
    if not shared:
        message = f"no two of the {len(held)} directions are at the same site and layer"
        where = ", ".join(f"{place.name} {place.layer}" for place in sorted(places))
        hint = f"they are at {where}; fit them at one layer with --layer"
        raise DataError("no-shared-place", message, hint=hint, n=len(held))
    return CosinesResult(
        files=[str(path) for path in files],
        places=[_compared(place, found, threshold) for place, found in shared.items()],
        alone=[
            LoneDirection(
                file=found[0].file,
                name=found[0].direction.name,
                site=place.name,
                layer=place.layer,
            )
            for place, found in sorted(places.items())
            if len(found) == 1
        ],
    )


def _compared(place: Site, held: Sequence[FileDirection], threshold: float | None) -> PlaceCosines:
    d, directions = _width(place, held), [each.direction for each in held]
    matrix = cosine_matrix(np.stack([each.vector for each in directions]))
    numbers = list(combinations(range(len(held)), 2))
    bound, largest_bound = cosine_bound(d), cosine_bound(d, pairs=len(numbers))
    within = bound if threshold is None else threshold
    pairs = [_pair(i, j, float(matrix[i, j]), within) for i, j in numbers]
    largest = max(pairs, key=lambda pair: abs(pair.cosine))
    ids = (each.model.id if each.model else "unknown" for each in directions)
    return PlaceCosines(
        site=place.name,
        layer=place.layer,
        d=d,
        names=_names(held),
        methods=[each.method for each in directions],
        matrix=np.round(matrix, 5).tolist(),
        chance=Chance(
            mean=round(expected_cosine(d), 5),
            bound_95=round(bound, 5),
            bound_95_of_largest=round(largest_bound, 5),
        ),
        threshold=threshold,
        pairs=pairs,
        counts={name: sum(pair.verdict == name for pair in pairs) for name in VERDICTS},
        largest=largest,
        orthogonal=abs(largest.cosine) <= (threshold or largest_bound),
        models=list(dict.fromkeys(ids)),
        same_weights=not any(
            other_weights(a.model, b.model) for a, b in combinations(directions, 2)
        ),
    )


def _width(place: Site, held: Sequence[FileDirection]) -> int:
    widths = {each.direction.vector.size: each for each in held}
    if len(widths) > 1:
        (a, first), (b, second) = list(widths.items())[:2]
        message = (
            f"`{first.direction.name}` in `{first.file}` has {a} entries, "
            f"`{second.direction.name}` in `{second.file}` has {b}, both at "
            f"{place.name} {place.layer}"
        )
        hint = "directions of one model have one width: compare those"
        raise DataError("widths-differ", message, hint=hint, widths=(a, b))
    return next(iter(widths))


def _pair(i: int, j: int, cosine: float, bound: float) -> DirectionPair:
    size = abs(cosine)
    near = "aligned" if size >= ALIGNED else "correlated"
    verdict = "orthogonal" if size <= bound else near
    return DirectionPair(a=i, b=j, cosine=round(cosine, 5), verdict=verdict)


def _names(held: Sequence[FileDirection]) -> list[str]:
    """Return the names, with the file where two files hold the same name."""
    names = [each.direction.name for each in held]
    return [
        each.direction.name
        if names.count(each.direction.name) == 1
        else f"{each.direction.name} ({each.file})"
        for each in held
    ]


def present(result: CosinesResult) -> Document:
    """Show a matrix for each site and layer with its verdict, then the counts of all pairs."""
    parts: list[Part] = []
    for place in result.places:
        parts += _place(place)
    if result.alone:
        parts.append(
            Text([f"{len(result.alone)} more directions are alone at their site and layer."])
        )
    counts = {name: sum(place.counts[name] for place in result.places) for name in VERDICTS}
    parts.append(Facts([(f"{name.capitalize()} pairs", n) for name, n in counts.items()]))
    return Document("Cosines between directions", parts)


def _place(found: PlaceCosines) -> list[Part]:
    chance = found.chance
    title = (
        f"{found.site}, layer {found.layer}: {len(found.names)} directions (d = {found.d}; random "
        f"directions: |cos| {chance.mean:.2f}, 95 % below {chance.bound_95:.2f})"
    )
    parts: list[Part] = [
        cosine_table(title, found.names, found.matrix),
        Text([_verdict(found)]),
    ]
    if not found.same_weights:
        models = ", ".join(found.models)
        text = f"Made with different weights ({models}): a cosine means something only where one "
        parts.append(Notice(f"{text}model was trained from the other."))
    return parts


def _verdict(found: PlaceCosines) -> str:
    largest, names, n_pairs = found.largest, found.names, len(found.pairs)
    pair = f"{names[largest.a]} and {names[largest.b]}, {largest.cosine:+.2f}"
    bound, what = found.chance.bound_95_of_largest, "the chance level"
    if found.threshold is not None:
        bound, what = found.threshold, "--threshold"
    subject = "the pair" if n_pairs == 1 else f"the largest of {n_pairs} pairs"
    if found.orthogonal:
        return f"Orthogonal: {subject} ({pair}) is within {what} ({bound:.2f})."
    counts = ", ".join(f"{n} {verdict}" for verdict, n in found.counts.items())
    return f"Not orthogonal: {subject} ({pair}) is above {what} ({bound:.2f}). Pairs: {counts}."


COMMAND = Command(
    request=CompareRequest,
    plan=plan,
    present=present,
    result=CosinesResult,
)
