"""The result of a sweep, ``circuit.sweep/2``: what the measured points say.

    slope, slope_ci       mean per-prompt slope of m on the dose x = c/c*, 95 % bootstrap over
                          groups; negative: it steers the wrong way
    anti_steerable_frac   fraction of prompts whose own slope is negative; slope_quantiles: 25, 50
                          and 75 %
    curve, change         mean m at each dose, and its change from dose 0, which is paired, with
                          intervals; for a criterion ``rates`` has Wilson's interval, which counts
                          prompts
    r2 … linear_range     of the mean curve (``circuit.methods.steering.dose_response``)
    pmass_min, valid_frac over all points; None where the read-out has no other answers
    kl_p95 … nll_delta    on neutral prompts at each dose; compare nll_delta and repetitions with
                          dose 0
    efficiency            Δm/√KL at the smallest doses, ½ (m(x) − m(−x)) / √(mean of the KLs at ±x):
                          needs no calibration
    random, shuffled      their slopes, curves and divergence at dose 1, slope_p95 of |slope|, and
                          perm_p
    prompt_baseline       what asking in words does: delta_m with its interval
    score                 seed 002's, repaired: slope · r2 · valid², None under 30 prompts

Model, tokenizer and chat template are in the manifest, ``vector_sha256`` and the token scope in its
parameters.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from circuit.artifacts.files.documents import restored
from circuit.artifacts.manifest.manifest import Manifest, check_outputs, read_manifest
from circuit.stages.run import Result
from circuit.stages.steering.readout import ReadoutSummary
from circuit.stages.steering.strength import Calibration
from circuit.values import schemas
from circuit.values.intervals import Bounds, Interval


@dataclass(frozen=True, kw_only=True)
class SweptDirection:
    """One direction of the intervention."""

    name: str
    site: str
    layer: int
    method: str | None
    norm: float
    positive_label: str | None
    negative_label: str | None
    weight: float


@dataclass(frozen=True, kw_only=True)
class LabelSlope:
    """The slope and mean curve of one label's prompts; no interval for one group."""

    label: str
    n: int
    n_groups: int
    slope: float
    slope_ci: Bounds | None
    curve: list[float]


@dataclass(frozen=True, kw_only=True)
class ControlSlopes:
    """Slopes and mean curves of the controls of one kind; ``same``: of equal ``norm`` or ``kl``.

    ``perm_p`` is the p of this sweep, ``p_all`` that over all sweeps of a table.
    """

    n: int
    kind: str
    same: str
    slopes: list[float]
    slope_p95: float | None
    perm_p: float | None
    curves: list[list[float]]
    kl_p95: list[float]
    p_all: float | None = None

    @property
    def p(self) -> float | None:
        """The p that a verdict is based on: over all that was tested together."""
        return self.perm_p if self.p_all is None else self.p_all


@dataclass(frozen=True, kw_only=True)
class PromptBaseline:
    """What asking for the behaviour in words does to the read-out."""

    text: str
    m: float
    delta_m: float
    delta_ci: Bounds
    valid_frac: float | None


@dataclass(frozen=True)
class Verdict:
    """A word, and the sentence that says why."""

    word: str
    text: str


@dataclass(frozen=True, kw_only=True)
class SweepResult(Result):
    """The dose-response of an intervention, its controls and its cost: see the module."""

    COMMAND: ClassVar[str] = "circuit.stages.sweep.run:SWEEP"

    directions: list[SweptDirection]
    dose_unit: str
    c_star: float
    calibration: Calibration | None
    doses: list[float]
    n_test: int
    n_groups: int
    readout: ReadoutSummary
    slope: float
    slope_ci: Bounds
    slope_quantiles: list[float]
    anti_steerable_frac: float
    anti_steerable_ci: Bounds
    curve: list[Interval]
    change: list[Interval]
    rates: list[Interval] | None
    r2: float
    spearman: float | None
    monotone_frac: float
    slope_positive: float
    slope_negative: float
    symmetry: float | None
    bidirectional: bool
    linear_range: float
    pmass_min: float | None
    pmass_mean: list[float] | None
    valid_frac: float | None
    kl_p95: list[float]
    kl_mean: list[float]
    top1: list[float]
    distinct_1: list[float | None]
    distinct_2: list[float | None]
    repeated_4: list[float | None]
    entropy: list[float | None]
    collapsed: list[float | None]
    nll_delta: list[float | None]
    efficiency: float | None
    by_label: list[LabelSlope]
    random: ControlSlopes
    shuffled: ControlSlopes
    prompt_baseline: PromptBaseline | None
    score: float | None
    configs_tried: int | None
    seed: int
    m: list[list[float]]  # (n_test, n_doses)
    warnings: list[str]
    verdict: Verdict

    @property
    def title(self) -> str:
        """Name what was steered."""
        return ", ".join(f"{each.name} at layer {each.layer}" for each in self.directions)

    @property
    def controls(self) -> dict[str, ControlSlopes]:
        """The controls by kind."""
        return {"random": self.random, "shuffled": self.shuffled}

    @property
    def zero(self) -> int:
        """The index of dose 0."""
        return self.doses.index(0)

    def array(self, name: str) -> npt.NDArray[np.float64]:
        """Return a numeric field as an array."""
        return np.array(getattr(self, name), dtype=np.float64)


def read_sweep(path: Path) -> tuple[Manifest, SweepResult]:
    """Read what ``steer sweep`` wrote."""
    manifest = read_manifest(path, schemas.SWEEP)
    check_outputs(path, manifest)
    return manifest, restored(SweepResult, manifest.results)
