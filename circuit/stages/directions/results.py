"""What ``directions`` finds, as ``directions.json`` (``circuit.directions/1``) holds it."""

from dataclasses import dataclass

from circuit.artifacts.directions.direction import Direction
from circuit.present.numbers import in_groups
from circuit.stages.rows.labels import LabelAgreement
from circuit.values.intervals import Interval

Cosines = list[list[float]]


@dataclass(frozen=True, kw_only=True)
class DirectionQuality:
    """How well a direction separates rows that it was not fitted to: see ``methods.quality``."""

    auroc: Interval
    d_prime: float | None
    shuffled: Interval
    p: float | None
    split_half_cosine: Interval | None
    settled_cosine: float | None
    resampled_cosine: Interval
    pair_cosine: Interval | None
    n: int
    n_groups: int
    least_groups: int
    n_over_d: float
    n_folds: int
    n_shuffles: int
    paired: bool

    @property
    def size(self) -> str:
        """How many rows there are, and in how many groups."""
        return in_groups(self.n, self.n_groups)


@dataclass(frozen=True, kw_only=True)
class LayerQuality(DirectionQuality):
    """The quality of the label's direction at a layer; ``p_any`` is over all layers."""

    layer: int
    norm: float
    p_any: float | None


@dataclass(frozen=True, kw_only=True)
class DirectionEntry:
    """One direction of the archive: everything but its vector."""

    tensor: str
    name: str
    site: str
    layer: int
    norm: float
    method: str
    positive_label: str
    negative_label: str
    format: str | None
    quality: DirectionQuality
    extra: dict[str, object]


@dataclass(frozen=True, kw_only=True)
class BestLayer:
    """The layer that was chosen, and the held-out score of choosing, where it was scored."""

    layer: int
    auroc: Interval | None
    chosen_by_fold: list[int] | None


@dataclass(frozen=True, kw_only=True)
class CategoryTransfer:
    """AUROC of the direction of one category's prompts (row) on another's (column)."""

    names: list[str]
    auroc: list[list[Interval | None]]
    n: list[int]
    n_groups: list[int]


@dataclass(frozen=True, kw_only=True)
class CosinesAtLayer:
    """Cosines between all directions of a layer."""

    layer: int
    names: list[str]
    matrix: Cosines


@dataclass(frozen=True, kw_only=True)
class CosinesAcrossLayers:
    """Cosines of the label's directions with each other."""

    layers: list[int]
    matrix: Cosines


@dataclass(frozen=True, kw_only=True)
class HeldOutProjections:
    """Each prompt projected on the label's direction that was fitted without its group."""

    rows: list[int]
    positive: list[int]
    scores: list[float]


@dataclass(frozen=True, kw_only=True)
class DirectionsResult:
    """Every direction with its quality, and what was found between them."""

    label_direction: str
    layers: list[LayerQuality]
    best: BestLayer
    transfer: CategoryTransfer | None
    random_cosine: float
    cosines: list[CosinesAtLayer]
    across_layers: CosinesAcrossLayers
    held_out: dict[str, HeldOutProjections]
    labels: LabelAgreement | None
    directions: list[DirectionEntry]

    @property
    def best_quality(self) -> LayerQuality:
        """The quality of the label's direction at the layer that was chosen."""
        return next(each for each in self.layers if each.layer == self.best.layer)

    @property
    def best_direction(self) -> DirectionEntry:
        """The label's direction at the layer that was chosen."""
        return next(
            each
            for each in self.directions
            if (each.name, each.layer) == (self.label_direction, self.best.layer)
        )

    @property
    def best_cosines(self) -> CosinesAtLayer:
        """The cosines of the layer that was chosen."""
        return next(each for each in self.cosines if each.layer == self.best.layer)


@dataclass(frozen=True, kw_only=True)
class NamedDirection:
    """What every archive says of each of its directions."""

    name: str


@dataclass(frozen=True, kw_only=True)
class StoredDirections:
    """Directions of a file that holds no scores: of single pairs, imported, or exported."""

    names: list[str]


@dataclass(frozen=True, kw_only=True)
class FittedDirections:
    """The results, and the directions with their vectors, in the order of the archive."""

    result: DirectionsResult | StoredDirections
    directions: list[Direction]
