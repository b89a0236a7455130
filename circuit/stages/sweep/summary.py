"""From measured points to the result of a sweep: slopes, intervals, nulls, cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from circuit.methods.arrays import Array
from circuit.methods.steering.dose_response import Response, response, score, shape, slopes
from circuit.methods.uncertainty.p_values import control_p
from circuit.methods.uncertainty.scores import wilson
from circuit.stages.steering.controls import KINDS
from circuit.stages.steering.intervention import Term
from circuit.stages.steering.readout import LEAST_MASS
from circuit.stages.steering.strength import Calibration
from circuit.stages.sweep.doses import DAMAGED, DosePoint
from circuit.stages.sweep.experiment import Experiment
from circuit.stages.sweep.result import (
    ControlSlopes,
    LabelSlope,
    PromptBaseline,
    SweepResult,
    SweptDirection,
    Verdict,
)
from circuit.stages.sweep.verdict import verdict, warnings
from circuit.values.intervals import Bounds, Interval

UNSEEN = 0.05  # the rule of three: one minus the confidence for what did not occur


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Divergence and coherence on neutral prompts at each dose."""

    kl_p95: list[float]
    kl_mean: list[float]
    top1: list[float]
    distinct_1: list[float | None]
    distinct_2: list[float | None]
    repeated_4: list[float | None]
    entropy: list[float | None]
    collapsed: list[float | None]
    nll_delta: list[float | None]


@dataclass(frozen=True, kw_only=True)
class Points:
    """The measured points by vector and dose, the prompt baseline, and dose 1's strength."""

    by_name: Mapping[str, Mapping[float, DosePoint]]
    in_words: DosePoint | None
    calibration: Calibration | None
    c_star: float

    def direction(self, doses: Sequence[float]) -> list[DosePoint]:
        """Return the direction's points in the order of ``doses``."""
        return [self.by_name["direction"][dose] for dose in doses]


def summarised(experiment: Experiment, points: Points) -> SweepResult:
    """Compute everything that is said of a sweep."""
    settings, test = experiment.settings, experiment.test
    doses, groups, own = np.array(settings.doses), test.groups(), points.direction(settings.doses)
    n_groups = len(set(groups.tolist()))
    m = np.array([point.m for point in own]).T
    answer = response(doses, m, groups, n_boot=settings.n_boot, seed=settings.seed)
    slope, zero = answer.mean(answer.slopes), settings.doses.index(0)
    against, against_ci = _anti_steerable(answer, n_groups)
    form, mass, curve = shape(doses, m.mean(axis=0)), _mass(own), m.mean(axis=0)
    valid = None if mass is None else float((mass >= LEAST_MASS).mean())
    random, shuffled = (
        _controls(points, kind, doses, slope.value, same_kl=settings.same_kl) for kind in KINDS
    )
    found = SweepResult(
        directions=[_direction(term) for term in experiment.intervention.terms],
        dose_unit=_dose_unit(points.calibration),
        c_star=points.c_star,
        calibration=points.calibration,
        doses=list(settings.doses),
        n_test=len(m),
        n_groups=n_groups,
        readout=experiment.readout.described(test.prompts),
        slope=slope.value,
        slope_ci=(slope.low, slope.high),
        slope_quantiles=np.percentile(answer.slopes, [25, 50, 75]).tolist(),
        anti_steerable_frac=against,
        anti_steerable_ci=against_ci,
        curve=[answer.mean(m[:, k]).as_triple() for k in range(len(doses))],
        change=[answer.mean(m[:, k] - m[:, zero]).as_triple() for k in range(len(doses))],
        rates=_rates(m) if experiment.readout.kind == "criterion" else None,
        **vars(form),
        pmass_min=None if mass is None else float(mass.min()),
        pmass_mean=None if mass is None else mass.mean(axis=1).tolist(),
        valid_frac=valid,
        **vars(_cost(own, zero)),
        efficiency=_efficiency(doses, curve, own),
        by_label=_by_label(experiment, m, doses),
        random=random,
        shuffled=shuffled,
        prompt_baseline=_prompt_baseline(settings.prompt_baseline, points.in_words, answer),
        score=score(slope.value, form.r2, 1.0 if valid is None else valid, len(m)),
        configs_tried=experiment.configs_tried,
        seed=settings.seed,
        m=np.round(m, 5).tolist(),
        warnings=[],
        verdict=Verdict("", ""),
    )
    known = experiment.training_is_known
    return replace(found, warnings=warnings(found, known=known), verdict=verdict(found))


def _direction(term: Term) -> SweptDirection:
    own = term.direction
    return SweptDirection(
        name=own.name,
        site=own.site,
        layer=own.layer,
        method=own.method,
        norm=own.norm,
        positive_label=own.positive_label,
        negative_label=own.negative_label,
        weight=term.weight,
    )


