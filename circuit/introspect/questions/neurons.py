"""Single neurons of one MLP: how active they are, what tells prompts apart, and what they write.

A neuron's activation is a column of ``mlp_act``, what the block's last map reads. It writes its activation times a vector w_i
(``model.neurons``). Which neurons are looked at:

    by number       those that are named
    by direction    the largest |w_i · v| for a steering file's v: what an activation of 1 adds along it, with cos(w_i, v) beside what the largest
                    of as many random directions has
    discovered      those whose activation at the last token tells two labels apart best. The best of thousands separates noise, so its quality
                    is held out (``methods.single_feature``)

Of each: its activation at every token, mean activation at the last token by label with a bootstrap interval over groups, and the tokens that
w_i promotes through the model's own tail, the direct effect only (``stages.directions_tokens``).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from circuit.artifacts.files.documents import plain
from circuit.artifacts.steering_files.files import Direction, read_steering_file
from circuit.errors import DataError, UsageError
from circuit.methods.arrays import Array
from circuit.methods.quality.chance_cosine import cosine_bound
from circuit.methods.quality.single_feature import FeatureChoice, choose_feature
from circuit.methods.uncertainty.means import mean_interval
from circuit.stages.directions.tokens import promoted_by, the_one
from circuit.stages.rows.prompt_input import PromptInput
from circuit.stages.rows.prompting import encode
from circuit.stages.rows.same_weights import check_model
from circuit.values.layers import parse_layers
from circuit.values.sites import Site
from circuit.values.thresholds import MIN_GROUPS


@dataclass(frozen=True)
class Wanted:
    """Which neurons: exactly one of their numbers, a steering file, or discovery by labels."""

    indices: list[int] | None = None
    direction: Path | None = None
    discover: bool = False
    top_k: int = 10

    def __post_init__(self) -> None:
        ways = [self.indices is not None, self.direction is not None, self.discover]
        if sum(ways) != 1:
            message = "which neurons is not said" if not any(ways) else "neurons are chosen twice"
            raise UsageError(message, hint="give one of -n, --from-direction and --auto-discover")


@dataclass(frozen=True)
class Along:
    """A neuron's part in a direction: w · v, and the cosine of both."""

    dot: float
    cosine: float


@dataclass(frozen=True)
class Neuron:
    """One neuron; ``activations`` are those of each prompt's tokens, ``by_label`` means at the last token."""

    index: int
    activations: list[list[float]]
    by_label: dict[str, list[float | None]]
    write_norm: float
    along: Along | None
    promoted: list[dict[str, Any]]
    suppressed: list[dict[str, Any]]


@dataclass(frozen=True)
class Neurons:
    """The neurons that were chosen, and how."""

    layer: int
    n_neurons: int
    format: str
    prompts: list[str]
    labels: list[str]
    tokens: list[list[str]]
    how: str
    neurons: list[Neuron]
    chance_cosine: float | None
    discovery: FeatureChoice | None
    claimed: bool | None
    random_promotes: list[float]
    n_groups: int

    def as_dict(self) -> dict[str, Any]:
        """Return everything, as JSON holds it."""
        return asdict(self)


def parse_indices(texts: Sequence[str]) -> list[int] | None:
    """Read neuron numbers, ``5,7`` or several options; None where there are none."""
    parts = [part.strip() for text in texts for part in text.split(",")]
    for part in parts:
        if not part.isdecimal():
            message = f"`{part}` is not the number of a neuron"
            raise UsageError(message, hint="write -n 5,7")
    return [int(part) for part in dict.fromkeys(parts)] if parts else None


def read_direction(path: Path) -> Direction:
    """Read the direction of a steering file: its only one, or the one that it recommends."""
    return the_one(read_steering_file(path))


