"""How alike a model holds some prompts, layer by layer: within a label and between labels.

h_i = ``resid_post`` at the last token of prompt i. Similarity is the cosine, raw and *centred* (the mean over the prompts is taken off first:
residuals share a large common part, so that raw cosines are near 1 whatever the prompts say; with two prompts the centred one is −1 by
construction, and it is left out under three).

    within       mean cosine of pairs of prompts with one label       between   of pairs with two labels
    separation   within − between

Intervals come from a bootstrap over groups, within labels; a prompt that is drawn twice is no pair with itself. p is the share of permuted
labels that separate at least as well; both need two groups of every label. A separation is about these prompts: a label that is also
a matter of length or of one word separates, too.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from circuit.errors import UsageError
from circuit.introspect.attention.attended import Attended, attended
from circuit.introspect.inputs.prompts import Given
from circuit.introspect.lens.states import last_states
from circuit.methods.arrays import Array
from circuit.methods.geometry.label_similarity import Separation, separation
from circuit.methods.geometry.similarity import cosine_matrix
from circuit.stages.rows.prompting import encode
from circuit.values.layers import parse_layers


@dataclass(frozen=True)
class LayerSimilarity:
    """Cosines between all prompts after one block, and how labels stand out in them."""

    layer: int
    matrix: list[list[float]]
    centred_matrix: list[list[float]] | None
    raw: Separation
    centred: Separation | None


@dataclass(frozen=True)
class Layers:
    """Every layer, and for each prompt where its last token attends."""

    prompts: list[str]
    labels: list[str]
    format: str
    layers: list[LayerSimilarity]
    attention: list[list[Attended]] | None
    n_groups: int

    def as_dict(self) -> dict[str, Any]:
        """Return everything, as JSON holds it."""
        return asdict(self)


def labels_of(given: Given, labels: str | None) -> list[str]:
    """Return a label for each prompt: as listed, the set's own, or a label of its own for each."""
    n = len(given.texts)
    if labels is not None:
        named = [label.strip() for label in labels.split(",")]
        if len(named) != n or not all(named):
            message = f"{len(named)} labels are given for {n} prompts"
            raise UsageError(message, hint="write --labels working,broken: one for each prompt")
        return named
    own = given.prompt_set
    if own is not None and all(prompt.label is not None for prompt in own.prompts):
        return [str(prompt.label) for prompt in own.prompts]
    return [str(i) for i in range(n)]


def check_several(given: Given) -> None:
    """Raise ``UsageError`` for one prompt, which can be compared with nothing."""
    if len(given.texts) < 2:
        message = "one prompt is similar to nothing"
        raise UsageError(message, hint="give two or more: -p 'a|b'")


def layer_similarity(
    model: Any,
    given: Given,
    labels: Sequence[str],
    *,
    layers: str = "all",
    attention: bool = False,
    raw: bool | None = None,
    seed: int = 0,
) -> Layers:
    """Compare all prompts at every layer; needs two prompts."""
    check_several(given)
    at = sorted(set(parse_layers(layers, range(model.n_layers), model.n_layers)))
    form = given.form(model, raw)
    encoded = encode(model, given.texts, form)
    states = last_states(model, encoded, at)
    return Layers(
        given.texts,
        list(labels),
        form.name,
        [_layer(k, states[k], labels, given.groups, seed) for k in at],
        [_attention(model, prompt.ids, at) for prompt in encoded] if attention else None,
        given.n_groups,
    )


def _layer(
    layer: int,
    rows: Array,
    labels: Sequence[str],
    groups: Sequence[str],
    seed: int,
) -> LayerSimilarity:
    plain = cosine_matrix(rows)
    centred = cosine_matrix(rows - rows.mean(axis=0, dtype=np.float64)) if len(rows) > 2 else None
    return LayerSimilarity(
        layer,
        np.round(plain, 6).tolist(),
        None if centred is None else np.round(centred, 6).tolist(),
        separation(plain, labels, groups, seed=seed),
        None if centred is None else separation(centred, labels, groups, seed=seed),
    )


def _attention(model: Any, ids: Any, layers: Sequence[int]) -> list[Attended]:
    from circuit.model.forward.last_attention import last_attention
    from circuit.model.forward.token_states import token_texts

    tokens = token_texts(model, ids.tolist())
    found = last_attention(model, ids.tolist(), layers)
    return [attended(layer, found[layer], tokens) for layer in layers]
