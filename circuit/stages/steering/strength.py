"""Iso-KL strength: the coefficient c* at which steering changes neutral text by a given divergence.

    c*   where the 95th percentile of KL_t over rollouts on neutral prompts (``circuit.stages.steering.rollouts``) is 1 nat

found for + and for − by ``circuit.methods.steering.root`` to within 5 %, in at most 12 evaluations each; both differ, because a model is
not symmetric. c* is the smaller of the two, so that neither side of a symmetric range of doses does more than the target; a
sign may be asked for instead. Doses in units of c* can be compared between directions, layers and models.
A divergence near the target does not prove that the text is whole: read it, or look at its coherence (``steer sweep``).

``circuit.calibration/1`` holds both sides with the history of every evaluation.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from circuit.artifacts.directions.direction import Direction
from circuit.artifacts.files.documents import plain
from circuit.artifacts.manifest.manifest import Run, manifest_path, reusable, write_manifest
from circuit.errors import UsageError
from circuit.methods.steering.root import Root, solve
from circuit.stages.steering.intervention import Intervention, Manner, Part, kl_target
from circuit.stages.steering.rollouts import Neutral, percentile, prepared, roll_out
from circuit.values import schemas
from circuit.values.prompt_format import PromptFormat
from circuit.values.sites import Site

TARGET, STATISTIC, N_TOKENS = 1.0, "p95", 20
TOLERANCE, EVALUATIONS = 0.05, 12
SMALLEST, LARGEST = 2.0**-10, 2.0**6  # coefficients to search between
SIDES = {"+": 1, "-": -1}


@dataclass(frozen=True)
class Calibration:
    """c* and the divergence there; ``sides`` has what was found for + and for −, or for the one that was asked for."""

    coefficient: float
    kl: float
    status: str
    sides: dict[str, Root]
    target: float
    statistic: str
    n_tokens: int
    n_prompts: int

    @property
    def converged(self) -> bool:
        """Whether every side landed on the target."""
        return all(side.converged for side in self.sides.values())

    def as_dict(self) -> dict[str, Any]:
        """Return what goes into a file."""
        sides = {
            sign: {
                "coefficient": SIDES[sign] * side.c,
                "kl": side.value,
                "status": side.status,
                "history": [[SIDES[sign] * c, kl] for c, kl in side.history],
            }
            for sign, side in self.sides.items()
        }
        return {**vars(self), "sides": sides}

    @classmethod
    def of(cls, record: dict[str, Any]) -> "Calibration":
        """Read what ``as_dict`` gave."""
        sides = {
            sign: Root(
                abs(side["coefficient"]),
                side["kl"],
                side["status"],
                tuple((abs(c), kl) for c, kl in side["history"]),
            )
            for sign, side in record["sides"].items()
        }
        return cls(**{**record, "sides": sides})


def calibrate(
    model: Any,
    intervention: Intervention,
    prompts: Sequence[Any] | Neutral,
    *,
    target: float = TARGET,
    n_tokens: int = N_TOKENS,
    statistic: str = STATISTIC,
    sign: int = 0,
) -> Calibration:
    """Find c* of an intervention, on encoded neutral prompts; ``sign`` +1 or −1 asks for one side only."""
    from circuit.model.interventions.operators import find_operator

    check_target(target, statistic)
    neutral = prompts if isinstance(prompts, Neutral) else prepared(model, prompts, n_tokens)
    most = min(LARGEST, find_operator(intervention.manner.operator).largest)
    sides: dict[str, Root] = {}
    start = 0.4
    for name in (name for name, side in SIDES.items() if sign in (0, side)):

        def divergence(c: float, side: int = SIDES[name]) -> float:
            return roll_out(model, intervention, side * c, neutral).statistic(statistic)

        sides[name] = solve(
            divergence,
            target,
            start=start,
            bounds=(SMALLEST, most),
            tolerance=TOLERANCE,
            evaluations=EVALUATIONS,
        )
        start = sides[name].c
    chosen = min(sides.values(), key=lambda side: side.c)
    status = next((s.status for s in sides.values() if not s.converged), "converged")
    return Calibration(
        chosen.c,
        chosen.value,
        status,
        sides,
        target,
        statistic,
        neutral.n_tokens,
        len(neutral.prompts),
    )


def calibrated(
    model: Any, intervention: Intervention, neutral: Sequence[Any] | Neutral, target: float
) -> tuple[Intervention, Calibration]:
    """Return the intervention with coefficient 1 at c*, as the rule ``kl:X`` means it, and how that was found."""
    found = calibrate(model, intervention, neutral, target=target)
    return replace(intervention, factor=intervention.factor * found.coefficient), found


def refuse_calibrated(rule: str) -> None:
    """Raise for a rule that calibrates by itself, where the strength is what is being looked for."""
    if kl_target(rule) is not None:
        message = f"`--rule {rule}` is calibrated already"
        raise UsageError(message, hint="give the divergence with --kl, and leave out --rule")


def check_target(target: float, statistic: str = STATISTIC) -> None:
    """Raise ``UsageError`` for a divergence that is not one."""
    if not 0 < target < math.inf:
        message = f"{target:g} is no KL divergence to calibrate to"
        raise UsageError(message, hint="give a positive number of nats, such as 1.0")
    percentile(statistic)


@dataclass(frozen=True, eq=False)
class Request:
    """What is calibrated, and on what; ``about`` says in which format and on which prompts."""

    intervention: Intervention
    neutral: Neutral
    about: dict[str, Any]
    target: float = TARGET
    statistic: str = STATISTIC
    sign: int = 0

    def parameters(self) -> dict[str, Any]:
        """Return every choice, for the manifest."""
        return {
            **self.about,
            "intervention": self.intervention.described(),
            "target": self.target,
            "statistic": self.statistic,
            "sign": self.sign,
            "n_tokens": self.neutral.n_tokens,
        }


def run_calibration(
    model: Any, request: Request, *, out: Path | None, inputs: Sequence[Path], force: bool = False
) -> tuple[dict[str, Any], bool]:
    """Return the results of a calibration, and whether they were in ``out`` already."""
    started = time.perf_counter()
    about = {
        "schema": schemas.CALIBRATION,
        "parameters": request.parameters(),
        "inputs": [path if path.is_file() else manifest_path(path) for path in inputs],
        "model": model.identity,
    }
    if out is not None and (found := reusable(out, **about, force=force)) is not None:
        return found.results, True
    results: dict[str, Any] = plain(
        calibrate(
            model,
            request.intervention,
            request.neutral,
            target=request.target,
            statistic=request.statistic,
            sign=request.sign,
        ).as_dict()
    )
    if out is not None:
        write_manifest(
            out,
            **about,
            results=results,
            tokenizer=model.tokenizer_identity,
            run=Run.since(started),
            force=force,
        )
    return results, False


# Methods whose vector is the difference of the means, so that its natural length is the distance along it.
_MEANS = ("mean_diff", "mean_centered", "pair", "single")


def resolve(model: Any, parts: Sequence[Part], manner: Manner, form: PromptFormat) -> Intervention:
    """Find what coefficient 1 is for each direction, with neutral prompts in ``form`` where a rule needs them.

    Raises ``UsageError`` when a direction does not say what its rule needs.
    """
    from circuit.stages.steering.neutral import neutral_prompts

    manner.check()
    units = (
        _median_norms(model, parts, neutral_prompts(model, form))
        if manner.rule == "median-norm"
        else [_unit(part.direction, manner.rule) for part in parts]
    )
    resolved = [replace(part, unit=unit) for part, unit in zip(parts, units, strict=True)]
    found = Intervention(tuple(resolved), manner)
    target = kl_target(manner.rule)
    if target is None:
        return found
    from circuit.stages.steering.strength import calibrated

    return calibrated(model, found, neutral_prompts(model, form), target)[0]


def _unit(direction: Direction, rule: str) -> float | None:
    if rule == "raw":
        return direction.norm
    if rule != "projection":
        return None
    along = direction.extra.get("along")
    if along is None and direction.method in _MEANS:
        along = direction.norm
    if along is None:
        message = (
            f"direction `{direction.name}` does not say how far the classes lie apart along it"
        )
        raise UsageError(message, hint="fit it with `circuit directions`, or use --rule raw")
    return float(along)


def _median_norms(model: Any, parts: Sequence[Part], neutral: Sequence[Any]) -> list[float | None]:
    from circuit.model.forward.norms import median_norms

    sites = [Site(part.direction.site, part.direction.layer) for part in parts]
    found = median_norms(model, neutral, list(dict.fromkeys(sites)))
    return [found[site] for site in sites]
