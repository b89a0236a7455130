"""``circuit concepts try``: prompts answered by the unsteered model, and with concepts added.

Concepts are written ``happy``, ``happy:1.5`` or ``happy:1.5+formal:0.5``. Strength 1 is one natural
length: the distance between the mean residual of texts that have the concept and that of neutral
ones, at the layer where it acts (rule ``raw``). Both answers are greedy and measured as in
``circuit.stages.steering.generate``.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from circuit.artifacts.prompts.concept_files import find_concept
from circuit.present.document import Document, Part, Text
from circuit.present.numbers import formatted
from circuit.stages.concepts.library import (
    DEPTHS,
    Contents,
    concept_directions,
    depths,
    one_layer,
)
from circuit.stages.concepts.request import MIDDLE, TryRequest
from circuit.stages.concepts.results import AddedConcept, PromptAnswers, TrialAnswer, TryResult
from circuit.stages.figures.picture_files import check_picture
from circuit.stages.options import ActionOptions
from circuit.stages.rows.prompt_input import read_prompt_input
from circuit.stages.rows.prompting import encode, format_for
from circuit.stages.run import SILENT, Command, Job, Plan, Session
from circuit.stages.steering.generate import answer, shown, texts_of
from circuit.stages.steering.intervention import Intervention
from circuit.stages.steering.rules import check_action
from circuit.stages.steering.source import parse_number
from circuit.stages.steering.vectors import one_vector, shares
from circuit.values import schemas
from circuit.values.prompt_format import RAW, PromptFormat
from circuit.values.sampling import Sampling

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel
    from circuit.model.interventions.steering import Steering
    from circuit.model.prompts.tokens import EncodedPrompt

NATURAL = ActionOptions(rule="raw")
NOTES = {
    "early": "most blocks read what is added here, and may use it or undo it",
    "middle": "the usual first choice; `concepts scan` measures which layer is best",
    "late": "few blocks follow, so it acts mostly on the next words themselves",
}


@dataclass(frozen=True)
class Ingredient:
    """A concept and how strongly it is added."""

    name: str
    strength: float


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Concepts that act together at one layer, prompts, and how they are answered."""

    mix: tuple[Ingredient, ...]
    prompts: Sequence[str]
    layer: str = MIDDLE
    action: ActionOptions = NATURAL
    form: PromptFormat = RAW
    sampling: Sampling = field(default_factory=Sampling)


def plan(request: TryRequest) -> Plan[TryResult]:
    """Read the mix and the prompts."""
    action, picture = ActionOptions(rule=request.rule), check_picture(request.plot.plot)
    mix = parse_mix(request.mix, request.strength)
    check_action(action)
    given = read_prompt_input(request.prompts)
    trial = Trial(
        mix=mix,
        prompts=given.texts,
        layer=request.layer,
        action=action,
        form=format_for(given.prompt_set or given.texts, request.prompt_format),
        sampling=Sampling(request.max_tokens),
    )
    contents = Contents({each.name: find_concept(each.name) for each in mix})
    known = {**asdict(trial), "vectors": contents.parameters()}

    def begin(model: "LoadedModel") -> Job[TryResult]:
        one_layer(trial.layer, model.n_layers)  # refuses a layer that the model lacks
        return Job(parameters=known, compute=lambda session: try_concepts(model, trial, session))

    def draw(result: TryResult, path: Path, *, force: bool) -> str:
        from circuit.stages.concepts.pictures import draw_trial

        return draw_trial(result, path, force=force)

    return Plan(
        result=TryResult,
        schema=schemas.CONCEPT_TRIAL,
        model=request.model,
        inputs=given.inputs,
        output=request.output.output,
        force=request.output.force,
        known=known,
        pictures={picture: draw} if picture else {},
        begin=begin,
    )


def parse_mix(text: str, strength: float) -> tuple[Ingredient, ...]:
    """Read ``name:strength+name:strength``; a name without a strength has the given one."""
    return tuple(_ingredient(part.strip(), strength) for part in text.split("+"))


def _ingredient(part: str, default: float) -> Ingredient:
    name, colon, number = part.partition(":")
    find_concept(name)
    text = number if colon else str(default)
    return Ingredient(name, parse_number(text, f"the strength of `{name}`"))


