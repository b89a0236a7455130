"""The results of a sweep: what ``circuit.sweep/2`` says of the measured units.

    slope, slope_ci       mean per-prompt slope of m on the dose x = c/c*, 95 % bootstrap over groups; negative: it steers the wrong way
    anti_steerable_frac   share of prompts whose own slope is negative; slope_quantiles: 25, 50 and 75 % of the prompts
    curve, change         mean m at each dose, and its change from dose 0, which is paired, with their intervals; for a criterion ``rates`` has Wilson's interval, which counts prompts
    r2 … linear_range     of the mean curve (``circuit.methods.steering.dose_response``)
    pmass_min, valid_frac of all points; null where the read-out has no other answers
    kl_p95 … nll_delta    on neutral prompts at each dose; nll_delta and the repetitions are to be read against dose 0
    efficiency            Δm/√KL at the smallest doses, ½ (m(x) − m(−x)) / √(mean of the KLs at ±x): needs no calibration
    random, shuffled      their slopes, curves and divergence at dose 1, slope_p95 of |slope|, and perm_p
    prompt_baseline       what asking for it in words does: delta_m with its interval
    score                 seed 002's, repaired: slope · r2 · valid², null under 30 prompts

Model, tokenizer and chat template are in the manifest, ``vector_sha256`` and the token scope in its parameters.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from circuit.artifacts.manifest.manifest import Manifest, check_outputs, read_manifest
from circuit.artifacts.prompts.prompts import PromptSet
from circuit.methods.steering.dose_response import Response, response, score, shape, slopes
from circuit.methods.uncertainty.p_values import control_p
from circuit.methods.uncertainty.scores import wilson
from circuit.stages.rows.questions import Array
from circuit.stages.steering.controls import KINDS
from circuit.stages.steering.readout import LEAST_MASS
from circuit.stages.steering.strength import Calibration
from circuit.stages.sweep.units import DAMAGED
from circuit.stages.sweep.verdict import verdict, warnings
from circuit.values import schemas

if TYPE_CHECKING:
    from circuit.stages.sweep.job import Job

Record = dict[str, Any]
DAMAGE = (
    "kl_p95",
    "kl_mean",
    "top1",
    "distinct_1",
    "distinct_2",
    "repeated_4",
    "entropy",
    "collapsed",
)


def summarised(
    job: "Job",
    found: Mapping[str, Mapping[float, Record]],
    asked: Record | None,
    calibration: Calibration | None,
    c_star: float,
    known: bool,
) -> Record:
    """Put the results together from the units of every vector, by name and dose."""
    choices, own = job.choices, found["direction"]
    doses, groups = np.array(choices.doses), job.test.groups()
    m = _matrix(own, choices.doses)
    answer = response(doses, m, groups, n_boot=choices.n_boot, seed=choices.seed)
    slope = answer.mean(answer.slopes)
    curve, zero = m.mean(axis=0), choices.doses.index(0)
    results: Record = {
        "directions": [_described(part) for part in job.intervention.parts],
        "dose_unit": "coefficient"
        if calibration is None
        else f"c* at KL {calibration.statistic} = {calibration.target:g} nats on neutral prompts",
        "c_star": c_star,
        "calibration": None if calibration is None else calibration.as_dict(),
        "doses": list(choices.doses),
        "n_test": len(m),
        "n_groups": len(set(groups.tolist())),
        "readout": job.readout.described(job.test.prompts),
        "slope": slope.value,
        "slope_ci": [slope.low, slope.high],
        "slope_quantiles": np.percentile(answer.slopes, [25, 50, 75]).tolist(),
        **_anti(answer, len(set(groups.tolist()))),
        "curve": [answer.mean(m[:, k]).as_list() for k in range(len(doses))],
        "change": [answer.mean(m[:, k] - m[:, zero]).as_list() for k in range(len(doses))],
        "rates": _rates(m) if job.readout.kind == "criterion" else None,
        **dict(shape(doses, curve)),
        **_mass(own, choices.doses),
        **_damage(own, choices.doses),
        "efficiency": _efficiency(doses, curve, own),
        "by_label": _by_label(job.test, m, choices.n_boot, choices.seed, doses),
    }
    for kind in KINDS:
        results[kind] = _null(found, kind, doses, slope.value, same_kl=choices.same_kl)
    results["prompt_baseline"] = _prompt_baseline(choices.prompt_baseline, asked, answer)
    valid = results["valid_frac"]
    results["score"] = score(slope.value, results["r2"], 1.0 if valid is None else valid, len(m))
    results["configs_tried"] = job.configs_tried
    results["seed"] = choices.seed
    results["m"] = np.round(m, 5)
    results["warnings"] = warnings(results, known=known)
    return {**results, "verdict": verdict(results)}


def _described(part: Any) -> Record:
    named = ("name", "site", "layer", "method", "norm", "positive_label", "negative_label")
    return {**{name: getattr(part.direction, name) for name in named}, "weight": part.weight}


def _matrix(units: Mapping[float, Record], doses: Sequence[float]) -> Array:
    return np.array([units[dose]["m"] for dose in doses]).T


def _anti(answer: Response, n_groups: int) -> Record:
    against = answer.mean((answer.slopes < 0).astype(np.float64), (0.0, 1.0))
    # Where every prompt goes the same way no resample differs: the rule of three, over groups.
    unseen = 1 - 0.05 ** (1 / n_groups)
    low = min(against.low, 1 - unseen) if against.value == 1 else against.low
    high = max(against.high, unseen) if against.value == 0 else against.high
    return {"anti_steerable_frac": against.value, "anti_steerable_ci": [low, high]}


def _rates(m: Array) -> list[list[float]]:
    return [[float(k.mean()), *wilson(int(k.sum()), len(k))] for k in m.T]


def _mass(units: Mapping[float, Record], doses: Sequence[float]) -> Record:
    if units[0.0]["pmass"] is None:
        return {"pmass_min": None, "pmass_mean": None, "valid_frac": None}
    mass = np.array([units[dose]["pmass"] for dose in doses])
    return {
        "pmass_min": float(mass.min()),
        "pmass_mean": mass.mean(axis=1).tolist(),
        "valid_frac": float((mass >= LEAST_MASS).mean()),
    }


def _damage(units: Mapping[float, Record], doses: Sequence[float]) -> Record:
    base = units[0.0]["nll"]
    nll = [units[dose]["nll"] for dose in doses]
    return {
        **{name: [units[dose][name] for dose in doses] for name in DAMAGE},
        "nll_delta": [None if None in (base, each) else each - base for each in nll],
    }


def _efficiency(doses: Array, curve: Array, units: Mapping[float, Record]) -> float | None:
    x = float(doses[doses > 0].min())
    if -x not in doses:
        return None
    kl = (units[x]["kl_mean"] + units[-x]["kl_mean"]) / 2
    moved = float(curve[doses == x][0] - curve[doses == -x][0]) / 2
    return moved / float(np.sqrt(kl)) if kl > 0 else None


def _by_label(test: PromptSet, m: Array, n_boot: int, seed: int, doses: Array) -> list[Record]:
    labels = np.array([prompt.label or "" for prompt in test.prompts])
    listed = []
    for label in [name for name in test.labels if name in labels]:
        rows = labels == label
        answer = response(doses, m[rows], test.groups()[rows], n_boot=n_boot, seed=seed)
        slope = answer.mean(answer.slopes)
        known = np.isfinite(slope.low)
        listed.append(
            {
                "label": label,
                "n": int(rows.sum()),
                "n_groups": len(set(test.groups()[rows].tolist())),
                "slope": slope.value,
                "slope_ci": [slope.low, slope.high] if known else None,
                "curve": m[rows].mean(axis=0).tolist(),
            }
        )
    return listed


def _null(
    found: Mapping[str, Mapping[float, Record]],
    kind: str,
    doses: Array,
    slope: float,
    *,
    same_kl: bool,
) -> Record:
    """Describe the controls of one kind; at dose 0 they are the direction."""
    names = [name for name in found if name.split(" ")[0] == kind]
    base = found["direction"][0.0]
    curves = [
        [float(np.mean((found[name].get(dose) or base)["m"])) for dose in doses.tolist()]
        for name in names
    ]
    of_curves = slopes(doses, np.array(curves)) if curves else np.empty(0)
    return {
        "n": len(names),
        "kind": kind,
        "same": "kl" if same_kl else "norm",
        "slopes": of_curves.tolist(),
        "slope_p95": float(np.percentile(np.abs(of_curves), 95)) if curves else None,
        "perm_p": control_p(slope, of_curves),
        "curves": curves,
        "kl_p95": [found[name][DAMAGED]["kl_p95"] for name in names if DAMAGED in found[name]],
    }


def _prompt_baseline(text: str | None, asked: Record | None, answer: Response) -> Record | None:
    if asked is None:
        return None
    base = answer.m[:, int(np.flatnonzero(answer.doses == 0)[0])]
    m = np.array(asked["m"])
    delta = answer.mean(m - base)
    mass = asked["pmass"]
    return {
        "text": text,
        "m": float(m.mean()),
        "delta_m": delta.value,
        "delta_ci": [delta.low, delta.high],
        "valid_frac": None if mass is None else float(np.mean(np.array(mass) >= LEAST_MASS)),
    }


def read_sweep(path: Path) -> Manifest:
    """Read what ``steer sweep`` wrote."""
    manifest = read_manifest(path, schemas.SWEEP)
    check_outputs(path, manifest)
    return manifest
