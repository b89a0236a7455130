"""What fine-tuning moved in the activations: two checkpoints, or one without and with an adapter, on the same prompts.

At ``resid_post`` of each layer, at the last token of every prompt, rows A of the base and B of the fine-tuned model:

    cosine      of row i in both, and *centred* (the mean of each model's rows is taken off first: what is common to all prompts says
                little about what moved)
    moved       ‖b − a‖ / ‖a‖            norm ratio    ‖b‖ / ‖a‖
    cka         linear, unbiased: 1 for the same geometry up to rotation and scale; the only one where widths differ

Means over prompts have bootstrap intervals over groups, CKA a jackknife's (``methods.cka_interval``). Each model reads the prompts with its
own tokenizer and template; prompts that become other tokens are counted and named, since there more than the weights differs. Models of
different depth are compared at the same share of their depth. The models are loaded one after the other.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from circuit.introspect.compare.two_models import in_turn, name_of
from circuit.introspect.compare.vocabulary import Vocabulary
from circuit.introspect.questions.analyze import describe
from circuit.methods.arrays import Array
from circuit.methods.geometry.cka_interval import cka_estimate
from circuit.methods.geometry.similarity import all_equal, paired_cosines, relative_distances
from circuit.methods.uncertainty.means import mean_interval
from circuit.stages.legacy import ModelOptions
from circuit.stages.rows.prompt_input import PromptInput
from circuit.stages.rows.prompting import encode
from circuit.values.layers import parse_layers

Mean = list[float | None]


@dataclass(frozen=True)
class LayerDiff:
    """One layer of the base and the layer of the other that is compared with it; means with intervals, None where not defined."""

    layer: int
    other_layer: int
    cosine: Mean | None
    centred_cosine: Mean | None
    moved: Mean | None
    norm_ratio: Mean | None
    cka: Mean | None


@dataclass(frozen=True)
class ActivationDiff:
    """Every layer, and what else differs."""

    models: list[dict[str, Any]]
    format: str
    prompts: list[str]
    layers: list[LayerDiff]
    other_tokens: list[int]
    same_vocabulary: bool
    cosines: list[float] | None
    n_groups: int

    def as_dict(self) -> dict[str, Any]:
        """Return everything, as JSON holds it."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class _Collected:
    """What is kept of a model when it is gone."""

    about: dict[str, Any]
    vocabulary: Vocabulary
    form: str
    tokens: list[list[str]]
    states: dict[int, Array]


def activation_diff(
    options: tuple[ModelOptions, ModelOptions],
    given: PromptInput,
    *,
    layers: str = "all",
    raw: bool | None = None,
) -> ActivationDiff:
    """Compare both models; raises ``UsageError`` for layers that the base has not."""
    a, b = in_turn(options, lambda model: _collect(model, given, raw))
    depth = len(a.states)
    at = sorted(set(parse_layers(layers, range(depth), depth)))
    differ = [i for i, (x, y) in enumerate(zip(a.tokens, b.tokens, strict=True)) if x != y]
    pairs = [(k, counterpart(k, depth, len(b.states))) for k in at]
    found = [_layer(k, j, a.states[k], b.states[j], given.groups) for k, j in pairs]
    return ActivationDiff(
        [{**x.about, "name": name_of(o)} for x, o in zip((a, b), options, strict=True)],
        a.form,
        given.texts,
        found,
        differ,
        a.vocabulary.same_as(b.vocabulary),
        _prompt_cosines(a, b, found),
        given.n_groups,
    )


def counterpart(layer: int, n_layers: int, n_other: int) -> int:
    """Return the layer of the other model at the same share of its depth, (layer + 1) / n_layers."""
    return max(0, round((layer + 1) / n_layers * n_other) - 1)


def _collect(model: Any, given: PromptInput, raw: bool | None) -> _Collected:
    from circuit.model.forward.last_token import last_residuals
    from circuit.model.forward.token_states import token_texts

    form = given.form(None if raw is None else not raw)
    encoded = encode(model, given.texts, form)
    return _Collected(
        {**describe(model), "identity": asdict(model.identity)},
        Vocabulary(model.tokenizer),
        form.name,
        [token_texts(model, prompt.ids.tolist()) for prompt in encoded],
        last_residuals(model, encoded, range(model.n_layers)),
    )


def _layer(layer: int, other: int, a: Array, b: Array, groups: Sequence[str]) -> LayerDiff:
    similar = cka_estimate(a, b, groups)
    if a.shape[1] != b.shape[1]:
        return LayerDiff(layer, other, None, None, None, None, similar)
    wide = a.astype(np.float64), b.astype(np.float64)
    centred = [rows - rows.mean(axis=0) for rows in wide]
    lengths = [np.linalg.norm(rows, axis=1) for rows in wide]
    centrable = len(a) > 2 and not any(map(all_equal, wide))
    return LayerDiff(
        layer,
        other,
        mean_interval(paired_cosines(*wide), groups, bounds=(-1, 1)),
        mean_interval(paired_cosines(*centred), groups, bounds=(-1, 1)) if centrable else None,
        mean_interval(relative_distances(*wide), groups, bounds=(0, np.inf)),
        mean_interval(
            lengths[1] / np.where(lengths[0] > 0, lengths[0], 1), groups, bounds=(0, np.inf)
        ),
        similar,
    )


def _prompt_cosines(a: _Collected, b: _Collected, found: Sequence[LayerDiff]) -> list[float] | None:
    """Return the cosine of each prompt at the layer that moved most."""
    moved = [each for each in found if each.moved is not None]
    if not moved:
        return None
    most = max(moved, key=lambda each: (each.moved or [0.0])[0] or 0.0)
    cosines = paired_cosines(a.states[most.layer], b.states[most.other_layer])
    return [round(float(value), 6) for value in cosines]