def try_concepts(model: "LoadedModel", trial: Trial, session: Session = SILENT) -> TryResult:
    """Answer the prompts unsteered and steered."""
    layer = one_layer(trial.layer, model.n_layers)
    vectors = _vectors(model, trial, layer, session)
    encoded = encode(model, trial.prompts, trial.form)
    size = shares(model, vectors, encoded)
    steerings = [steering for vector in vectors for steering in vector.at()]
    plain = _answers(model, trial, encoded, [])
    steered = _answers(model, trial, encoded, steerings)
    return TryResult(
        concepts=[_added(vector, share) for vector, share in zip(vectors, size, strict=True)],
        note=layer_note(layer, model.n_layers),
        answers=[
            PromptAnswers(prompt=prompt, plain=before, steered=after)
            for prompt, before, after in zip(trial.prompts, plain, steered, strict=True)
        ],
    )


def _vectors(
    model: "LoadedModel", trial: Trial, layer: int, session: Session
) -> list[Intervention]:
    return [
        one_vector(
            model,
            concept_directions(model, each.name, [layer], session)[0],
            each.strength,
            trial.action,
            trial.form,
        )
        for each in trial.mix
    ]


def _added(vector: Intervention, share: float | None) -> AddedConcept:
    direction = vector.terms[0].direction
    return AddedConcept(
        name=direction.name,
        layer=direction.layer,
        strength=vector.coefficient,
        norm=direction.norm,
        share=share,
        auroc=direction.quality.get("auroc"),
    )


def layer_note(layer: int, n_layers: int) -> str:
    """Describe in a line where in the model a layer is, and what that means."""
    named = {at: name for name, at in depths(n_layers).items()}
    where = f"layer {layer} of {n_layers}"
    if layer not in named:
        return f"{where}: {layer / n_layers:.0%} of the way"
    name = named[layer]
    return f"{where} ({name}, {DEPTHS[name]:.0%} of the way): {NOTES[name]}"


def _answers(
    model: "LoadedModel",
    trial: Trial,
    encoded: "Sequence[EncodedPrompt]",
    steerings: "Sequence[Steering]",
) -> list[TrialAnswer]:
    from circuit.model.forward.teacher_forcing import token_log_probs
    from circuit.model.interventions.steering import steered

    found = answer(model, encoded, steerings, trial.sampling)
    texts = texts_of(encoded, [each.ids for each, _ in found])
    unsteered = token_log_probs(model, list(texts.values())) if texts else []
    with steered(model, steerings):
        own = token_log_probs(model, list(texts.values())) if texts else []
    log_p = {row: values.tolist() for row, values in zip(texts, unsteered, strict=True)}
    log_p_steered = {row: values.tolist() for row, values in zip(texts, own, strict=True)}
    return [
        TrialAnswer(
            text=written.text,
            tokens=[model.tokenizer.decode([i]) for i in written.ids],
            log_p=log_p.get(row, []),
            log_p_steered=log_p_steered.get(row, []),
            **vars(measured),
        )
        for row, (written, measured) in enumerate(found)
    ]


def present(result: TryResult) -> Document:
    """Show what was added, and both answers to every prompt."""
    parts: list[Part] = [Text([*map(_concept_line, result.concepts), result.note])]
    for each in result.answers:
        both = {"plain": each.plain, "steered": each.steered}
        lines = [f"  {kind:8}{shown(one.text, one)}" for kind, one in both.items()]
        parts.append(Text(["", f"Prompt: {each.prompt!r}", *lines]))
    return Document("", parts)


def _concept_line(each: AddedConcept) -> str:
    strength, norm = formatted(each.strength, "g"), formatted(each.norm, ".1f")
    facts = [f"{each.name}: strength {strength} x {norm}"]
    if each.share is not None:
        facts.append(f"{formatted(each.share, '.0%')} of the residual's norm")
    if each.auroc is not None:
        facts.append(f"held-out AUROC {formatted(each.auroc[0])}")
    return ", ".join(facts)


TRY = Command(
    request=TryRequest,
    plan=plan,
    present=present,
    result=TryResult,
)
