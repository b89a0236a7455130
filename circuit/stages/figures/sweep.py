"""Pictures of a sweep, each with its numbers.

dose_response.png   the read-out against the dose, over random and shuffled-label directions
frontier.png        effect against damage: divergence on neutral text, and how unlikely the steered text is to the model as it is

and of several sweeps ``steering.png``, small multiples of the first.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from circuit.artifacts.files.documents import plain
from circuit.artifacts.manifest.manifest import (
    Run,
    reusable,
    write_manifest,
)
from circuit.plots.dose import Dose, dose_response
from circuit.plots.frontier import Points, frontier
from circuit.plots.style import png
from circuit.stages.figures.archive import Picture, described_picture, write_picture
from circuit.stages.steering.controls import KINDS
from circuit.stages.sweep.results import read_sweep
from circuit.stages.sweep.units import DAMAGED
from circuit.values import schemas

Record = dict[str, Any]


def sweep_pictures(results: Record) -> list[Picture]:
    """Everything that is drawn of one sweep: see ``circuit.stages.figures.reports``."""
    return [response_picture(results), frontier_picture(results)]


def visualize_sweeps(
    sweeps: Mapping[str, Path], out: Path, *, force: bool = False
) -> tuple[Record, bool]:
    """Draw several sweeps, by name, as small multiples."""
    started = time.perf_counter()
    manifests = {name: read_sweep(path) for name, path in sweeps.items()}
    about: dict[str, Any] = {
        "schema": schemas.PLOTS,
        "parameters": {"sweeps": list(sweeps)},
        "inputs": list(sweeps.values()),
    }
    target = out / "plots.json"
    found = reusable(target, **about, force=force)
    if found is not None:
        return found.results, True
    picture = multiples_picture({name: each.results for name, each in manifests.items()})
    results = {"figures": [plain(described_picture(picture))]}
    write_manifest(
        target,
        **about,
        outputs=write_picture(picture, out, force),
        results=results,
        model=next(iter(manifests.values())).model,
        run=Run.since(started),
        force=force,
    )
    return results, False


def response_picture(results: Record) -> Picture:
    """The read-out against the dose."""
    named = title(results)
    low, high = results["slope_ci"]
    figure = dose_response(
        [dose_of(named, results, prompts=True)], ylabel=measure(results["readout"])
    )
    caption = (
        f"{named}: mean read-out at each dose; band: 95 % interval of the change from dose 0, over {results['n_groups']} groups of "
        f"{results['n_test']} test prompts; "
        f"slope {results['slope']:.3f} [{low:.3f}, {high:.3f}] per dose, {results['dose_unit']}. Bands: all of "
        f"{results['random']['n']} random and {results['shuffled']['n']} shuffled-label directions of the same {results['random']['same']}. "
        f"{results['verdict']['text']}"
    )
    numbers = {name: results[name] for name in ("doses", "curve", "random", "shuffled")}
    return Picture("dose_response", png(figure), caption, numbers)


def frontier_picture(results: Record) -> Picture:
    """The effect against two kinds of damage."""
    doses, curve = np.array(results["doses"]), np.array(results["curve"])[:, 0]
    effect = curve - curve[doses == 0]
    label = f"Change of {measure(results['readout'])}"
    drawings = [
        Points(
            doses,
            effect,
            np.array(results["kl_p95"]),
            {kind: _controls(results[kind], doses, curve) for kind in KINDS},
            label,
            "KL on neutral text, p95 (nats)",
        )
    ]
    if None not in results["nll_delta"]:
        nll = np.array(results["nll_delta"])
        drawings.append(Points(doses, effect, nll, {}, label, "ΔNLL of what is written (nats)"))
    caption = (
        f"{title(results)}: what each dose does to the read-out, against its damage on neutral text. a: the 95th percentile of the divergence "
        "per token, with controls at dose 1. b: how much less likely the steered text is to the model without steering. Root scale."
    )
    names = ("doses", "curve", "kl_p95", "nll_delta")
    return Picture("frontier", png(frontier(drawings)), caption, {n: results[n] for n in names})


def multiples_picture(sweeps: Mapping[str, Record]) -> Picture:
    """Several sweeps as small multiples; each has its own scale of the read-out."""
    drawn = [dose_of(name, results, note=_note(results)) for name, results in sweeps.items()]
    figure = dose_response(drawn, ylabel="Read-out")
    caption = (
        "Held-out read-out against the dose in units of c*. Line: the direction, with the 95 % interval of its change from dose 0 over groups of prompts; bands: all "
        "random (grey) and all shuffled-label (yellow, hatched) directions of the same norm. Under each name: what is read, and the verdict."
    )
    numbers = {
        name: {
            key: results[key]
            for key in ("doses", "curve", "change", "slope", "slope_ci", "verdict")
        }
        for name, results in sweeps.items()
    }
    return Picture("steering", png(figure), caption, numbers)


def _note(results: Record) -> str:
    what = "share" if results["readout"]["kind"] == "criterion" else "log-odds"
    return f"{what}; {results['verdict']['word']}"


def title(results: Record) -> str:
    """Name what was steered."""
    return ", ".join(f"{d['name']} at layer {d['layer']}" for d in results["directions"])


def measure(readout: Record) -> str:
    """Name the read-out as an axis does."""
    if readout["kind"] == "criterion":
        return "share of texts that meet the criterion"
    return "log p(positive) − log p(negative)"


def dose_of(name: str, results: Record, *, prompts: bool = False, note: str = "") -> Dose:
    """Return what is drawn of a sweep."""
    single = prompts and results["readout"]["kind"] != "criterion"
    asked = results["prompt_baseline"]
    k = len(results["doses"])
    unsteered = results["curve"][results["doses"].index(0)][0]
    return Dose(
        name,
        np.array(results["doses"]),
        unsteered + np.array(results["change"]),
        _curves(results["random"]["curves"], k),
        _curves(results["shuffled"]["curves"], k),
        np.array(results["m"]) if single else None,
        None if asked is None else asked["m"],
        note,
    )


def _curves(curves: Sequence[Sequence[float]], k: int) -> Any:
    return np.array(curves, dtype=np.float64).reshape(-1, k)


def _controls(found: Record, doses: Any, curve: Any) -> Any:
    """Effect and damage of every control at dose 1, (n, 2); empty where that is no dose."""
    base = float(curve[doses == 0][0])
    at = np.flatnonzero(doses == DAMAGED)
    ends = zip(found["curves"], found["kl_p95"], strict=True) if len(at) else []
    points = [(values[int(at[0])] - base, kl) for values, kl in ends]
    return np.array(points, dtype=np.float64).reshape(-1, 2)
