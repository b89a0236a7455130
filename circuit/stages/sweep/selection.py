"""Every candidate of ``steer select`` measured on validation prompts, and the best one.

effect       Δ = mean over validation prompts of m(c) − m(0), with its interval over groups
             (``circuit.stages.steering.readout``)
allowed      divergence on neutral prompts at most κ (5 % more, the tolerance of the
             calibration), answers that hold half of the probability at half of the prompts or
             more, and a layer below 80 % of the depth
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from circuit.artifacts.directions.direction import Direction
from circuit.artifacts.prompts.prompts import PromptSet
from circuit.errors import DataError, UsageError
from circuit.methods.arrays import Array
from circuit.methods.steering.dose_response import response
from circuit.stages.options import ActionOptions
from circuit.stages.rows.prompting import encode
from circuit.stages.run import SILENT, Result, Session
from circuit.stages.steering.intervention import Intervention, Term
from circuit.stages.steering.neutral import neutral_prompts
from circuit.stages.steering.readout import Readout, ReadoutValues, reader
from circuit.stages.steering.rollouts import Neutral, prepared, roll_outs
from circuit.stages.steering.rules import resolve
from circuit.stages.steering.strength import TOLERANCE, Calibration, calibrations, check_target
from circuit.values.intervals import Interval
from circuit.values.prompt_format import PromptFormat

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel

FRACTIONS = (0.5, 1.0)
MAX_DEPTH = 0.8
VALID = 0.5  # least share of prompts whose answers hold half of the probability


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A direction at a strength: its effect on validation prompts, and its damage."""

    direction: str
    name: str
    layer: int
    method: str | None
    share: float
    coefficient: float
    effect: Interval
    kl: float
    valid: float | None
    allowed: bool


@dataclass(frozen=True, kw_only=True)
class SelectResult(Result):
    """Every candidate, the chosen one, and how many were tried."""

    COMMAND: ClassVar[str] = "circuit.stages.sweep.select:SELECT"

    candidates: list[Candidate]
    chosen: Candidate
    configs_tried: int
    n_validation: int
    n_groups: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Selection:
    """Candidate directions, validation prompts with their read-out and format, and the bounds.

    ``shares`` are fractions of c*. ``neutral`` replaces the built-in neutral texts.
    """

    directions: Sequence[Direction]
    validation: PromptSet
    readout: Readout
    form: PromptFormat
    action: ActionOptions = field(default_factory=ActionOptions)
    kl: float = 1.0
    shares: tuple[float, ...] = FRACTIONS
    max_depth: float = MAX_DEPTH
    n_boot: int = 1000
    seed: int = 0
    neutral: tuple[str, ...] | None = None

    def parameters(self) -> dict[str, object]:
        """Return every choice, for the manifest."""
        own = ("kl", "shares", "max_depth", "n_boot", "seed", "neutral")
        return {
            **{name: getattr(self, name) for name in own},
            **vars(self.action),
            "directions": [direction.tensor for direction in self.directions],
            "readout": self.readout.described(self.validation.prompts),
            "format": asdict(self.form),
        }


def check_bounds(kl: float, shares: Sequence[float], max_depth: float) -> None:
    """Raise ``UsageError`` for numbers that bound nothing."""
    check_target(kl)
    if not shares or not all(0 < share <= 1 for share in shares):
        message = "`--strengths` must be fractions of c*, above 0 and at most 1"
        hint = 'write for example --strengths "0.5,1"'
        raise UsageError("out-of-range", message, hint=hint, shares=shares)
    if not 0 < max_depth <= 1:
        message = f"`--max-depth` must be above 0 and at most 1, got {max_depth:g}"
        raise UsageError("out-of-range", message, hint="such as 0.8", max_depth=max_depth)