def look_at_neurons(
    model: Any,
    given: PromptInput,
    wanted: Wanted,
    *,
    layer: str | None = None,
    labels: Sequence[str] | None = None,
    raw: bool | None = None,
    top_tokens: int = 5,
    seed: int = 0,
    allow_other_model: bool = False,
) -> Neurons:
    """Choose neurons of a layer and describe them; the layer of a direction is the default with one."""
    from circuit.model.interventions.neurons import n_neurons, write_vectors

    direction = None if wanted.direction is None else read_direction(wanted.direction)
    if direction is not None:
        check_model(direction, model, allow_other=allow_other_model)
    at = _layer(model, layer, direction)
    named = list(labels) if labels is not None else [""] * len(given.texts)
    form = given.form(None if raw is None else not raw)
    tokens, states = _activations(model, encode(model, given.texts, form), at)
    last = np.stack([rows[-1] for rows in states])
    vectors = write_vectors(model, at)
    discovery = _discover(last, named, given, wanted, seed) if wanted.discover else None
    chosen = _chosen(wanted, discovery, vectors, direction, n_neurons(model, at))
    lengths = np.linalg.norm(vectors[chosen], axis=1)
    units = [
        (v / (n or 1)).astype(np.float32) for v, n in zip(vectors[chosen], lengths, strict=True)
    ]
    promoted, random = promoted_by(model, units, top=top_tokens, seed=seed)
    found = [
        Neuron(
            index,
            [np.round(rows[:, index].astype(float), 6).tolist() for rows in states],
            _by_label(last[:, index], named, given.groups),
            float(length),
            None if direction is None else _along(vectors[index], direction.vector),
            plain(said.promoted),
            plain(said.suppressed),
        )
        for index, length, said in zip(chosen, lengths, promoted, strict=True)
    ]
    return Neurons(
        at,
        len(vectors),
        form.name,
        given.texts,
        named,
        tokens,
        _how(wanted, direction),
        found,
        None if direction is None else round(cosine_bound(model.d_model, pairs=len(vectors)), 6),
        discovery,
        _claim(discovery),
        random,
        given.n_groups,
    )


def _claim(discovery: FeatureChoice | None) -> bool | None:
    if discovery is None or discovery.n_groups < MIN_GROUPS:
        return None
    return discovery.p <= 0.05


def _layer(model: Any, layer: str | None, direction: Direction | None) -> int:
    if layer is None:
        if direction is None:
            message = "the layer of the neurons is not said"
            raise UsageError(message, hint="name it with -l")
        layer = str(direction.layer)
    found = parse_layers(layer, range(model.n_layers), model.n_layers)
    if len(found) != 1:
        message = f"`{layer}` names {len(found)} layers, neurons are looked at in one"
        raise UsageError(message, hint="name one layer with -l")
    return found[0]


def _activations(
    model: Any, encoded: Sequence[Any], layer: int
) -> tuple[list[list[str]], list[Array]]:
    """Return the tokens of each prompt and every neuron's activation at them, (n_tokens, n_neurons)."""
    from circuit.model.forward.token_states import token_states, token_texts

    site = Site("mlp_act", layer)
    ids = [prompt.ids.tolist() for prompt in encoded]
    return (
        [token_texts(model, each) for each in ids],
        [token_states(model, each, [site])[site] for each in ids],
    )


def _chosen(
    wanted: Wanted,
    discovery: FeatureChoice | None,
    vectors: Array,
    direction: Direction | None,
    number: int,
) -> list[int]:
    if discovery is not None:
        return discovery.features
    if direction is not None:
        if vectors.shape[1] != direction.vector.size:
            message = f"the direction has {direction.vector.size} entries, the model's width is {vectors.shape[1]}"
            raise DataError(message, hint="a direction belongs to the model it was made with")
        order = np.argsort(-np.abs(vectors @ direction.vector), kind="stable")
        return [int(i) for i in order[: wanted.top_k]]
    for index in wanted.indices or []:
        if index >= number:
            message = f"there is no neuron {index}: the layer has {number}"
            raise UsageError(message, hint=f"they are counted from 0 to {number - 1}")
    return list(wanted.indices or [])


def _discover(
    last: Array, labels: Sequence[str], given: PromptInput, wanted: Wanted, seed: int
) -> FeatureChoice:
    names = list(dict.fromkeys(labels))
    if len(names) != 2:
        message = f"--auto-discover tells two labels apart, not {len(names) if any(names) else 0}"
        raise UsageError(message, hint="give --labels a,b,... with one for each prompt")
    y = np.array([names.index(label) for label in labels])
    return choose_feature(last, y, given.groups, top=wanted.top_k, seed=seed)


def _by_label(
    values: Array, labels: Sequence[str], groups: Sequence[str]
) -> dict[str, list[float | None]]:
    found = {}
    for label in dict.fromkeys(labels):
        rows = [i for i, each in enumerate(labels) if each == label]
        found[label] = mean_interval(values[rows], [groups[i] for i in rows])
    return found


def _along(vector: Array, v: Array) -> Along:
    dot, length = float(vector.astype(np.float64) @ v), float(np.linalg.norm(vector))
    return Along(dot, dot / length if length else 0.0)


def _how(wanted: Wanted, direction: Direction | None) -> str:
    if direction is not None:
        return f"the largest |w . v| for `{direction.name}` ({direction.site} {direction.layer})"
    return "those that tell the labels apart best" if wanted.discover else "as named"
