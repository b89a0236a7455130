"""Directions and prompts in, steered text out, and how often it meets a criterion.

Every answer is generated through mlx-lm while an ``Intervention`` acts, by default h' = h + c · v · ||h|| where the direction was
made, at every token. With a criterion, the share of answers that meet it is given per label with a Wilson
interval, beside that of random directions of the same norm at the same coefficient: an effect that
they have as well is not the direction's.
"""

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from circuit.artifacts.files.atomic import write_errors
from circuit.artifacts.files.documents import plain
from circuit.artifacts.manifest.manifest import Run, manifest_path, reusable, write_manifest
from circuit.artifacts.prompts.prompts import PromptSet
from circuit.artifacts.steering_files.files import Direction, write_directions, write_steering_file
from circuit.errors import UsageError
from circuit.methods.linear.unit_vectors import random_unit_vectors
from circuit.methods.steering.coherence import collapsed
from circuit.stages.rows.prompting import choose_format, encode
from circuit.stages.run import Track, untracked
from circuit.stages.steering.condition import Condition
from circuit.stages.steering.generate import Acting, write
from circuit.stages.steering.intervention import Intervention
from circuit.stages.steering.trial import Answers, check_criterion, judge
from circuit.values import schemas
from circuit.values.prompt_format import PromptFormat
from circuit.values.sampling import Sampling

Show = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """What is done to the model, prompts, strengths, and how the answers are made and judged."""

    intervention: Intervention
    prompts: PromptSet | Sequence[str]
    coefficients: Sequence[float]
    form: PromptFormat
    sampling: Sampling = field(default_factory=Sampling)
    criterion: str | None = None
    controls: int = 0
    condition: Condition | None = None

    @property
    def texts(self) -> list[str]:
        """The prompts' texts, every blank kept."""
        return self.prompts.texts if isinstance(self.prompts, PromptSet) else list(self.prompts)

    @property
    def is_one_answer(self) -> bool:
        """Say whether a single answer is asked for, which can be shown while it is written."""
        return len(self.texts) == len(self.coefficients) == 1 and self.criterion is None

    def parameters(self) -> dict[str, Any]:
        """Return every choice that the answers depend on, for the manifest."""
        return {
            **asdict(self.sampling),
            **self.intervention.described(),
            "condition": None if self.condition is None else self.condition.described(),
            "coefficients": list(self.coefficients),
            "format": asdict(self.form),
            "criterion": self.criterion,
            "controls": self.controls,
            "prompts": self.texts,
        }


def steer(
    model: Any,
    job: Job,
    *,
    out: Path | None = None,
    inputs: Sequence[Path] = (),
    force: bool = False,
    track: Track = untracked,
    show: Show | None = None,
) -> tuple[dict[str, Any], bool]:
    """Return the results of a job, and whether they were in ``out`` already.

    With ``out`` they are written there as a manifest (``circuit.steering/1``). ``show`` is given the pieces of a
    single answer while it is written.
    """
    started = time.perf_counter()
    # The same weights under another chat template are another run.
    tokenizer = {"tokenizer_sha256": model.tokenizer_identity.files_sha256}
    described = {
        "parameters": {**job.parameters(), **tokenizer},
        # A direction may be named by its stem.
        "inputs": [path if path.is_file() else manifest_path(path) for path in inputs],
        "model": model.identity,
    }
    if out is not None:
        found = reusable(out, schema=schemas.STEERING, **described, force=force)
        if found is not None:
            return found.results, True
    _check_before_the_work(job, out)
    results = plain(_results(job, *_answers(model, job, track, show)))
    if out is not None:
        write_manifest(
            out,
            schema=schemas.STEERING,
            **described,
            results=results,
            tokenizer=model.tokenizer_identity,
            run=Run.since(started),
            force=force,
        )
    return results, False


def check_choices(
    prompts: PromptSet | Sequence[str],
    coefficients: Sequence[float],
    sampling: Sampling,
    criterion: str | None = None,
) -> None:
    """Raise what can be known without a model, which may take minutes to load."""
    if not all(math.isfinite(number) for number in (*coefficients, sampling.temperature)):
        message = "a coefficient or the temperature is not a finite number"
        raise UsageError(message, hint='write for example --compare "-2,-1,0,1,2"')
    if criterion is not None:
        check_criterion(prompts, criterion)


def _check_before_the_work(job: Job, out: Path | None) -> None:
    """Raise now what would otherwise be found out after every answer has been generated."""
    check_choices(job.prompts, job.coefficients, job.sampling, job.criterion)
    if out is not None:
        folder = next(folder for folder in out.parents if folder.exists())
        with write_errors(out), tempfile.TemporaryFile(dir=folder):
            pass


