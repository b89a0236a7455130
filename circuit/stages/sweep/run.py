"""``steer sweep``: the held-out dose-response of a steering, beside what should not steer, with what it costs.

    1. train, validation and test prompts share no group (``circuit.stages.rows.holdout``); the test prompts are used here and nowhere else
    2. the strength: c*, at which the divergence on neutral prompts is 1 nat (``circuit.stages.steering.strength``), or a given one
    3. the read-out m of every test prompt at every dose x = c/c* (``circuit.stages.steering.readout``), and of random and shuffled-label
       directions at the same doses (``circuit.stages.steering.controls``), and of the prompt that asks for the same in words
    4. on neutral prompts, at every dose, divergence and coherence (``circuit.stages.steering.rollouts``)
    5. slopes, intervals, nulls and a verdict in words (``circuit.stages.sweep.results``)

Writes ``circuit.sweep/1``. A run that was interrupted goes on where it was.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from circuit.artifacts.files.documents import plain
from circuit.artifacts.files.units import Units
from circuit.artifacts.manifest.manifest import Run, manifest_path, reusable, write_manifest
from circuit.artifacts.prompts.prompts import PromptSet
from circuit.errors import UsageError
from circuit.stages.rows.holdout import check_apart
from circuit.stages.rows.prompting import Format, encode
from circuit.stages.rows.provenance import Fit, shuffled_vectors, training_prompts
from circuit.stages.rows.questions import Note, silent
from circuit.stages.run import Track, untracked
from circuit.stages.steering.controls import Control, controls
from circuit.stages.steering.intervention import Intervention
from circuit.stages.steering.neutral import neutral_prompts
from circuit.stages.steering.readout import Readout, reader
from circuit.stages.steering.rollouts import prepared
from circuit.stages.steering.strength import Calibration, calibrate, check_target
from circuit.stages.sweep.results import check_size, summarised
from circuit.stages.sweep.units import Bench, control_at, measured, planned

SCHEMA = "circuit.sweep/1"
DOSES = (-1.5, -1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0, 1.5)


@dataclass(frozen=True)
class Choices:
    """What decides the numbers, besides direction, prompts and read-out; ``strength`` takes the place of calibration."""

    doses: tuple[float, ...] = DOSES
    kl: float = 1.0
    strength: float | None = None
    n_random: int = 10
    n_shuffled: int = 10
    same_kl: bool = False
    prompt_baseline: str | None = None
    n_tokens: int = 20
    n_boot: int = 1000
    seed: int = 0

    def check(self) -> None:
        """Raise ``UsageError`` for doses and strengths that make no sweep."""
        if not all(math.isfinite(dose) for dose in self.doses):
            message = "a dose is not a finite number"
            raise UsageError(message, hint='write for example --doses "-1,-0.5,0,0.5,1"')
        if list(self.doses) != sorted(set(self.doses)) or 0 not in self.doses:
            message = "the doses do not rise, or lack 0"
            raise UsageError(message, hint='write for example --doses "-1,-0.5,0,0.5,1"')
        if sum(dose > 0 for dose in self.doses) < 2 or sum(dose < 0 for dose in self.doses) < 2:
            message = "a sweep needs two doses and more on either side of 0"
            raise UsageError(message, hint='write for example --doses "-1,-0.5,0,0.5,1"')
        check_target(self.kl)
        if self.strength is not None and not 0 < self.strength < math.inf:
            message = f"{self.strength:g} is not the strength of dose 1"
            raise UsageError(message, hint="give a positive number, or leave it to --kl")
        if self.strength is not None and self.same_kl:
            message = "controls of the same KL need a direction that is calibrated"
            raise UsageError(message, hint="leave out --dose-one or --same-kl")


@dataclass(frozen=True, eq=False)
class Job:
    """A resolved intervention, the test prompts and their read-out, and what must share nothing with them."""

    intervention: Intervention
    test: PromptSet
    readout: Readout
    form: Format
    choices: Choices = field(default_factory=Choices)
    others: Mapping[str, PromptSet] = field(default_factory=dict)  # train, validation
    fits: Sequence[Fit | None] = ()  # what each part was fitted to, where that is known
    archive: Path | None = None
    configs_tried: int | None = None
    neutral: tuple[str, ...] | None = None  # in place of the built-in neutral texts

    def parameters(self) -> dict[str, Any]:
        """Return every choice, for the manifest."""
        return {
            **asdict(self.choices),
            "intervention": self.intervention.described(),
            "readout": self.readout.described(self.test.prompts),
            "format": asdict(self.form),
            "configs_tried": self.configs_tried,
            "neutral": self.neutral,
        }


def sweep(
    model: Any,
    job: Job,
    *,
    out: Path | None = None,
    inputs: Sequence[Path] = (),
    force: bool = False,
    note: Note = silent,
    track: Track = untracked,
) -> tuple[dict[str, Any], bool]:
    """Return the results of a sweep, and whether they were in ``out`` already."""
    started = time.perf_counter()
    about = {
        "parameters": {
            **job.parameters(),
            "tokenizer_sha256": model.tokenizer_identity.files_sha256,
        },
        "inputs": [path if path.is_file() else manifest_path(path) for path in inputs],
        "model": model.identity,
    }
    if (
        out is not None
        and (found := reusable(out, schema=SCHEMA, **about, force=force)) is not None
    ):
        return found.results, True
    _check(job)
    covers = {**about, "inputs": _digests(about["inputs"])}
    units = Units(out, plain(covers))
    results: dict[str, Any] = plain(_measured(model, job, units, note, track))
    if out is not None:
        write_manifest(
            out,
            schema=SCHEMA,
            **about,
            results=results,
            tokenizer=model.tokenizer_identity,
            run=Run.since(started),
            force=force,
        )
    units.discard()
    return results, False


def check_asked(test: PromptSet, readout: Readout, choices: Choices) -> None:
    """Raise for choices that make no sweep, a read-out that the prompts cannot have, and too few groups."""
    choices.check()
    readout.check(test.prompts)
    check_size(test)


def _check(job: Job) -> None:
    check_asked(job.test, job.readout, job.choices)
    check_apart({**job.others, "test": job.test})
    for fit in job.fits:
        if (fitted := training_prompts(fit)) is not None:
            check_apart({"training": fitted, "test": job.test})


def _digests(paths: Sequence[Path]) -> list[str]:
    from circuit.artifacts.manifest.manifest import digest

    return [digest(path) for path in paths]


def _measured(model: Any, job: Job, units: Units, note: Note, track: Track) -> dict[str, Any]:
    choices = job.choices
    known = (bool(job.fits) and None not in job.fits) or "train" in job.others
    if not known:
        note("the prompts that the direction was fitted to are not known: give them with --train")
    bench = Bench(
        model,
        reader(model, job.readout, job.test.prompts, encode(model, job.test.texts, job.form)),
        prepared(model, neutral_prompts(model, job.form, job.neutral), choices.n_tokens),
        choices.doses,
    )
    calibration = _calibration(bench, job, units)
    if calibration is not None and not calibration.converged:
        note(f"the calibration did not land on {choices.kl:g} nats: {calibration.status}")
    c_star = choices.strength if calibration is None else calibration.coefficient
    before = job.intervention.factor
    steering = replace(job.intervention, factor=before * (c_star or 1.0))
    target = choices.kl if choices.same_kl else None
    beside = [
        control_at(bench, control, units, target, before) for control in _controls(job, steering)
    ]
    plan = list(planned(bench, steering, beside))
    found: dict[str, dict[float, Any]] = {}
    for name, dose, work in track(plan, "Measuring", len(plan)):
        found.setdefault(name, {})[dose] = units.get(f"{name} at {dose:g}", work)
    asked = None
    if choices.prompt_baseline is not None:
        asked = units.get("prompt", lambda: _asked_for(model, job))
    return summarised(job, found, asked, calibration, c_star or 1.0, known)


def _calibration(bench: Bench, job: Job, units: Units) -> Calibration | None:
    if job.choices.strength is not None:
        return None

    def measure() -> dict[str, Any]:
        found = calibrate(bench.model, job.intervention, bench.neutral, target=job.choices.kl)
        return found.as_dict()

    return Calibration.of(units.get("calibration", measure))


def _controls(job: Job, steering: Intervention) -> list[Control]:
    choices = job.choices
    of_parts = job.fits or [None] * len(steering.parts)
    shuffled = [
        shuffled_vectors(part.direction, fit, job.archive, choices.n_shuffled, choices.seed)
        for part, fit in zip(steering.parts, of_parts, strict=True)
    ]
    return controls(steering, choices.n_random, shuffled, choices.seed)


def _asked_for(model: Any, job: Job) -> dict[str, Any]:
    """Read the test prompts when the same is asked for in words: by a system message, or before a raw text."""
    text = str(job.choices.prompt_baseline)
    form = replace(job.form, system=text) if job.form.chat else job.form
    texts = job.test.texts if job.form.chat else [text + each for each in job.test.texts]
    asked = reader(model, job.readout, job.test.prompts, encode(model, texts, form))
    return measured(asked.measure(job.intervention, 0.0))
