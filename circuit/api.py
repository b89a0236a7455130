"""What a notebook imports: any command as ``run(request)``, and steering in a few calls.

    from circuit import create_contrast_vector, generate_with_steering, load

    model = load("tiny")
    vector = create_contrast_vector(
        model,
        positive_prompt="I provide helpful information.",
        negative_prompt="I provide unhelpful information.",
        layer=3,
    )
    result = generate_with_steering(
        model,
        prompt="How can I help you today?",
        steering_vectors=[{"vector": vector, "layer": 3, "coefficient": 2.0}],
        max_new_tokens=50,
    )
    print(result.text)

A vector is a ``Direction``, or an array of numbers ``(d_model,)``. By the rule ``raw``, the default
here, coefficient 1 adds it at its natural length: the whole difference of the two prompts at the
last token, after block ``layer`` (counted from 0), at every token. The other rules, operators and
scopes are those of ``circuit steer``. A user's error raises a ``CircuitError``.

The commands use the same functions. Each also runs from Python: its options are the fields of its
request.

    from circuit import run
    from circuit.introspect.questions.layer import LayerRequest
    from circuit.stages.options import ModelOptions, PromptsOptions

    prompts = PromptsOptions(prompts="1 + 1 = |1 + 1 =")
    run(LayerRequest(model=ModelOptions(model="tiny"), prompts=prompts, layers="2"))
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict, Unpack, overload

from circuit.artifacts.directions.direction import Direction
from circuit.artifacts.files.yaml_or_json import nearest
from circuit.errors import UsageError
from circuit.model.checkpoint.loading import LoadedModel as Model
from circuit.stages.options import ActionOptions, ModelOptions
from circuit.stages.rows.prompting import encode
from circuit.stages.run import run
from circuit.stages.steering.from_prompts import MIDDLE, extract_direction
from circuit.stages.steering.generate import Coherence, answer, write
from circuit.stages.steering.intervention import Intervention
from circuit.stages.steering.source import parse_number
from circuit.stages.steering.vectors import RULE, direction_of_array, one_vector
from circuit.stages.sweep.best_layers import LayerGain, best_layers
from circuit.values.prompt_format import PromptFormat
from circuit.values.sampling import Sampling

__all__ = [
    "Coherence",
    "Direction",
    "LayerGain",
    "Model",
    "SteeredText",
    "create_contrast_vector",
    "find_best_layers_for_steering",
    "generate_with_steering",
    "load",
    "run",
]
_KEYS = ("vector", "layer", "coefficient", "rule", "operator", "scope", "name")
Vector = Mapping[str, Any]


@dataclass(frozen=True)
class SteeredText:
    """An answer, its token ids, its coherence, and the unsteered answer if it was requested."""

    prompt: str
    text: str
    ids: tuple[int, ...]
    coherence: Coherence
    unsteered: str | None = None


class SamplingKeywords(TypedDict, total=False):
    """How each token is chosen: see ``circuit.values.sampling``; by default greedily."""

    temperature: float
    top_p: float
    top_k: int
    min_p: float
    repetition_penalty: float | None
    seed: int


def load(
    model_id: str,
    *,
    revision: str | None = None,
    adapter: Path | None = None,
    dtype: str = "auto",
    trust_remote_code: bool = False,
) -> Model:
    """Load a model: an id on the Hugging Face hub, the folder of a checkpoint, or ``tiny``."""
    options = ModelOptions(
        model=model_id,
        revision=revision,
        adapter=adapter,
        dtype=dtype,
        trust_remote_code=trust_remote_code,
    )
    return options.load()


def create_contrast_vector(
    model: Model,
    positive_prompt: str,
    negative_prompt: str | None = None,
    layer: int | str = MIDDLE,
    *,
    chat: bool = False,
    system: str | None = None,
    name: str = "direction",
) -> Direction:
    """Return h(positive) − h(negative) at the last token after block ``layer``, or h(positive).

    The result holds the unit vector, its natural length (``norm``) and its origin.
    """
    form = PromptFormat(chat, system)
    return extract_direction(
        model, positive_prompt, negative_prompt, layer=str(layer), form=form, name=name
    )


def find_best_layers_for_steering(
    model: Model,
    positive_prompt: str,
    negative_prompt: str,
    test_prompt: str | Sequence[str],
    target_word: str,
    *,
    layers: str = "all",
    kl: float = 1.0,
    chat: bool = False,
) -> list[LayerGain]:
    """Return how much likelier steering at each layer makes ``target_word``, largest gain first.

    Each layer steers at the strength that moves neutral prompts by ``kl`` nats: see
    ``circuit.stages.sweep.best_layers``. With one test prompt there is no interval, and the best
    layer is a guess.
    """
    return best_layers(
        model,
        (positive_prompt, negative_prompt),
        [test_prompt] if isinstance(test_prompt, str) else list(test_prompt),
        target_word,
        layers=layers,
        kl=kl,
        form=PromptFormat(chat),
    )


@overload
def generate_with_steering(
    model: Model,
    prompt: str,
    steering_vectors: Sequence[Vector] = ...,
    *,
    max_new_tokens: int = ...,
    chat: bool = ...,
    system: str | None = ...,
    unsteered: bool = ...,
    **sampling: Unpack[SamplingKeywords],
) -> SteeredText: ...
@overload
def generate_with_steering(
    model: Model,
    prompt: list[str] | tuple[str, ...],
    steering_vectors: Sequence[Vector] = ...,
    *,
    max_new_tokens: int = ...,
    chat: bool = ...,
    system: str | None = ...,
    unsteered: bool = ...,
    **sampling: Unpack[SamplingKeywords],
) -> list[SteeredText]: ...
def generate_with_steering(
    model: Model,
    prompt: str | list[str] | tuple[str, ...],
    steering_vectors: Sequence[Vector] = (),
    *,
    max_new_tokens: int = 50,
    chat: bool = False,
    system: str | None = None,
    unsteered: bool = False,
    **sampling: Unpack[SamplingKeywords],
) -> SteeredText | list[SteeredText]:
    """Answer a prompt, or each of a list, while the vectors act; greedily at temperature 0.

    A vector is ``{"vector", "layer", "coefficient"}``, with ``rule``, ``operator``, ``scope`` and
    ``name`` if needed. With ``unsteered`` the result also has the unsteered answer.
    """
    form, settings = PromptFormat(chat, system), Sampling(max_new_tokens, **sampling)
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    vectors = [_vector(model, given, n, form) for n, given in enumerate(steering_vectors)]
    steerings = [steering for vector in vectors for steering in vector.at()]
    encoded = encode(model, prompts, form)
    plain = [each.text for each in write(model, encoded, [], settings)] if unsteered else []
    results = [
        SteeredText(
            prompt=prompts[row],
            text=written.text,
            ids=tuple(written.ids),
            coherence=measured,
            unsteered=plain[row] if unsteered else None,
        )
        for row, (written, measured) in enumerate(answer(model, encoded, steerings, settings))
    ]
    return results[0] if isinstance(prompt, str) else results


def _vector(model: Model, given: Vector, number: int, form: PromptFormat) -> Intervention:
    what = f"steering vector {number}"
    for key in given:
        if key not in _KEYS:
            message = f"{what} has the unknown key `{key}`"
            hint = nearest(str(key), _KEYS) + ", ".join(_KEYS)
            raise UsageError("unknown-key", message, hint=hint, key=key)
    action = ActionOptions(
        rule=str(given.get("rule", RULE)),
        operator=str(given.get("operator", "add")),
        scope=str(given.get("scope", "all")),
    )
    coefficient = parse_number(str(given.get("coefficient", 1.0)), f"the coefficient of {what}")
    return one_vector(model, _direction(given, what), coefficient, action, form)


def _direction(given: Vector, what: str) -> Direction:
    vector, layer = given.get("vector"), given.get("layer")
    if vector is None:
        hint = 'write {"vector": …, "layer": 10, …}'
        raise UsageError("vector-missing", f"{what} has no vector", hint=hint)
    if layer is not None and (isinstance(layer, bool) or not isinstance(layer, int)):
        message = f"the layer of {what} is `{layer}`"
        raise UsageError("layer-not-a-number", message, hint="give a block's number, from 0")
    if isinstance(vector, Direction):
        return vector if layer is None else replace(vector, layer=layer)
    if layer is None:
        message = f"{what} has no layer"
        raise UsageError("layer-missing", message, hint="give the block after which it acts")
    return direction_of_array(vector, layer, str(given.get("name", what)))
