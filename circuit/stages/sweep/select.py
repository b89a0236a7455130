"""``steer select``: which direction, layer and strength, chosen on validation prompts under a bound on the damage.

    candidates   every direction of the given files (methods) at every layer, at given shares of its own c*, where the divergence on
                 neutral prompts meets the bound κ (``circuit.stages.steering.strength``)
    effect       Δ = mean over validation prompts of m(c) − m(0), with its interval over groups (``circuit.stages.steering.readout``)
    chosen       the largest Δ, signed, among those whose divergence is at most κ (5 % more, the tolerance of the calibration), whose
                 answers hold half of the probability at half of the prompts or more, and whose layer lies below 80 % of the depth: later
                 ones write the answer's tokens into the output rather than change what the model decides

Arditi et al. 2024 (2406.11717), generalised: they bound the divergence on harmless prompts by 0.1 and leave out the last fifth of the layers. The
effect of the chosen one is the largest of many and therefore too large: report that of ``steer sweep``, on test prompts.

Writes ``circuit.selection/1``, and the chosen direction as a steering file whose manifest says how many configurations were tried.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from circuit.artifacts.files.documents import plain
from circuit.artifacts.manifest.manifest import Run, digest, manifest_path, reusable, write_manifest
from circuit.artifacts.prompts.prompts import PromptSet
from circuit.artifacts.steering_files.files import Direction, write_directions
from circuit.errors import DataError, UsageError
from circuit.methods.steering.dose_response import response
from circuit.stages.rows.holdout import check_size
from circuit.stages.rows.prompting import encode
from circuit.stages.run import Track, untracked
from circuit.stages.steering.intervention import Intervention, Manner, Part
from circuit.stages.steering.neutral import neutral_prompts
from circuit.stages.steering.readout import Reader, Readout, reader
from circuit.stages.steering.rollouts import Neutral, prepared, roll_out
from circuit.stages.steering.strength import TOLERANCE, calibrate, check_target, resolve
from circuit.values import schemas
from circuit.values.prompt_format import PromptFormat

SHARES = (0.5, 1.0)
MAX_DEPTH = 0.8


@dataclass(frozen=True)
class Candidate:
    """A direction at a strength: its effect on validation prompts [Δ, low, high], and its damage."""

    direction: str
    name: str
    layer: int
    method: str | None
    share: float
    coefficient: float
    effect: list[float]
    kl: float
    valid: float | None
    allowed: bool


@dataclass(frozen=True, eq=False)
class Choosing:
    """Candidate directions, the validation prompts and their read-out, and the bound."""

    directions: Sequence[Direction]
    manner: Manner
    validation: PromptSet
    readout: Readout
    form: PromptFormat
    kl: float = 1.0
    shares: tuple[float, ...] = SHARES
    max_depth: float = MAX_DEPTH
    n_boot: int = 1000
    seed: int = 0
    neutral: tuple[str, ...] | None = None  # in place of the built-in neutral texts

    def check(self) -> None:
        """Raise for what makes no choice."""
        check_choice(self.validation, self.readout, self.kl, self.shares, self.max_depth)
        self.manner.check()
        if not self.directions:
            message = "there is no direction to choose"
            raise UsageError(message, hint="give steering files with -d")

    def parameters(self) -> dict[str, Any]:
        """Return every choice, for the manifest."""
        own = ("kl", "shares", "max_depth", "n_boot", "seed", "neutral")
        return {
            **{name: getattr(self, name) for name in own},
            **vars(self.manner),
            "directions": [d.tensor for d in self.directions],
            "readout": self.readout.described(self.validation.prompts),
            "format": asdict(self.form),
        }


def check_choice(
    validation: PromptSet,
    readout: Readout,
    kl: float,
    shares: Sequence[float],
    max_depth: float = MAX_DEPTH,
) -> None:
    """Raise what can be known without the model."""
    readout.check(validation.prompts)
    check_size(validation)
    check_target(kl)
    if not shares or not all(0 < share <= 1 for share in shares):
        message = "the strengths are shares of c*"
        raise UsageError(message, hint='write for example --strengths "0.5,1"')
    if not 0 < max_depth <= 1:
        message = f"{max_depth:g} is not a share of the depth"
        raise UsageError(message, hint="give --max-depth a number up to 1, such as 0.8")


def select(
    model: Any,
    choosing: Choosing,
    *,
    out: Path,
    inputs: Sequence[Path] = (),
    force: bool = False,
    track: Track = untracked,
) -> tuple[dict[str, Any], bool]:
    """Choose, and write ``out`` and the chosen direction beside it; return the results and whether they were there."""
    started = time.perf_counter()
    choosing.check()
    about = {
        "schema": schemas.SELECTION,
        "parameters": {
            **choosing.parameters(),
            "tokenizer_sha256": model.tokenizer_identity.files_sha256,
        },
        "inputs": [path if path.is_file() else manifest_path(path) for path in inputs],
        "model": model.identity,
    }
    if (found := reusable(out, **about, force=force)) is not None:
        return found.results, True
    candidates = measured(model, choosing, track)
    best = the_best(candidates, choosing.kl)
    results: dict[str, Any] = plain(
        {
            "candidates": [asdict(each) for each in candidates],
            "chosen": asdict(best),
            "configs_tried": len(candidates),
            "n_validation": len(choosing.validation.prompts),
            "n_groups": len(set(choosing.validation.groups().tolist())),
        }
    )
    common: dict[str, Any] = {
        "model": model.identity,
        "tokenizer": model.tokenizer_identity,
        "run": Run.since(started),
        "force": force,
    }
    files = about["inputs"]
    _write_chosen(chosen_path(out), choosing, best, results, files, common)
    write_manifest(
        out,
        **{k: v for k, v in about.items() if k != "model"},
        outputs=[chosen_path(out).with_suffix(".safetensors"), chosen_path(out)],
        results=results,
        **common,
    )
    return results, False


def chosen_path(out: Path) -> Path:
    """Return where the chosen direction goes: ``x.direction.json`` beside ``x.json``."""
    return out.with_name(f"{out.name.removesuffix('.json')}.direction.json")


def _write_chosen(
    path: Path,
    choosing: Choosing,
    best: Candidate,
    results: dict[str, Any],
    inputs: Sequence[Path],
    common: dict[str, Any],
) -> None:
    direction = next(
        d for d in choosing.directions if (d.tensor, d.method) == (best.direction, best.method)
    )
    validation = [digest(each) for each in inputs if each.suffix == ".json"][-1:]
    selection = {
        "configs_tried": results["configs_tried"],
        "coefficient": best.coefficient,
        "kl": best.kl,
        "effect": best.effect,
        "validation_sha256": validation[0] if validation else None,
    }
    extra = {**direction.extra, "recommended": True, "selection": selection}
    write_directions(
        path,
        [replace(direction, extra=extra)],
        parameters={"selection": selection, **choosing.parameters()},
        inputs=inputs,
        **common,
    )


def measured(model: Any, choosing: Choosing, track: Track = untracked) -> list[Candidate]:
    """Measure every candidate."""
    encoded = encode(model, choosing.validation.texts, choosing.form)
    reads = reader(model, choosing.readout, choosing.validation.prompts, encoded)
    neutral = prepared(model, neutral_prompts(model, choosing.form, choosing.neutral))
    base: Any = None
    candidates: list[Candidate] = []
    directions = list(choosing.directions)
    for direction in track(directions, "Choosing", len(directions)):
        intervention = resolve(model, [Part(direction)], choosing.manner, choosing.form)
        base = reads.measure(intervention, 0.0) if base is None else base
        candidates += _of(model, choosing, direction, intervention, reads, neutral, base)
    return candidates


def _of(
    model: Any,
    choosing: Choosing,
    direction: Direction,
    intervention: Intervention,
    reads: Reader,
    neutral: Neutral,
    base: Any,
) -> list[Candidate]:
    """Measure one direction at each share of its c*."""
    shallow = direction.layer < choosing.max_depth * model.n_layers
    star = calibrate(model, intervention, neutral, target=choosing.kl, sign=1)
    listed = []
    for share in choosing.shares:
        c = share * star.coefficient
        kl = star.kl if share == 1 else roll_out(model, intervention, c, neutral).statistic("p95")
        found = reads.measure(intervention, c)
        valid = None if found.pmass is None else float(found.valid.mean())
        bounded = kl <= choosing.kl * (1 + TOLERANCE)
        allowed = shallow and bounded and (valid is None or valid >= 0.5)
        effect = _mean(found.m - base.m, choosing)
        about = (direction.tensor, direction.name, direction.layer, direction.method)
        listed.append(Candidate(*about, share, c, effect, kl, valid, allowed))
    return listed


def _mean(values: Any, choosing: Choosing) -> list[float]:
    doses = np.array([0.0, 1.0])
    m = np.stack([np.zeros(len(values)), values], axis=1)
    groups = choosing.validation.groups()
    return (
        response(doses, m, groups, n_boot=choosing.n_boot, seed=choosing.seed)
        .mean(values)
        .as_list()
    )


def the_best(candidates: Sequence[Candidate], kl: float) -> Candidate:
    """Return the allowed candidate of the largest effect; raise ``DataError`` where none is allowed."""
    allowed = [each for each in candidates if each.allowed]
    if not allowed:
        message = f"none of {len(candidates)} candidates is shallow enough and keeps the divergence at {kl:g} nats with answers that are readable"
        raise DataError(message, hint="raise --kl, or change the answers of the read-out")
    return max(allowed, key=lambda each: each.effect[0])