def _answers(
    model: Any, job: Job, track: Track, show: Show | None
) -> tuple[list[Answers], list[bool]]:
    """Return the answers of the intervention and its controls, and which prompts were steered at all."""
    from circuit.model.forward.generate import may_be_ragged

    encoded = encode(model, job.texts, job.form)
    ragged = may_be_ragged(model)  # measured before anything is steered
    fires = [True] * len(encoded)
    if job.condition is not None:
        job.condition.check(model)
        fires = (job.condition.logits(model, encoded) > job.condition.threshold).tolist()
    if show is not None:
        texts = [_shown(model, job, encoded[0], fires[0], show)]
        return [_answered(0, job.coefficients[0], texts)], fires
    places = [job.intervention, *_controls(job, model.d_model)]
    runs = [(i, c) for i in range(len(places)) for c in job.coefficients if i == 0 or c != 0]
    return [
        _answered(i, c, _generate(model, job, Acting(((places[i], c),)), encoded, fires, ragged))
        for i, c in track(runs, "Steering", len(runs))
    ], fires


def _answered(control: int, coefficient: float, written: list[Any]) -> Answers:
    loops = [collapsed(one.ids) for one in written]
    return Answers(control, coefficient, [one.text for one in written], loops)


def _results(job: Job, answers: list[Answers], fires: list[bool]) -> dict[str, Any]:
    parts = job.intervention.parts
    named = ("name", "site", "layer", "method", "norm")
    trial = judge(job.prompts, answers, job.criterion, job.controls) if job.criterion else None
    directions = [
        {**{name: getattr(part.direction, name) for name in named}, "weight": part.weight}
        for part in parts
    ]
    return {
        "direction": directions[0],
        "directions": directions,
        "generations": [
            {
                "prompt": prompt,
                "output": output,
                "layer": parts[0].direction.layer,
                "coefficient": c.coefficient,
                "steered": fired and c.coefficient != 0,
                "collapsed": loop,
            }
            for c in answers
            if c.control == 0
            for prompt, output, fired, loop in zip(
                job.texts, c.outputs, fires, c.loops, strict=True
            )
        ],
        "trial": None if trial is None else asdict(trial),
    }


def _generate(
    model: Any, job: Job, acting: Acting, encoded: Sequence[Any], fires: list[bool], ragged: bool
) -> list[Any]:
    """Answer the prompts that the condition lets pass with steering, the others without."""
    answers: dict[int, Any] = {}
    for fired in (True, False):
        rows = [row for row, each in enumerate(fires) if each is fired]
        if rows:
            some = [encoded[row] for row in rows]
            done = write(model, some, acting if fired else Acting(), job.sampling, ragged=ragged)
            answers.update(zip(rows, done, strict=True))
    return [answers[row] for row in range(len(encoded))]


def _shown(model: Any, job: Job, prompt: Any, fired: bool, show: Show) -> Any:
    """Answer one prompt, and show the answer while it is written."""
    from circuit.model.forward.generate import Generated, stream
    from circuit.model.interventions.steering import steered

    pieces = []
    with steered(model, job.intervention.steerings(job.coefficients[0]) if fired else []):
        for piece in stream(model, prompt, job.sampling):
            show(piece.text)
            pieces.append(piece)
    text = "".join(piece.text for piece in pieces)
    return Generated(text, [token for piece in pieces for token in piece.ids])


def _controls(job: Job, d_model: int) -> list[Intervention]:
    """Return random directions, uniform on the sphere, in the places of the job's own."""
    shape = (job.controls, len(job.intervention.parts), d_model)
    drawn = random_unit_vectors(np.random.default_rng(job.sampling.seed), shape)
    return [job.intervention.with_vectors(list(each)) for each in drawn]


def format_for(
    prompts: PromptSet | list[str],
    direction: Direction | None,
    *,
    chat: bool | None,
    system: str | None,
    tools: Path | None,
) -> PromptFormat:
    """Choose the format: options first, then the prompt set's, the direction's own, or raw."""
    if isinstance(prompts, PromptSet):
        return choose_format(prompts, chat=chat, system=system, tools=tools)
    made_in = "raw" if direction is None or direction.format is None else direction.format
    plain = PromptSet.model_validate(
        {"name": "plain", "format": made_in, "prompts": [{"text": "x"}]}
    )
    return choose_format(plain, chat=chat, system=system, tools=tools)


def save_direction(path: Path, direction: Direction, *, force: bool) -> None:
    """Write one direction: an archive with its manifest for ``.safetensors``, else by suffix."""
    if path.suffix != ".safetensors":
        write_steering_file(path, direction, force=force)
        return
    write_directions(
        path,
        [direction],
        parameters={"method": direction.method, "layer": direction.layer, **direction.extra},
        inputs=[],
        run=Run.since(time.perf_counter()),
        model=direction.model,
        force=force,
    )
