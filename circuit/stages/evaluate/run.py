"""Questions and steering vectors in, answers and what they measure out.

Every question is answered ``n`` times by the model as it is, then under each vector, and under all at once where that is asked
for. Answer k of a question uses its wording k, in turn. The answers of one question under one vector are one unit: sampled together
from a seed that the question's id and ``--seed`` decide, so that they are the same under every vector but for the steering, and
whichever other questions there are. A run that was killed goes on after its last whole unit. Random directions of the
same size (``controls``) are further vectors.

``evaluation.json``, schema ``circuit.evaluation/1``: ``vectors``, ``table`` (per question and vector), ``overall`` (per vector, with its
difference from the model as it is) and ``answers``; see ``circuit.stages.evaluate.summary``. A CSV beside it has the answers.
"""

import hashlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from circuit.artifacts.activations.answers import Answer, AnswersWriter, Header, open_answers
from circuit.artifacts.files.differences import fingerprint
from circuit.artifacts.files.documents import plain
from circuit.artifacts.manifest.manifest import Run, manifest_path, reusable, write_manifest
from circuit.artifacts.manifest.origin import Origin
from circuit.artifacts.prompts.question_file import Question, Questions
from circuit.artifacts.prompts.tables import write_csv
from circuit.errors import UsageError
from circuit.methods.text.criteria import verdict
from circuit.stages.evaluate.summary import summarised
from circuit.stages.rows.prompting import encode
from circuit.stages.run import Track, untracked
from circuit.stages.steering.controls import random_controls
from circuit.stages.steering.generate import coherence, write
from circuit.stages.steering.intervention import Intervention
from circuit.stages.steering.vectors import described, shares
from circuit.values import schemas
from circuit.values.prompt_format import PromptFormat
from circuit.values.sampling import Sampling

UNSTEERED, TOGETHER = "unsteered", "all together"
ANSWERS = 5  # a question, where neither the command nor the file says how many


@dataclass(frozen=True)
class Choices:
    """How often each question is asked, how answers are made, and by what they are judged."""

    n_per_question: int | None = None
    sampling: Sampling = field(default_factory=lambda: Sampling(temperature=1.0))
    criteria: tuple[str, ...] = ()
    together: bool = False
    controls: int = 0
    n_boot: int = 1000

    def count(self, question: Question) -> int:
        """Return how many answers a question gets."""
        if self.n_per_question is not None:
            return self.n_per_question
        each = question.samples_per_paraphrase
        return ANSWERS if each is None else each * len(question.paraphrases)


