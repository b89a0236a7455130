"""A prompt answered as the model would, and with concepts added: ``happy``, ``happy:1.5``, ``happy:1.5+formal:0.5``.

Strength 1 is one natural length: the distance between the mean residual of texts that have the concept and that of neutral ones, at
the layer where it acts (rule ``raw``). Both answers are greedy and measured as in ``circuit.stages.steering.generate``.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from circuit.artifacts.prompts.concept_files import find_concept
from circuit.errors import UsageError
from circuit.stages.concepts.keeping import kept
from circuit.stages.concepts.library import DEPTHS, concept_directions, depths, one_layer
from circuit.stages.options import ActionOptions
from circuit.stages.rows.prompting import encode
from circuit.stages.run import Track, untracked
from circuit.stages.steering.generate import coherence, write
from circuit.stages.steering.intervention import Intervention
from circuit.stages.steering.vectors import described, one_vector, shares
from circuit.values import schemas
from circuit.values.prompt_format import RAW, PromptFormat
from circuit.values.sampling import Sampling

STRENGTH, LAYER, NATURAL = 1.5, "middle", ActionOptions(rule="raw")
NOTES = {
    "early": "what is added here is read by most of the blocks, which may use it or undo it",
    "middle": "where such vectors are usually tried first; which layer is best here, `concepts scan` measures",
    "late": "few blocks are left to work on it, so it acts mostly on the next words themselves",
}


@dataclass(frozen=True)
class Ingredient:
    """A concept and how strongly it is added."""

    name: str
    strength: float


@dataclass(frozen=True)
class Trial:
    """Concepts that act together at one layer, prompts, and how they are answered."""

    mix: tuple[Ingredient, ...]
    prompts: tuple[str, ...]
    layer: str = LAYER
    manner: ActionOptions = NATURAL
    form: PromptFormat = RAW
    sampling: Sampling = field(default_factory=Sampling)


def parse_mix(text: str, strength: float) -> tuple[Ingredient, ...]:
    """Read ``name:strength+name:strength``; a name without a strength has the given one."""
    return tuple(_ingredient(part.strip(), strength) for part in text.split("+"))


def _ingredient(part: str, default: float) -> Ingredient:
    name, colon, number = part.partition(":")
    find_concept(name)
    try:
        strength = float(number) if colon else default
    except ValueError:
        strength = math.nan
    if not math.isfinite(strength):
        message = f"the strength of `{name}` is `{number or default}`, which is not a number"
        raise UsageError("bad-mix", message, hint="write for example happy:1.5+formal:0.5")
    return Ingredient(name, strength)


def try_concepts(
    model: Any,
    trial: Trial,
    out: Path | None = None,
    *,
    force: bool = False,
    track: Track = untracked,
) -> tuple[dict[str, Any], bool]:
    """Answer the prompts plainly and steered; return the results, and whether they were at ``out`` already."""
    vectors = mixed(model, trial, track=track)
    parameters = {**asdict(trial), "vectors": [described(vector) for vector in vectors]}
    return kept(
        out,
        schemas.CONCEPT_TRIAL,
        model,
        parameters,
        lambda: _results(model, trial, vectors),
        force=force,
    )


def mixed(model: Any, trial: Trial, *, track: Track = untracked) -> list[Intervention]:
    """Return the concepts of a trial as interventions."""
    layer = one_layer(trial.layer, model.n_layers)
    return [
        one_vector(
            model,
            concept_directions(model, each.name, [layer], track=track)[0],
            each.strength,
            trial.manner,
            trial.form,
        )
        for each in trial.mix
    ]


def all_of(vectors: Sequence[Intervention]) -> list[Any]:
    """Return the steerings of interventions that act together."""
    return [steering for vector in vectors for steering in vector.at()]


def layer_note(layer: int, n_layers: int) -> str:
    """Say in a line where in the model a layer is, and what that means."""
    named = {at: name for name, at in depths(n_layers).items()}
    where = f"layer {layer} of {n_layers}"
    if layer not in named:
        return f"{where}: {layer / n_layers:.0%} of the way"
    name = named[layer]
    return f"{where} ({name}, {DEPTHS[name]:.0%} of the way): {NOTES[name]}"


def _results(model: Any, trial: Trial, vectors: Sequence[Intervention]) -> dict[str, Any]:
    encoded = encode(model, trial.prompts, trial.form)
    size = shares(model, vectors, encoded)
    answers = {
        name: _answers(model, trial, encoded, steerings)
        for name, steerings in (("plain", []), ("steered", all_of(vectors)))
    }
    return {
        "concepts": [
            {
                "name": vector.name,
                "layer": vector.terms[0].direction.layer,
                "strength": vector.coefficient,
                "norm": vector.terms[0].direction.norm,
                "share": share,
                "auroc": vector.terms[0].direction.quality.get("auroc"),
            }
            for vector, share in zip(vectors, size, strict=True)
        ],
        "note": layer_note(vectors[0].terms[0].direction.layer, model.n_layers),
        "answers": [
            {"prompt": prompt, **{name: given[row] for name, given in answers.items()}}
            for row, prompt in enumerate(trial.prompts)
        ],
    }


def _answers(
    model: Any, trial: Trial, encoded: Sequence[Any], steerings: Sequence[Any]
) -> list[dict[str, Any]]:
    written = write(model, encoded, steerings, trial.sampling)
    measured = coherence(model, encoded, written, steerings)
    return [
        {"text": answer.text, **asdict(measure), **tokens}
        for answer, measure, tokens in zip(
            written, measured, _tokens(model, encoded, written, steerings), strict=True
        )
    ]


def _tokens(
    model: Any, encoded: Sequence[Any], written: Sequence[Any], steerings: Sequence[Any]
) -> list[dict[str, Any]]:
    """Return for each answer its tokens, and their log-probability under the model as it is and as it wrote."""
    from circuit.model.forward.teacher_forcing import token_log_probs
    from circuit.model.interventions.steering import steered
    from circuit.stages.steering.generate import texts_of

    texts = texts_of(encoded, [each.ids for each in written])
    plain_log_probs = token_log_probs(model, list(texts.values())) if texts else []
    with steered(model, steerings):
        own = token_log_probs(model, list(texts.values())) if texts else []
    found = {
        row: {"log_p": as_it_is.tolist(), "log_p_steered": as_written.tolist()}
        for row, as_it_is, as_written in zip(texts, plain_log_probs, own, strict=True)
    }
    nothing: dict[str, Any] = {"log_p": [], "log_p_steered": []}
    return [
        {"tokens": [model.tokenizer.decode([i]) for i in each.ids], **found.get(row, nothing)}
        for row, each in enumerate(written)
    ]