def _dose_unit(calibration: Calibration | None) -> str:
    if calibration is None:
        return "coefficient"
    target = f"{calibration.statistic} = {calibration.target:g} nats"
    return f"c* at KL {target} on neutral prompts"


def _anti_steerable(answer: Response, n_groups: int) -> tuple[float, Bounds]:
    against = answer.mean((answer.slopes < 0).astype(np.float64), (0.0, 1.0))
    # Where every prompt goes the same way no resample differs: the rule of three, over groups.
    unseen = 1 - UNSEEN ** (1 / n_groups)
    low = min(against.low, 1 - unseen) if against.value == 1 else against.low
    high = max(against.high, unseen) if against.value == 0 else against.high
    return against.value, (low, high)


def _rates(m: Array) -> list[Interval]:
    return [(float(k.mean()), *wilson(int(k.sum()), len(k))) for k in m.T]


def _mass(own: Sequence[DosePoint]) -> Array | None:
    """Return the answers' probability (n_doses, n_test), None where the read-out has none."""
    found = [point.pmass for point in own if point.pmass is not None]
    return np.array(found) if found else None


def _cost(own: Sequence[DosePoint], zero: int) -> Cost:
    damage = [point.damage for point in own if point.damage is not None]
    texts = [point.coherence for point in own if point.coherence is not None]
    base = texts[zero].nll
    return Cost(
        kl_p95=[each.kl_p95 for each in damage],
        kl_mean=[each.kl_mean for each in damage],
        top1=[each.top1 for each in damage],
        distinct_1=[each.distinct_1 for each in texts],
        distinct_2=[each.distinct_2 for each in texts],
        repeated_4=[each.repeated_4 for each in texts],
        entropy=[each.entropy for each in texts],
        collapsed=[each.collapsed for each in texts],
        nll_delta=[_difference(each.nll, base) for each in texts],
    )


def _difference(value: float | None, base: float | None) -> float | None:
    return None if value is None or base is None else value - base


def _efficiency(doses: Array, curve: Array, own: Sequence[DosePoint]) -> float | None:
    x = float(doses[doses > 0].min())
    if -x not in doses:
        return None
    high, low = (int(np.flatnonzero(doses == dose)[0]) for dose in (x, -x))
    kl = np.mean([point.damage.kl_mean for point in (own[high], own[low]) if point.damage])
    moved = float(curve[high] - curve[low]) / 2
    return moved / float(np.sqrt(kl)) if kl > 0 else None


def _by_label(experiment: Experiment, m: Array, doses: Array) -> list[LabelSlope]:
    test, settings = experiment.test, experiment.settings
    labels = np.array([prompt.label or "" for prompt in test.prompts])
    listed = []
    for label in [name for name in test.labels if name in labels]:
        rows = labels == label
        groups = test.groups()[rows]
        answer = response(doses, m[rows], groups, n_boot=settings.n_boot, seed=settings.seed)
        slope = answer.mean(answer.slopes)
        listed.append(
            LabelSlope(
                label=label,
                n=int(rows.sum()),
                n_groups=len(set(groups.tolist())),
                slope=slope.value,
                slope_ci=(slope.low, slope.high) if np.isfinite(slope.low) else None,
                curve=m[rows].mean(axis=0).tolist(),
            )
        )
    return listed


def _controls(
    points: Points, kind: str, doses: Array, slope: float, *, same_kl: bool
) -> ControlSlopes:
    """Describe the controls of one kind; at dose 0 they are the direction."""
    found = [each for name, each in points.by_name.items() if name.split(" ")[0] == kind]
    base = points.by_name["direction"][0.0]
    curves = [[float(np.mean(each.get(dose, base).m)) for dose in doses.tolist()] for each in found]
    own = slopes(doses, np.array(curves)) if curves else np.empty(0)
    damage = [each[DAMAGED].damage for each in found if DAMAGED in each]
    return ControlSlopes(
        n=len(found),
        kind=kind,
        same="kl" if same_kl else "norm",
        slopes=own.tolist(),
        slope_p95=float(np.percentile(np.abs(own), 95)) if curves else None,
        perm_p=control_p(slope, own),
        curves=curves,
        kl_p95=[each.kl_p95 for each in damage if each is not None],
    )


def _prompt_baseline(
    text: str | None, in_words: DosePoint | None, answer: Response
) -> PromptBaseline | None:
    if text is None or in_words is None:
        return None
    base = answer.m[:, int(np.flatnonzero(answer.doses == 0)[0])]
    m = np.array(in_words.m)
    delta, mass = answer.mean(m - base), in_words.pmass
    return PromptBaseline(
        text=text,
        m=float(m.mean()),
        delta_m=delta.value,
        delta_ci=(delta.low, delta.high),
        valid_frac=None if mass is None else float(np.mean(np.array(mass) >= LEAST_MASS)),
    )