@dataclass(frozen=True, eq=False)
class Arm:
    """One experimental arm: its name, its interventions, and the vector that it controls for."""

    name: str
    interventions: tuple[Intervention, ...] = ()
    control_of: str | None = None

    @property
    def steerings(self) -> list[Any]:
        """What acts on the model."""
        return [steering for each in self.interventions for steering in each.at()]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A model, vectors, questions and choices; ``inputs`` are the files that they came from."""

    model: Any
    vectors: Sequence[Intervention]
    questions: Questions
    form: PromptFormat
    choices: Choices
    inputs: Sequence[Path] = ()

    def parameters(self) -> dict[str, Any]:
        """Return every choice that the answers depend on."""
        return {
            **{key: value for key, value in vars(self.choices).items() if key != "sampling"},
            **asdict(self.choices.sampling),
            "format": asdict(self.form),
            "vectors": [described(vector) for vector in self.vectors],
            "tokenizer_sha256": self.model.tokenizer_identity.files_sha256,
        }

    def arms(self) -> list[Arm]:
        """List what the questions are answered under: nothing, each vector, all of them, controls."""
        own = [Arm(vector.name, (vector,)) for vector in self.vectors]
        arms = [Arm(UNSTEERED), *own]
        if self.choices.together:
            arms.append(Arm(TOGETHER, tuple(self.vectors)))
        return [*arms, *(each for arm in arms[1:] for each in self._controls(arm))]

    def _controls(self, arm: Arm) -> Iterator[Arm]:
        """Give random directions the places of those that act."""
        rng = np.random.default_rng(self.choices.sampling.seed)
        for number in range(1, self.choices.controls + 1):
            random = tuple(random_controls(each, 1, rng)[0] for each in arm.interventions)
            yield Arm(f"{arm.name}: random {number}", random, arm.name)


def check_choices(questions: Questions, choices: Choices) -> None:
    """Raise what can be known without a model."""
    for question in questions.asked:
        for criterion in choices.criteria:
            verdict(criterion, "", expected=question.expected)
        if choices.sampling.temperature == 0 and choices.count(question) > len(
            question.paraphrases
        ):
            message = f"at temperature 0 all answers to `{question.id}` would be alike"
            raise UsageError(
                "answers-alike", message, hint="use --n-per-question 1, or a --temperature"
            )


def evaluate(
    job: Evaluation,
    out: Path | None = None,
    *,
    csv: Path | None = None,
    force: bool = False,
    track: Track = untracked,
) -> tuple[dict[str, Any], bool]:
    """Return the results, and whether they were at ``out`` already; without ``out`` nothing is kept."""
    check_choices(job.questions, job.choices)
    if out is None:
        with tempfile.TemporaryDirectory() as folder:
            return evaluate(job, Path(folder) / "evaluation.json", track=track)
    target, model = manifest_path(out), job.model
    described = {"parameters": job.parameters(), "inputs": job.inputs, "model": model.identity}
    found = reusable(target, schema=schemas.EVALUATION, **described, force=force)
    if found is None:
        results = _made(job, target, described, force=force, track=track)
    else:
        results = found.results
    if csv is not None:
        write_csv(csv, _columns(results["answers"]), force=force)
    return results, found is not None


def _made(
    job: Evaluation, target: Path, described: dict[str, Any], *, force: bool, track: Track
) -> dict[str, Any]:
    started, tokenizer = time.perf_counter(), job.model.tokenizer_identity
    origin = Origin.of(target, **described, tokenizer=tokenizer)
    kept = _answered(job, target, fingerprint(origin.covers()), force=force, track=track)
    results: dict[str, Any] = plain(_results(job, list(open_answers(kept)[1])))
    write_manifest(
        target,
        schema=schemas.EVALUATION,
        **described,
        results=results,
        tokenizer=tokenizer,
        run=Run.since(started),
        force=force,
    )
    kept.unlink()  # the manifest holds the answers now
    return results


@dataclass(frozen=True, eq=False)
class _Unit:
    """One question under one arm, and the rows of its answers."""

    arm: Arm
    question: Question
    rows: range


def _units(job: Evaluation) -> list[_Unit]:
    units, start = [], 0
    for arm in job.arms():
        for question in job.questions.asked:
            rows = range(start, start + job.choices.count(question))
            units.append(_Unit(arm, question, rows))
            start = rows.stop
    return units


def _answered(job: Evaluation, stem: Path, key: str, *, force: bool, track: Track) -> Path:
    """Answer what has no answer yet, and return the file of all answers."""
    from circuit.model.forward.generate import may_be_ragged

    units = _units(job)
    sampling, criteria = job.choices.sampling, job.choices.criteria
    header = Header(key=key, max_tokens=sampling.max_tokens, criteria=criteria)
    ragged = may_be_ragged(job.model)  # measured before anything is steered
    answers = AnswersWriter(stem, header, range(units[-1].rows.stop), force=force)
    with answers as writer:
        for unit in track(units, "Answering", len(units)):
            if not writer.has(unit.rows):
                writer.put(_answer(job, unit, ragged=ragged))
        writer.finish()
    return answers.path


def _answer(job: Evaluation, unit: _Unit, *, ragged: bool) -> list[Answer]:
    question, sampling = unit.question, job.choices.sampling
    texts = [_wording(question, k)[1] for k in range(len(unit.rows))]
    form = job.form if question.system is None else replace(job.form, system=question.system)
    encoded = encode(job.model, texts, form)
    seeded = replace(sampling, seed=_seed(question, sampling.seed))
    written = write(job.model, encoded, unit.arm.steerings, seeded, ragged=ragged)
    measured = coherence(job.model, encoded, written, unit.arm.steerings)
    return [
        Answer(
            row=row,
            text=each.text,
            n_tokens=len(each.ids),
            finished=len(each.ids) < sampling.max_tokens,
            verdicts={
                criterion: verdict(criterion, each.text, expected=question.expected)
                for criterion in job.choices.criteria
            },
            measures=asdict(measure),
        )
        for row, each, measure in zip(unit.rows, written, measured, strict=True)
    ]


def _wording(question: Question, sample: int) -> tuple[int, str]:
    number = sample % len(question.paraphrases)
    return number, question.paraphrases[number]


def _seed(question: Question, seed: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{question.id}".encode()).digest()[:4])


def _results(job: Evaluation, answers: Sequence[Answer]) -> dict[str, Any]:
    asked = job.questions.asked
    rows = [row for unit in _units(job) for row in _rows(job, unit, answers)]
    encoded = encode(job.model, [question.paraphrases[0] for question in asked], job.form)
    size = shares(job.model, job.vectors, encoded)
    return {
        "vectors": [
            {**described(vector), "share": share}
            for vector, share in zip(job.vectors, size, strict=True)
        ],
        "criteria": list(job.choices.criteria),
        "ignored": list(job.questions.ignored),
        **summarised(rows, job.choices.criteria, n_boot=job.choices.n_boot),
        "answers": rows,
    }


def _rows(job: Evaluation, unit: _Unit, answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """Return every answer of a unit with all that is known about it."""
    seed = _seed(unit.question, job.choices.sampling.seed)
    rows = []
    for sample, row in enumerate(unit.rows):
        answer = answers[row]
        number, wording = _wording(unit.question, sample)
        rows.append(
            {
                "vector": unit.arm.name,
                "control_of": unit.arm.control_of,
                "question": unit.question.id,
                "group": unit.question.group,
                "label": unit.question.label,
                "paraphrase": number,
                "prompt": wording,
                "sample": sample,
                "seed": seed,
                "answer": answer.text,
                "n_tokens": answer.n_tokens,
                "finished": answer.finished,
                "verdicts": answer.verdicts,
                **answer.measures,
            }
        )
    return rows


def _columns(answers: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return flat rows for a table: a column for each criterion."""
    return [
        {key: value for key, value in {**each, **each["verdicts"]}.items() if key != "verdicts"}
        for each in answers
    ]
