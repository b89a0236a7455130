"""``circuit steer calibrate``: c*, at which a steering changes neutral text by a given divergence.

See ``circuit.stages.steering.strength``; ``circuit.calibration/1`` holds both sides with every
evaluation.
"""

from dataclasses import asdict
from typing import TYPE_CHECKING

from circuit.errors import UsageError
from circuit.present.document import Cell, Document, Number, Section, Table, Text
from circuit.stages.rows.prompting import format_for, prompt_texts
from circuit.stages.run import Command, Job, Plan, Session
from circuit.stages.steering.neutral import neutral_prompts
from circuit.stages.steering.request import CalibrateRequest
from circuit.stages.steering.rollouts import prepared
from circuit.stages.steering.rules import check_action, check_uncalibrated, resolve
from circuit.stages.steering.source import sources_of, terms_of
from circuit.stages.steering.strength import SIDES, Calibration, calibrate, check_target
from circuit.values import schemas

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel

BOTH = "both"
OUTCOMES = {
    "converged": "on target",
    "below": "below the target at every strength",
    "above": "above the target at every strength",
    "unresolved": "the divergence jumps over the target; this is the side below it",
}


def plan(request: CalibrateRequest) -> Plan[Calibration]:
    """Read the directions and the neutral prompts."""
    check_target(request.kl, request.statistic)
    check_action(request.action)
    check_uncalibrated(request.action.rule)
    sign = _sign(request.sign)
    texts = None if request.prompts is None else prompt_texts(request.prompts)
    sources = sources_of(request.directions)
    known = {
        "prompts": texts,
        "target": request.kl,
        "statistic": request.statistic,
        "sign": sign,
        "n_tokens": request.tokens,
    }

    def begin(model: "LoadedModel") -> Job[Calibration]:
        allow = request.directions.allow_other_model
        terms = terms_of(model, sources, allow_other_model=allow)
        form = format_for([], request.prompt_format, made_in=terms[0].direction.format)
        intervention = resolve(model, terms, request.action, form)
        described = {"format": asdict(form), "intervention": intervention.described()}

        def compute(_: Session) -> Calibration:
            neutral = prepared(model, neutral_prompts(model, form, texts), request.tokens)
            return calibrate(
                model,
                intervention,
                neutral,
                target=request.kl,
                statistic=request.statistic,
                sign=sign,
            )

        return Job(parameters={**known, **described}, compute=compute)

    return Plan(
        result=Calibration,
        schema=schemas.CALIBRATION,
        model=request.model,
        inputs=[source.file for source in sources],
        output=request.output.output,
        force=request.output.force,
        known=known,
        begin=begin,
    )


def _sign(text: str) -> int:
    signs = {**SIDES, BOTH: 0}
    if text not in signs:
        message = f"unknown sign `{text}`"
        raise UsageError("unknown-sign", message, hint="use +, - or both", sign=text)
    return signs[text]


def present(result: Calibration) -> Document:
    """Show every evaluation of both sides, and c*."""
    title = (
        f"KL(steered || unsteered) on {result.n_prompts} neutral prompts, {result.n_tokens} "
        f"steered tokens after each: {result.statistic} over tokens, target {result.target:g} nats"
    )
    rows: list[list[Cell]] = [
        [
            f"{sign}{step}",
            Number(c, "+.4f"),
            Number(kl, ".4f"),
            Number(kl / result.target - 1, "+.0%"),
        ]
        for sign, side in result.sides.items()
        for step, (c, kl) in enumerate(side.history, 1)
    ]
    table = Table(header=["step", "coefficient", "KL", "off target"], rows=rows)
    sides = [
        f"{sign}: c = {side.coefficient:+.4f}, KL {side.kl:.3f} ({OUTCOMES[side.status]})"
        for sign, side in result.sides.items()
    ]
    strength = Text([*sides, f"c* = {result.coefficient:.4f}"])
    return Document(title, [table, Section("Strength", [strength])])


CALIBRATE = Command(
    request=CalibrateRequest,
    plan=plan,
    present=present,
    result=Calibration,
)
