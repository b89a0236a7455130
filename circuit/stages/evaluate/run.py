"""``circuit evaluate``: questions and steering vectors in, answers and their measures out.

Every question is answered ``n`` times by the unsteered model, then under each vector, and under all
at once where that is requested. Answer k of a question uses its wording k, in turn. The answers of
one question under one vector are sampled together from a seed that the question's id and ``--seed``
decide, so that they are the same under every vector but for the steering, and whichever other
questions there are. A run that was killed resumes after the last question that it completed, from
``evaluation.answers.jsonl.partial``. Random directions of the same size (``controls``) are further
experimental arms.

``evaluation.json``, schema ``circuit.evaluation/1``: see ``circuit.stages.evaluate.results``. A CSV
of the answers is written with ``-o NAME.csv``.
"""

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from circuit.artifacts.activations.answers import (
    Answer,
    AnswersWriter,
    Header,
    answers_path,
    open_answers,
)
from circuit.artifacts.files.differences import fingerprint
from circuit.artifacts.files.documents import plain, restored
from circuit.artifacts.files.paths import manifest_path
from circuit.artifacts.manifest.manifest import write_manifest
from circuit.artifacts.manifest.origin import Origin
from circuit.artifacts.prompts.question_file import Question, Questions
from circuit.artifacts.prompts.tables import write_csv
from circuit.artifacts.steering_files.config import SteeringConfig
from circuit.methods.text.criteria import verdict
from circuit.stages.evaluate.experiment import Evaluation, EvaluationSettings, QuestionInArm
from circuit.stages.evaluate.present import present
from circuit.stages.evaluate.request import EvaluateRequest
from circuit.stages.evaluate.results import EvaluatedAnswer, EvaluationResult, VectorEntry
from circuit.stages.evaluate.summary import by_question, by_vector
from circuit.stages.options import FormatOptions
from circuit.stages.rows.prompting import encode, format_for
from circuit.stages.rows.warnings import too_few_controls
from circuit.stages.run import Command, Job, Plan, Record, Session
from circuit.stages.steering.generate import Coherence, answer
from circuit.stages.steering.vectors import check_config, described, shares, vectors_of
from circuit.values import schemas
from circuit.values.prompt_format import PromptFormat

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel


def plan(request: EvaluateRequest) -> Plan[EvaluationResult]:
    """Read the questions and the vectors, and check both."""
    config, config_path = None, request.steering_config
    inputs = [request.questions]
    if config_path is not None:
        config = SteeringConfig.load(config_path)
        inputs = list(dict.fromkeys([*inputs, config_path, *config.files(config_path).values()]))
    questions, settings = Questions.load(request.questions), EvaluationSettings.of(request)
    settings.check(questions)
    if config is not None and config_path is not None:
        check_config(config, config_path)
    target, tables = _outputs(request)

    def begin(model: "LoadedModel") -> Job[EvaluationResult]:
        form, vectors = _format(model, questions, request), []
        if config is not None and config_path is not None:
            allow = request.allow_other_model
            vectors = vectors_of(model, config, config_path, form, allow_other=allow)
        evaluation = Evaluation(
            model=model, vectors=vectors, questions=questions, form=form, settings=settings
        )
        parameters = evaluation.parameters()

        def compute(session: Session) -> EvaluationResult:
            with tempfile.TemporaryDirectory() as folder:
                stem = target or Path(folder) / "evaluation.json"
                origin = Origin.of(
                    stem,
                    parameters=parameters,
                    inputs=inputs,
                    model=model.identity,
                    tokenizer=model.tokenizer_identity,
                )
                key = fingerprint(origin.covers())
                return evaluate(evaluation, stem, key, session, force=request.output.force)

        return Job(parameters=parameters, compute=compute, write=_write)

    def _write(result: EvaluationResult, record: Record) -> None:
        assert target is not None
        write_manifest(target, **vars(record), results=plain(result))
        answers_path(target).unlink()  # the manifest holds the answers now

    return Plan(
        result=EvaluationResult,
        schema=schemas.EVALUATION,
        model=request.model,
        inputs=inputs,
        output=target,
        force=request.output.force,
        known=settings.parameters(),
        pictures=dict.fromkeys(tables, _write_table),
        notes=[*too_few_controls(request.controls)],
        begin=begin,
    )


def _outputs(request: EvaluateRequest) -> tuple[Path | None, list[Path]]:
    """Return the manifest, and the table that is written with it."""
    output = request.output.output
    if output is None:
        return None, []
    if output.suffix == ".csv":
        return manifest_path(output.with_suffix("")), [output]
    return manifest_path(output), []


