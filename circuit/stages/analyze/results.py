"""What ``analyze`` finds, as ``analysis.json`` (``circuit.analysis/1``) holds it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from circuit.present.numbers import in_groups
from circuit.stages.rows.labelled_rows import ClassSize
from circuit.stages.rows.labels import LabelAgreement
from circuit.stages.rows.probe_scores import EmergenceResamples, StarredScore
from circuit.stages.run import Result
from circuit.values.intervals import Interval
from circuit.values.power import Power

Matrix = list[list[float | None]]


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """The shape of the rows of one layer: see ``methods.geometry``."""

    spectrum: list[float]
    participation_ratio: float
    dim_90: int
    dim_95: int
    max_dim: int
    two_nn: float | None
    norms: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Two coordinates of every prompt, and how they were made."""

    coordinates: list[tuple[float, float]]
    parameters: dict[str, object]

    @property
    def variance(self) -> list[float]:
        """The shares of the variance that the two axes of a PCA hold."""
        shares = self.parameters["variance"]
        assert isinstance(shares, list)
        return shares


@dataclass(frozen=True, kw_only=True)
class ClassSeparation:
    """How the classes lie in the rows of one layer; chance: mean and 97.5 % quantile."""

    centroid_cosines: list[list[float]]
    silhouette: float
    silhouette_chance: tuple[float, float]
    fisher_ratio: float
    fisher_ratio_chance: tuple[float, float]
    kmeans_adjusted_rand: float


@dataclass(frozen=True, kw_only=True)
class LayerScore(StarredScore):
    """Scores of a probe at a layer, with the p that accounts for all layers of its place."""

    p_any: float | None


@dataclass(frozen=True, kw_only=True)
class LayerEntry:
    """One site, position and layer: geometry, layouts, and a probe of each labelling."""

    site: str
    position: str
    layer: int
    geometry: Geometry
    pca: Layout
    umap: Layout | None = None
    separation: dict[str, ClassSeparation]
    probes: dict[str, LayerScore]

    @property
    def where(self) -> str:
        """The place in words, for captions."""
        return f"{self.site}.{self.layer} at the {self.position} position"

    @property
    def place(self) -> tuple[str, str]:
        """The site and the position."""
        return self.site, self.position


@dataclass(frozen=True, kw_only=True)
class Labelling:
    """The rows that a probe was fitted to, warnings about them, and its scores without a layer."""

    n: int
    n_groups: int
    classes: list[ClassSize]
    classes_order: list[str]
    flags: list[str]
    baselines: dict[str, StarredScore]

    @property
    def size(self) -> str:
        """How many rows there are, and in how many groups."""
        return in_groups(self.n, self.n_groups)


@dataclass(frozen=True, kw_only=True)
class LayerCurve:
    """Where along the layers of one site and position a labelling becomes readable.

    ``verdict`` is never "selective", which needs the control task of ``probes run``.
    """

    site: str
    position: str
    question: str
    layers: list[int]
    emergence_layer: int | None
    emergence: EmergenceResamples
    saturation_layer: int
    threshold: float
    threshold_layer: int | None
    verdict: str
    power: Power | None = None

    @property
    def place(self) -> tuple[str, str]:
        """The site and the position."""
        return self.site, self.position


@dataclass(frozen=True, kw_only=True)
class LayerSimilarity:
    """Linear CKA between the layers of one site and position; None under two layers."""

    site: str
    position: str
    layers: list[int]
    cka: Matrix | None


@dataclass(frozen=True, kw_only=True)
class SiteSimilarity:
    """Linear CKA between all sites and layers of one position; None where all rows are equal."""

    position: str
    names: list[str]
    cka: Matrix


@dataclass(frozen=True, kw_only=True)
class ProbesAcross:
    """Held-out AUROC of probes of two archives; ``a_to_b``: probes of a, read at rows of b."""

    a_to_a: Interval
    a_to_b: Interval
    b_to_a: Interval
    b_to_b: Interval
    lost_a: Interval
    lost_b: Interval
    direction_cosine: float | None


@dataclass(frozen=True, kw_only=True)
class ComparedLayer:
    """How far the rows of one place moved; ``probes`` is None where the widths differ."""

    site: str
    position: str
    layer: int
    cka: float | None
    moved: Interval | None
    cosine: Interval | None
    probes: dict[str, ProbesAcross] | None

    @property
    def where(self) -> str:
        """The place in a few characters."""
        return f"{self.site}.{self.layer}, {self.position}"

    @property
    def place(self) -> tuple[str, str]:
        """The site and the position."""
        return self.site, self.position


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """An archive (a) against another one of the same prompts (b)."""

    model: str | None
    layers: list[ComparedLayer]


@dataclass(frozen=True, kw_only=True)
class AnalysisResult(Result):
    """Everything that ``analyze`` finds; ``blind`` are the places at which all rows are equal."""

    COMMAND: ClassVar[str] = "circuit.stages.analyze.run:COMMAND"

    model: str | None
    n_layers: int
    d_model: int
    n_prompts: int
    questions: dict[str, Labelling]
    layers: list[LayerEntry]
    curves: list[LayerCurve]
    similarity: list[LayerSimilarity]
    places: list[SiteSimilarity]
    blind: list[str]
    comparison: Comparison | None
    labels: LabelAgreement | None

    def entries_at(self, site: str, position: str) -> list[LayerEntry]:
        """Return the entries of one site and position, in the order of the layers."""
        return [entry for entry in self.layers if entry.place == (site, position)]

    def sites_and_positions(self) -> Sequence[tuple[str, str]]:
        """Return every site and position that was analysed, in order."""
        return list(dict.fromkeys(entry.place for entry in self.layers))
