"""``steer sweep``: the held-out dose-response of a steering, beside what should not steer, with what it costs.

    1. train, validation and test prompts share no group (``circuit.stages.rows.holdout``); the test prompts are used here and nowhere else
    2. the strength: c*, at which the divergence on neutral prompts is 1 nat (``circuit.stages.steering.strength``), or a given one
    3. the read-out m of every test prompt at every dose x = c/c* (``circuit.stages.steering.readout``), and of random and shuffled-label
       directions at the same doses (``circuit.stages.steering.controls``), and of the prompt that asks for the same in words
    4. on neutral prompts, at every dose, divergence and coherence (``circuit.stages.steering.rollouts``)
    5. slopes, intervals, nulls and a verdict in words (``circuit.stages.sweep.results``)

Writes ``circuit.sweep/2``. A run that was interrupted goes on where it was.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from circuit.artifacts.files.documents import plain
from circuit.artifacts.files.measurements import (
    Measurements,
    remove_finished_measurements,
)
from circuit.artifacts.manifest.manifest import Run, manifest_path, reusable, write_manifest
from circuit.artifacts.prompts.prompts import PromptSet
from circuit.stages.rows.holdout import check_apart, check_size
from circuit.stages.rows.prompting import encode
from circuit.stages.rows.provenance import shuffled_vectors, training_prompts
from circuit.stages.rows.questions import Note, silent
from circuit.stages.run import Track, untracked
from circuit.stages.steering.controls import Control, controls
from circuit.stages.steering.intervention import Intervention
from circuit.stages.steering.neutral import neutral_prompts
from circuit.stages.steering.readout import Readout, reader
from circuit.stages.steering.rollouts import prepared
from circuit.stages.steering.strength import Calibration, calibrate
from circuit.stages.sweep.job import Choices, Job
from circuit.stages.sweep.results import summarised
from circuit.stages.sweep.units import Bench, control_at, measured, planned
from circuit.values import schemas


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
        and (found := reusable(out, schema=schemas.SWEEP, **about, force=force)) is not None
    ):
        remove_finished_measurements(out)
        return found.results, True
    _check(job)
    covers = {**about, "schema": schemas.SWEEP, "inputs": _digests(about["inputs"])}
    with Measurements(out, plain(covers), force=force) as kept:
        results: dict[str, Any] = plain(_measured(model, job, kept, note, track))
        if out is not None:
            write_manifest(
                out,
                schema=schemas.SWEEP,
                **about,
                results=results,
                tokenizer=model.tokenizer_identity,
                run=Run.since(started),
                force=force,
            )
        kept.discard()
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


def _measured(model: Any, job: Job, kept: Measurements, note: Note, track: Track) -> dict[str, Any]:
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
    calibration = _calibration(bench, job, kept)
    if calibration is not None and not calibration.converged:
        note(f"the calibration did not land on {choices.kl:g} nats: {calibration.status}")
    c_star = choices.strength if calibration is None else calibration.coefficient
    before = job.intervention.factor
    steering = replace(job.intervention, factor=before * (c_star or 1.0))
    target = choices.kl if choices.same_kl else None
    beside = [
        control_at(bench, control, kept, target, before) for control in _controls(job, steering)
    ]
    plan = list(planned(bench, steering, beside))
    found: dict[str, dict[float, Any]] = {}
    for name, dose, work in track(plan, "Measuring", len(plan)):
        found.setdefault(name, {})[dose] = kept.get(f"{name} at {dose:g}", work)
    asked = None
    if choices.prompt_baseline is not None:
        asked = kept.get("prompt", lambda: _asked_for(model, job))
    return summarised(job, found, asked, calibration, c_star or 1.0, known)


def _calibration(bench: Bench, job: Job, kept: Measurements) -> Calibration | None:
    if job.choices.strength is not None:
        return None

    def measure() -> dict[str, Any]:
        found = calibrate(bench.model, job.intervention, bench.neutral, target=job.choices.kl)
        return found.as_dict()

    return Calibration.of(kept.get("calibration", measure))


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