def select(model: "LoadedModel", selection: Selection, session: Session = SILENT) -> SelectResult:
    """Measure every candidate, and choose one."""
    candidates = _measured(model, selection, session)
    return SelectResult(
        candidates=candidates,
        chosen=best_of(candidates, selection.kl),
        configs_tried=len(candidates),
        n_validation=len(selection.validation.prompts),
        n_groups=len(set(selection.validation.groups().tolist())),
    )


def _measured(model: "LoadedModel", selection: Selection, session: Session) -> list[Candidate]:
    validation, form = selection.validation, selection.form
    encoded = encode(model, validation.texts, form)
    reads = reader(model, selection.readout, validation.prompts, encoded)
    neutral = prepared(model, neutral_prompts(model, form, selection.neutral))
    base = reads.measure([])
    interventions = [
        resolve(model, [Term(direction)], selection.action, form)
        for direction in selection.directions
    ]
    stars = calibrations(model, interventions, neutral, target=selection.kl, sign=1)
    candidates: list[Candidate] = []
    calibrated = session.track(stars, "Choosing", len(interventions))
    for intervention, star in zip(interventions, calibrated, strict=True):
        acting = [intervention.at(share * star.coefficient) for share in selection.shares]
        measured = _Measured(
            star=star,
            values=list(reads.measure_each(acting)),
            kl=_divergences(model, selection, intervention, star, neutral),
        )
        candidates += _candidates(model, selection, intervention, measured, base=base)
    return candidates


def _divergences(
    model: "LoadedModel",
    selection: Selection,
    intervention: Intervention,
    star: Calibration,
    neutral: Neutral,
) -> list[float]:
    """Return the divergence at each share; that at c* is known."""
    shares = [share for share in selection.shares if share != 1]
    acting = [intervention.at(share * star.coefficient) for share in shares]
    new = iter(roll_outs(model, acting, neutral))
    return [star.kl if share == 1 else next(new).statistic("p95") for share in selection.shares]


@dataclass(frozen=True, eq=False)
class _Measured:
    """c* of a direction, and read-out and divergence at each share of it."""

    star: Calibration
    values: list[ReadoutValues]
    kl: list[float]


def _candidates(
    model: "LoadedModel",
    selection: Selection,
    intervention: Intervention,
    measured: _Measured,
    *,
    base: ReadoutValues,
) -> list[Candidate]:
    """Return one direction at each fraction of its c*."""
    direction = intervention.terms[0].direction
    shallow = direction.layer < selection.max_depth * model.n_layers
    found = []
    for share, values, kl in zip(selection.shares, measured.values, measured.kl, strict=True):
        valid = None if values.pmass is None else float(values.valid.mean())
        bounded = kl <= selection.kl * (1 + TOLERANCE)
        found.append(
            Candidate(
                direction=direction.tensor,
                name=direction.name,
                layer=direction.layer,
                method=direction.method,
                share=share,
                coefficient=share * measured.star.coefficient,
                effect=_effect(values.m - base.m, selection),
                kl=kl,
                valid=valid,
                allowed=shallow and bounded and (valid is None or valid >= VALID),
            )
        )
    return found


def _effect(change: Array, selection: Selection) -> Interval:
    doses, m = np.array([0.0, 1.0]), np.stack([np.zeros(len(change)), change], axis=1)
    groups = selection.validation.groups()
    answer = response(doses, m, groups, n_boot=selection.n_boot, seed=selection.seed)
    return answer.mean(change).as_triple()


def best_of(candidates: Sequence[Candidate], kl: float) -> Candidate:
    """Return the allowed candidate of the largest effect; ``DataError`` where none is allowed."""
    allowed = [each for each in candidates if each.allowed]
    if not allowed:
        message = (
            f"none of {len(candidates)} candidates is shallow enough, keeps the divergence at "
            f"{kl:g} nats and has readable answers"
        )
        hint = "raise --kl, or change the answers of the read-out"
        raise DataError("no-candidate", message, hint=hint, n=len(candidates))
    return max(allowed, key=lambda each: each.effect[0])
