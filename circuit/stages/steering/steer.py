"""``circuit steer``: directions and prompts in, steered text and rates of a criterion out.

Every answer is generated through mlx-lm while an ``Intervention`` acts, by default h' = h + c · v ·
‖h‖ at the direction's layer, at every token. With a criterion, the share of answers that meet it is
given per label with a Wilson interval, alongside that of random directions of the same norm at the
same coefficient (``circuit.stages.steering.trial``): an effect that they have as well is not the
direction's.

``--extract`` only makes a direction of two prompts and saves it.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from circuit.artifacts.files.documents import plain
from circuit.errors import UsageError
from circuit.methods.steering.coherence import collapsed
from circuit.present.document import Document
from circuit.stages.rows.prompting import encode, format_for, parse_prompts, prompt_texts, texts_of
from circuit.stages.rows.warnings import too_few_controls
from circuit.stages.run import SILENT, Command, Job, Plan, Session
from circuit.stages.steering.condition import Condition
from circuit.stages.steering.controls import random_controls
from circuit.stages.steering.document import extract_document, heading, steer_document
from circuit.stages.steering.extract import pair_of, plan_extraction
from circuit.stages.steering.generate import write
from circuit.stages.steering.intervention import Intervention, Term
from circuit.stages.steering.request import SteerRequest
from circuit.stages.steering.result import ExtractResult, Generation, SteerOrExtract, SteerResult
from circuit.stages.steering.rules import check_action, resolve
from circuit.stages.steering.settings import Prompts, SteerSettings, coefficients_of
from circuit.stages.steering.source import sources_of, terms_of
from circuit.stages.steering.trial import Answers, judge
from circuit.values import schemas
from circuit.values.prompt_format import PromptFormat
from circuit.values.sampling import Sampling

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel
    from circuit.model.forward.generate import Completion
    from circuit.model.interventions.steering import Steering
    from circuit.model.prompts.tokens import EncodedPrompt


def plan(request: SteerRequest) -> Plan[SteerOrExtract]:
    """Plan an extraction or a steering run."""
    return plan_extraction(request) if request.extract else _plan_steering(request)


def _plan_steering(request: SteerRequest) -> Plan[SteerOrExtract]:
    if request.prompts is None:
        raise UsageError("no-prompts", "no prompts are given", hint="give them with -p")
    prompts, settings = parse_prompts(request.prompts), SteerSettings.of(request)
    settings.check(prompts)
    check_action(request.action, settings.coefficients)
    pair = pair_of(request)
    sources = [] if pair else sources_of(request.directions)
    condition = None if request.when is None else Condition.parse(request.when)

    def begin(model: "LoadedModel") -> Job[SteerOrExtract]:
        options = request.prompt_format
        if pair is not None:
            form = format_for(prompts, options, model=model)
            terms = [Term(pair(model, form))]
        else:
            allow = request.directions.allow_other_model
            terms = terms_of(model, sources, allow_other_model=allow)
            form = format_for(prompts, options, made_in=terms[0].direction.format, model=model)
        intervention = resolve(model, terms, request.action, form)

        def compute(session: Session) -> SteerOrExtract:
            return steer(
                model, intervention, prompts, form, settings, condition=condition, session=session
            )

        known = {**settings.parameters(prompts), **intervention.described()}
        fires_on = None if condition is None else condition.described()
        about = {**known, "condition": fires_on, "format": asdict(form)}
        return Job(parameters=about, compute=compute)

    return Plan(
        result=SteerResult,
        schema=schemas.STEERING,
        model=request.model,
        inputs=_inputs(request, [source.file for source in sources]),
        output=request.output.output,
        force=request.output.force,
        known=settings.parameters(prompts),
        notes=[*too_few_controls(request.controls)],
        begin=begin,
    )


def _inputs(request: SteerRequest, files: Sequence[Path]) -> list[Path]:
    probe = [] if request.when is None else [Path(request.when.split(",")[0])]
    text = request.prompts or ""
    return [*files, *probe, *([Path(text[1:])] if text.startswith("@") else [])]


def steer(
    model: "LoadedModel",
    intervention: Intervention,
    prompts: Prompts,
    form: PromptFormat,
    settings: SteerSettings,
    *,
    condition: Condition | None = None,
    session: Session = SILENT,
) -> SteerResult:
    """Answer every prompt at every coefficient, and judge the answers where there is a criterion.

    ``session.stream`` is given the pieces of a single answer while it is written.
    """
    settings.check(prompts)
    if intervention.factor != 1:
        rule = intervention.action.rule
        session.note(f"by rule `{rule}`, coefficient 1 is {intervention.factor:.4g}")
    encoded = encode(model, texts_of(prompts), form)
    fires = [True] * len(encoded)
    if condition is not None:
        fires = (condition.logits(model, encoded) > condition.threshold).tolist()
    if session.stream is not None:
        text, c = texts_of(prompts)[0], settings.coefficients[0]
        session.stream(heading(text, c))
        steerings = intervention.at(c) if fires[0] else []
        shown = _streamed(model, encoded[0], steerings, settings.sampling, session)
        answers = [_answers(0, c, [shown])]
    else:
        answers = _answered(model, intervention, encoded, fires, settings, session=session)
    return SteerResult.of(
        intervention,
        _generations(intervention, texts_of(prompts), answers, fires),
        None
        if settings.criterion is None
        else judge(prompts, answers, settings.criterion, settings.controls),
    )


def _answered(
    model: "LoadedModel",
    intervention: Intervention,
    encoded: "Sequence[EncodedPrompt]",
    fires: Sequence[bool],
    settings: SteerSettings,
    *,
    session: Session,
) -> list[Answers]:
    """Answer with the intervention at every coefficient, with random controls where it is not 0."""
    from circuit.model.forward.generate import may_be_ragged

    ragged = may_be_ragged(model)  # measured before anything is steered
    rng = np.random.default_rng(settings.sampling.seed)
    arms = [intervention, *random_controls(intervention, settings.controls, rng)]
    runs = [(i, c) for i in range(len(arms)) for c in settings.coefficients if i == 0 or c != 0]
    steered = [row for row, fired in enumerate(fires) if fired]
    silent = [row for row, fired in enumerate(fires) if not fired]
    found = []
    for i, c in session.track(runs, "Steering", len(runs)):
        written: dict[int, Completion] = {}
        for rows, steerings in ((steered, arms[i].at(c)), (silent, [])):
            some = [encoded[row] for row in rows]
            if some:
                done = write(model, some, steerings, settings.sampling, ragged=ragged)
                written.update(zip(rows, done, strict=True))
        found.append(_answers(i, c, [written[row] for row in range(len(encoded))]))
    return found


def _answers(control: int, coefficient: float, written: "Sequence[Completion]") -> Answers:
    loops = [collapsed(one.ids) for one in written]
    return Answers(control, coefficient, [one.text for one in written], loops)


def _streamed(
    model: "LoadedModel",
    prompt: "EncodedPrompt",
    steerings: "Sequence[Steering]",
    sampling: Sampling,
    session: Session,
) -> "Completion":
    """Answer one prompt, and show the answer while it is written."""
    from circuit.model.forward.generate import Completion, stream
    from circuit.model.interventions.steering import steered

    assert session.stream is not None
    pieces = []
    with steered(model, steerings):
        for piece in stream(model, prompt, sampling):
            session.stream(piece.text)
            pieces.append(piece)
    text = "".join(piece.text for piece in pieces)
    return Completion(text, [token for piece in pieces for token in piece.ids])


def _generations(
    intervention: Intervention,
    texts: Sequence[str],
    answers: Sequence[Answers],
    fires: Sequence[bool],
) -> list[Generation]:
    return [
        Generation(
            prompt=text,
            output=output,
            layer=intervention.terms[0].direction.layer,
            coefficient=each.coefficient,
            steered=fired and each.coefficient != 0,
            collapsed=loop,
        )
        for each in answers
        if each.control == 0
        for text, output, fired, loop in zip(texts, each.outputs, fires, each.loops, strict=True)
    ]


def streams(request: SteerRequest, to_terminal: bool) -> bool:
    """Say whether a single answer is shown while it is written; by default on a terminal."""
    if request.extract or request.prompts is None:
        return False
    n = len(prompt_texts(request.prompts)) * len(coefficients_of(request))
    is_one = n == 1 and request.criterion is None
    if request.stream and not is_one:
        message = f"`--stream` shows one answer, and {n} are asked for"
        hint = "give one prompt and one coefficient, and no criterion"
        raise UsageError("option-not-applicable", message, hint=hint, n=n)
    return is_one and (to_terminal if request.stream is None else request.stream)


def present(result: SteerOrExtract, *, complete: bool = True) -> Document:
    """Show the answers, or the direction that was extracted."""
    if isinstance(result, ExtractResult):
        return extract_document(result)
    return steer_document(result, complete=complete)


def data(result: SteerOrExtract) -> object:
    """Return what ``--json`` prints."""
    return result.data() if isinstance(result, ExtractResult) else plain(result)


STEER: Command[SteerRequest, SteerOrExtract] = Command(
    request=SteerRequest,
    plan=plan,
    present=present,
    data=data,
    streams=streams,
    # A terminal shows what was counted instead of every answer.
    display=lambda _: {"complete": False},
    result=SteerResult,
)
