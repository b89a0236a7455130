"""``circuit concepts scan``: what adding a concept does, over layers or over strengths.

At every point

    effect   how much likelier the concept's held-out texts became, in nats per token, beyond how
             much neutral texts did: mean over positive − mean over neutral texts of Δ log p / T,
             teacher-forced
    kl       the damage: KL(steered ‖ unsteered) per token of neutral prompts
    random   both for random directions of the same length at the same layer; p is two-sided
             (``methods.uncertainty.p_values``)
    answers  the greedy answer to each prompt, with its coherence

Intervals are 95 % bootstrap over groups of texts, and over neutral prompts. A concept of too few
texts has no held-out ones and no effect.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from circuit.artifacts.prompts.concept_files import find_concept
from circuit.errors import UsageError
from circuit.methods.uncertainty.p_values import control_p, family_control_p
from circuit.present.document import Cell, Document, Estimate, Number, Part, Table, Text
from circuit.present.numbers import formatted
from circuit.stages.concepts.heldout import NEUTRAL, EvaluationTexts, mean_interval
from circuit.stages.concepts.library import Contents, concept_directions, layers_of, one_layer
from circuit.stages.concepts.request import MIDDLE, ScanRequest
from circuit.stages.concepts.results import ScanAnswer, ScanPoint, ScanResult
from circuit.stages.concepts.trial import NATURAL
from circuit.stages.figures.picture_files import check_picture
from circuit.stages.options import ActionOptions
from circuit.stages.rows.prompt_input import read_prompt_input
from circuit.stages.rows.prompting import encode, format_for
from circuit.stages.rows.warnings import too_few_controls
from circuit.stages.run import SILENT, Command, Job, Plan, Session
from circuit.stages.steering.controls import random_controls
from circuit.stages.steering.generate import answer, shown
from circuit.stages.steering.intervention import Intervention
from circuit.stages.steering.neutral import neutral_prompts
from circuit.stages.steering.rules import check_action
from circuit.stages.steering.source import parse_numbers
from circuit.stages.steering.vectors import one_vector, shares
from circuit.values import schemas
from circuit.values.prompt_format import RAW, PromptFormat
from circuit.values.sampling import Sampling
from circuit.values.thresholds import LEVEL, MIN_CONTROLS

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel
    from circuit.model.interventions.steering import Steering
    from circuit.model.prompts.tokens import EncodedPrompt

STRENGTH, STRENGTHS = 1.5, tuple(step / 2 for step in range(1, 11))  # 0.5 to 5


@dataclass(frozen=True, kw_only=True)
class Scan:
    """One concept over layers or over strengths, which are in natural lengths."""

    name: str
    over: str
    layers: str
    strengths: tuple[float, ...]
    prompts: Sequence[str] = ()
    controls: int = MIN_CONTROLS
    action: ActionOptions = NATURAL
    form: PromptFormat = RAW
    sampling: Sampling = field(default_factory=Sampling)
    seed: int = 0

    def at(self, n_layers: int) -> tuple[int, ...]:
        """Return the layers of the points; a scan over strengths has one."""
        if self.over == "strengths":
            return (one_layer(self.layers, n_layers),)
        return layers_of(self.layers, n_layers)


def plan(request: ScanRequest) -> Plan[ScanResult]:
    """Read what is scanned, and the prompts."""
    picture = check_picture(request.plot.plot)
    given = None if request.prompts is None else read_prompt_input(request.prompts)
    prompts = [] if given is None else given.texts
    over_layers, strengths = _line(request)
    scanned = Scan(
        name=request.name,
        over=request.over,
        layers=request.layers or ("all" if over_layers else MIDDLE),
        strengths=strengths,
        prompts=prompts,
        controls=request.controls,
        action=ActionOptions(rule=request.rule),
        form=RAW
        if given is None
        else format_for(given.prompt_set or given.texts, request.prompt_format),
        sampling=Sampling(request.max_tokens),
        seed=request.seed.seed,
    )
    check_action(scanned.action, strengths)
    contents = Contents({request.name: find_concept(request.name)})
    known = {**asdict(scanned), "vectors": contents.parameters()}

    def begin(model: "LoadedModel") -> Job[ScanResult]:
        scanned.at(model.n_layers)  # refuses layers that the model lacks
        return Job(parameters=known, compute=lambda session: scan(model, scanned, session))

    def draw(result: ScanResult, path: Path, *, force: bool) -> str:
        from circuit.stages.concepts.pictures import draw_scan

        return draw_scan(result, path, force=force)

    return Plan(
        result=ScanResult,
        schema=schemas.CONCEPT_SCAN,
        model=request.model,
        inputs=[] if given is None else given.inputs,
        output=request.output.output,
        force=request.output.force,
        known=known,
        pictures={picture: draw} if picture else {},
        notes=[*too_few_controls(request.controls)],
        begin=begin,
    )


def _line(request: ScanRequest) -> tuple[bool, tuple[float, ...]]:
    """Return whether the scan is over layers, and its strengths."""
    find_concept(request.name)
    if request.over not in ("layers", "strengths"):
        message, hint = f"unknown scan `{request.over}`", "use --over layers or strengths"
        raise UsageError("unknown-scan", message, hint=hint, over=request.over)
    over_layers = request.over == "layers"
    if request.strengths is None:
        return over_layers, (STRENGTH,) if over_layers else STRENGTHS
    strengths = parse_numbers(request.strengths, "--strengths")
    if over_layers and len(strengths) != 1:
        message = f"a scan over layers has one strength, got {len(strengths)}"
        raise UsageError("one-strength-expected", message, hint="or use --over strengths")
    return over_layers, strengths


def scan(model: "LoadedModel", scanned: Scan, session: Session = SILENT) -> ScanResult:
    """Measure every point."""
    layers = scanned.at(model.n_layers)
    directions = concept_directions(model, scanned.name, layers, session)
    texts = EvaluationTexts.of(model, scanned.name)
    at_one = [one_vector(model, d, 1.0, scanned.action, scanned.form) for d in directions]
    sizes = shares(model, at_one, neutral_prompts(model, RAW)[:NEUTRAL])
    encoded = encode(model, scanned.prompts, scanned.form) if scanned.prompts else []
    points = [
        (replace(vector, coefficient=strength), None if size is None else size * abs(strength))
        for vector, size in zip(at_one, sizes, strict=True)
        for strength in scanned.strengths
    ]
    return ScanResult(
        name=scanned.name,
        over=scanned.over,
        n_held_out=len(texts.held_out),
        n_groups=len(np.unique(texts.groups)),
        n_neutral=len(texts.neutral),
        controls=scanned.controls,
        unsteered=_answers(model, scanned, encoded, []),
        points=_with_family_p(
            [
                _point(texts, scanned, encoded, vector, share)
                for vector, share in session.track(points, "Measuring", len(points))
            ]
        ),
    )


def _with_family_p(points: list[ScanPoint]) -> list[ScanPoint]:
    """Add the p over all points; each has as many random directions."""
    if any(point.effect is None for point in points):
        return points
    effects = [point.effect[0] for point in points if point.effect is not None]
    p_any = family_control_p(effects, np.array([point.random_effects for point in points]).T)
    return [replace(point, p_any=p) for point, p in zip(points, p_any, strict=True)]


def _point(
    texts: EvaluationTexts,
    scanned: Scan,
    encoded: "Sequence[EncodedPrompt]",
    vector: Intervention,
    share: float | None,
) -> ScanPoint:
    direction = vector.terms[0].direction
    # The same at every strength, others at every layer.
    rng = np.random.default_rng([scanned.seed, direction.layer])
    controls = [each.at() for each in random_controls(vector, scanned.controls, rng)]
    effects = texts.effects([vector.at(), *controls])
    effect = None if effects is None else effects[0]
    random_effects = [other[0] for other in effects[1:]] if effects else []
    kl, *random_kl = texts.damages([vector.at(), *controls])
    return ScanPoint(
        layer=direction.layer,
        strength=vector.coefficient,
        norm=direction.norm,
        auroc=direction.quality.get("auroc"),
        effect=effect,
        random_effects=random_effects,
        p=None if effect is None else control_p(effect[0], random_effects),
        p_any=None,
        kl=mean_interval(kl),
        random_kl=[float(each.mean()) for each in random_kl],
        answers=_answers(texts.model, scanned, encoded, vector.at()),
        share=share,
    )


def _answers(
    model: "LoadedModel",
    scanned: Scan,
    encoded: "Sequence[EncodedPrompt]",
    steerings: "Sequence[Steering]",
) -> list[ScanAnswer]:
    if not encoded:
        return []
    found = answer(model, encoded, steerings, scanned.sampling)
    return [
        ScanAnswer(prompt=prompt, text=written.text, **vars(measured))
        for prompt, (written, measured) in zip(scanned.prompts, found, strict=True)
    ]


def present(result: ScanResult) -> Document:
    """Show effect, damage and coherence at every point, then the answers."""
    first, n, k = result.points[0], result.n_held_out, result.controls
    fixed = f"layer {first.layer}"
    if result.axis == "layer":
        fixed = f"strength {formatted(first.strength, 'g')}"
    header = [result.axis, "of norm", "effect", "random", "p", "KL", "random", "repeated-4"]
    along = [formatted(at, "g") for at in result.along()]
    rows = [[at, *_row(point)] for at, point in zip(along, result.points, strict=True)]
    explanation = [
        "",
        f"effect: nats per token that {n} held-out texts with the concept gain beyond neutral",
        f"ones, 95 % over groups. KL: nats per token on {result.n_neutral} neutral prompts.",
        f"random: {k} directions of the same length; p: over all points.",
        *_verdict(result),
    ]
    parts: list[Part] = [Table(header=header, rows=rows), Text(explanation)]
    for number, plain in enumerate(result.unsteered):
        lines = [f"  plain   {shown(plain.text, plain)}"]
        for at, point in zip(along, result.points, strict=True):
            given = point.answers[number]
            lines.append(f"  {at:<8}{shown(given.text, given)}")
        parts.append(Text(["", f"Prompt: {plain.prompt!r}", *lines]))
    return Document(f"`{result.name}` at {fixed}", parts)


def _row(point: ScanPoint) -> list[Cell]:
    repeated = [each.repeated_4 for each in point.answers]
    return [
        Number(point.share, ".0%"),
        Estimate.of(point.effect, "+.2f"),
        _range(point.random_effects, "+.2f"),
        Number(point.p_any),
        Estimate.of(point.kl),
        _range(point.random_kl, ".2f"),
        Number(sum(repeated) / len(repeated) if repeated else None, ".2f"),
    ]


def _range(values: Sequence[float], form: str) -> str | None:
    ends = [formatted(end, form) for end in (min(values), max(values))] if values else []
    return " to ".join(ends) or None


def _verdict(result: ScanResult) -> list[str]:
    """Count the points at which the concept does what random directions do not."""
    if all(point.effect is None for point in result.points):
        return ["No text was held out (too few), so there is no effect to measure."]
    if not result.controls:
        return []
    acting = sum(point.acts for point in result.points)
    nothing = "" if acting else " No point shows that the model uses it."
    return [
        f"More than random directions do (p at most {LEVEL} over all points, interval without 0) "
        f"at {acting} of {len(result.points)} points.{nothing}"
    ]


SCAN = Command(
    request=ScanRequest,
    plan=plan,
    present=present,
    result=ScanResult,
)
