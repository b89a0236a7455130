"""The pipeline's steering from Python: load a model, make a vector of two prompts, generate with it.

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

A vector is a ``Direction``, or an array of numbers ``(d_model,)``. By the rule ``raw``, the default here, coefficient 1 adds it as
it is: the whole difference of the two prompts at the last token, after block ``layer`` (counted from 0), at every token.
The other rules, operators and scopes are those of ``circuit steer``. What a user can get wrong raises a ``CircuitError``.

The commands use the same functions below this one: there is one implementation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

from circuit.artifacts.files.yaml_or_json import nearest
from circuit.artifacts.steering_files.files import Direction
from circuit.errors import UsageError
from circuit.model.checkpoint.loading import LoadedModel as Model
from circuit.stages.legacy import ModelOptions
from circuit.stages.rows.prompting import encode
from circuit.stages.steering.from_prompts import Pair, extract_direction
from circuit.stages.steering.generate import AS_IT_IS, Acting, Coherence, coherence, write
from circuit.stages.steering.intervention import Manner
from circuit.stages.steering.source import parse_number
from circuit.stages.steering.vectors import RULE, direction_of_array, ready_vector
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
]
_KEYS = ("vector", "layer", "coefficient", "rule", "operator", "scope", "name")


@dataclass(frozen=True)
class SteeredText:
    """An answer, its token ids, how coherent it is, and what the model answers as it is, where that was asked for."""

    prompt: str
    text: str
    ids: tuple[int, ...]
    coherence: Coherence
    unsteered: str | None = None


def load(
    model_id: str,
    *,
    revision: str | None = None,
    adapter: Path | None = None,
    dtype: str = "auto",
    trust_remote_code: bool = False,
) -> Model:
    """Load a model: an id on the Hugging Face hub, the folder of a checkpoint, or ``tiny``."""
    model: Model = ModelOptions(model_id, revision, adapter, dtype, trust_remote_code).load()
    return model


def create_contrast_vector(
    model: Model,
    positive_prompt: str,
    negative_prompt: str | None = None,
    layer: int | str = "50%",
    *,
    chat: bool = False,
    system: str | None = None,
    name: str = "direction",
) -> Direction:
    """Return h(positive) − h(negative) at the last token after block ``layer``, or h(positive) alone.

    The result holds the unit vector, its natural length (``norm``) and where it came from.
    """
    pair = Pair(positive_prompt, negative_prompt, name)
    return extract_direction(model, pair, layer=str(layer), form=PromptFormat(chat, system))


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
    """Return how much likelier steering at each layer makes ``target_word`` after the test prompts, the largest gain first.

    Each layer steers at the strength that moves neutral prompts by ``kl`` nats: see ``circuit.stages.sweep.best_layers``. With one prompt
    there is no interval, and the best layer is a guess.
    """
    prompts = [test_prompt] if isinstance(test_prompt, str) else list(test_prompt)
    form = PromptFormat(chat)
    return best_layers(
        model,
        positive_prompt,
        negative_prompt,
        prompts,
        target_word,
        layers=layers,
        kl=kl,
        form=form,
    )


@overload
def generate_with_steering(
    model: Model,
    prompt: str,
    steering_vectors: Sequence[Mapping[str, Any]] = ...,
    *,
    max_new_tokens: int = ...,
    temperature: float = ...,
    top_p: float = ...,
    top_k: int = ...,
    min_p: float = ...,
    repetition_penalty: float | None = ...,
    seed: int = ...,
    chat: bool = ...,
    system: str | None = ...,
    unsteered: bool = ...,
) -> SteeredText: ...
@overload
def generate_with_steering(
    model: Model,
    prompt: list[str] | tuple[str, ...],
    steering_vectors: Sequence[Mapping[str, Any]] = ...,
    *,
    max_new_tokens: int = ...,
    temperature: float = ...,
    top_p: float = ...,
    top_k: int = ...,
    min_p: float = ...,
    repetition_penalty: float | None = ...,
    seed: int = ...,
    chat: bool = ...,
    system: str | None = ...,
    unsteered: bool = ...,
) -> list[SteeredText]: ...
def generate_with_steering(
    model: Model,
    prompt: str | list[str] | tuple[str, ...],
    steering_vectors: Sequence[Mapping[str, Any]] = (),
    *,
    max_new_tokens: int = 50,
    temperature: float = 0.0,
    top_p: float = 0.0,
    top_k: int = 0,
    min_p: float = 0.0,
    repetition_penalty: float | None = None,
    seed: int = 0,
    chat: bool = False,
    system: str | None = None,
    unsteered: bool = False,
) -> SteeredText | list[SteeredText]:
    """Answer a prompt, or each of a list, while the vectors act together; greedily at temperature 0.

    A vector is ``{"vector", "layer", "coefficient"}``, and may say its ``rule``, ``operator``, ``scope`` and ``name``. With
    ``unsteered`` the result also has what the model answers as it is.
    """
    form = PromptFormat(chat, system)
    sampling = Sampling(max_new_tokens, temperature, top_p, top_k, min_p, repetition_penalty, seed)
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    acting = _acting(model, steering_vectors, form)
    encoded = encode(model, prompts, form)
    plain = write(model, encoded, AS_IT_IS, sampling) if unsteered else [None] * len(prompts)
    answers = write(model, encoded, acting, sampling)
    measured = coherence(model, encoded, answers, acting)
    results = [
        SteeredText(text, each.text, tuple(each.ids), cost, None if base is None else base.text)
        for text, each, cost, base in zip(prompts, answers, measured, plain, strict=True)
    ]
    return results[0] if isinstance(prompt, str) else results


def _acting(model: Model, vectors: Sequence[Mapping[str, Any]], form: PromptFormat) -> Acting:
    ready = [_ready(model, vector, number, form) for number, vector in enumerate(vectors)]
    return Acting(tuple((each.intervention, each.coefficient) for each in ready))


def _ready(model: Model, given: Mapping[str, Any], number: int, form: PromptFormat) -> Any:
    what = f"steering vector {number}"
    for key in given:
        if key not in _KEYS:
            message = f"{what} has the unknown key `{key}`"
            raise UsageError(message, hint=nearest(str(key), _KEYS) + ", ".join(_KEYS))
    if given.get("vector") is None:
        raise UsageError(f"{what} has no vector", hint='write {"vector": …, "layer": 10, …}')
    manner = Manner(
        given.get("rule", RULE), given.get("operator", "add"), given.get("scope", "all")
    )
    coefficient = parse_number(str(given.get("coefficient", 1.0)), f"the coefficient of {what}")
    return ready_vector(model, _direction(given, what), coefficient, manner, form)


def _direction(given: Mapping[str, Any], what: str) -> Direction:
    vector, layer = given["vector"], given.get("layer")
    if layer is not None and (isinstance(layer, bool) or not isinstance(layer, int)):
        raise UsageError(f"the layer of {what} is `{layer}`", hint="give a block's number, from 0")
    if isinstance(vector, Direction):
        return vector if layer is None else replace(vector, layer=layer)
    if layer is None:
        raise UsageError(f"{what} has no layer", hint="say after which block it acts")
    return direction_of_array(vector, layer, str(given.get("name", what)))