def _format(model: "LoadedModel", questions: Questions, request: EvaluateRequest) -> PromptFormat:
    """Take a prompt set's own format; other questions are a user's turn, if there is a template."""
    chat = request.chat
    if chat is None and questions.source is None:
        chat = bool(model.tokenizer.has_chat_template)
    return format_for(
        questions.source or [], FormatOptions(chat=chat, system=request.system), model=model
    )


def evaluate(
    evaluation: Evaluation, stem: Path, key: str, session: Session, *, force: bool = False
) -> EvaluationResult:
    """Answer every question, and summarise; answers are kept beside ``stem`` as they are made.

    ``key`` stands for everything that decides the answers: those of another run are refused.
    """
    from circuit.model.forward.generate import may_be_ragged

    model, settings, planned = evaluation.model, evaluation.settings, evaluation.planned()
    header = Header(key=key, max_tokens=settings.sampling.max_tokens, criteria=settings.criteria)
    ragged = may_be_ragged(model)  # measured before anything is steered
    with AnswersWriter(stem, header, range(planned[-1].rows.stop), force=force) as writer:
        for each in session.track(planned, "Answering", len(planned)):
            if not writer.has(each.rows):
                writer.put(_answer(evaluation, each, ragged=ragged))
        found = list(open_answers(writer.finish())[1])
    rows = [row for each in planned for row in _rows(evaluation, each, found)]
    answers, criteria = restored(list[EvaluatedAnswer], rows), settings.criteria
    return EvaluationResult(
        vectors=_vectors(evaluation),
        criteria=list(criteria),
        ignored=list(evaluation.questions.ignored),
        n_groups=len({each.group for each in evaluation.questions.asked}),
        table=by_question(answers, criteria),
        overall=by_vector(answers, criteria, settings.n_boot),
        answers=answers,
    )


def _answer(evaluation: Evaluation, asked: QuestionInArm, *, ragged: bool) -> list[Answer]:
    question, settings, form = asked.question, evaluation.settings, evaluation.form
    if question.system is not None:
        form = replace(form, system=question.system)
    texts = [_wording(question, k)[1] for k in range(len(asked.rows))]
    found = answer(
        evaluation.model,
        encode(evaluation.model, texts, form),
        asked.arm.steerings,
        replace(settings.sampling, seed=_seed(question, settings.sampling.seed)),
        ragged=ragged,
    )
    return [
        Answer(
            row=row,
            text=written.text,
            n_tokens=len(written.ids),
            finished=len(written.ids) < settings.sampling.max_tokens,
            verdicts={
                criterion: verdict(criterion, written.text, expected=question.expected)
                for criterion in settings.criteria
            },
            measures=asdict(measured),
        )
        for row, (written, measured) in zip(asked.rows, found, strict=True)
    ]


def _wording(question: Question, sample: int) -> tuple[int, str]:
    number = sample % len(question.paraphrases)
    return number, question.paraphrases[number]


def _seed(question: Question, seed: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{question.id}".encode()).digest()[:4])


def _rows(
    evaluation: Evaluation, asked: QuestionInArm, answers: Sequence[Answer]
) -> Iterator[Mapping[str, object]]:
    """Yield every answer to a question in an arm with all that is known about it."""
    question, arm = asked.question, asked.arm
    for sample, row in enumerate(asked.rows):
        given, (number, wording) = answers[row], _wording(question, sample)
        yield {
            "vector": arm.name,
            "control_of": arm.control_of,
            "question": question.id,
            "group": question.group,
            "label": question.label,
            "paraphrase": number,
            "prompt": wording,
            "sample": sample,
            "seed": _seed(question, evaluation.settings.sampling.seed),
            "answer": given.text,
            "n_tokens": given.n_tokens,
            "finished": given.finished,
            "verdicts": given.verdicts,
            **given.measures,
        }


def _vectors(evaluation: Evaluation) -> list[VectorEntry]:
    first = [question.paraphrases[0] for question in evaluation.questions.asked]
    encoded = encode(evaluation.model, first, evaluation.form)
    size = shares(evaluation.model, evaluation.vectors, encoded)
    pairs = zip(evaluation.vectors, size, strict=True)
    entries = [{**described(vector), "share": share} for vector, share in pairs]
    return restored(list[VectorEntry], plain(entries))


def _write_table(result: EvaluationResult, path: Path, *, force: bool) -> None:
    write_csv(path, _columns(result), force=force)


def _columns(result: EvaluationResult) -> list[Mapping[str, object]]:
    """Return flat rows for a table: the answer, its measures by name, a column per criterion."""
    measures = {each.name for each in fields(Coherence)}
    rows = [vars(each) for each in result.answers]
    columns = [key for key in rows[0] if key not in {*measures, "verdicts"}] + sorted(measures)
    return [{**{key: row[key] for key in columns}, **row["verdicts"]} for row in rows]


EVALUATE = Command(
    request=EvaluateRequest,
    plan=plan,
    present=present,
    result=EvaluationResult,
)
