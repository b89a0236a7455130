"""Which neurons of a layer are chosen, and what is measured of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from circuit.artifacts.directions.direction import Direction
from circuit.errors import DataError, UsageError
from circuit.methods.arrays import Array
from circuit.methods.quality.single_feature import FeatureChoice, choose_feature
from circuit.methods.uncertainty.means import mean_interval
from circuit.stages.directions.tokens import TokenEffect
from circuit.stages.rows.prompt_input import PromptInput
from circuit.stages.rows.prompting import encode
from circuit.values.prompt_format import PromptFormat
from circuit.values.sites import Site

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel


@dataclass(frozen=True, kw_only=True)
class NeuronChoice:
    """Which neurons: by exactly one of numbers, a direction, or discovery by labels."""

    indices: list[int] | None = None
    direction: Direction | None = None
    discover: bool = False
    top_k: int = 10

    def __post_init__(self) -> None:
        ways = [self.indices is not None, self.direction is not None, self.discover]
        if sum(ways) != 1:
            message = (
                f"neurons are chosen in {sum(ways)} ways" if any(ways) else "no neurons chosen"
            )
            hint = "give one of -n, --from-direction and --auto-discover"
            raise UsageError("one-of-options", message, hint=hint, n=sum(ways))

    @property
    def words(self) -> str:
        """How the neurons are chosen."""
        if self.direction is not None:
            where = f"{self.direction.site} {self.direction.layer}"
            return f"the largest |w . v| for `{self.direction.name}` ({where})"
        return "those that separate the labels best" if self.discover else "as named"


@dataclass(frozen=True, kw_only=True)
class DirectionShare:
    """A neuron's part of a direction: w · v, and the cosine of both."""

    dot: float
    cosine: float


@dataclass(frozen=True, kw_only=True)
class Neuron:
    """One neuron.

    ``activations`` are those at each prompt's tokens, ``by_label`` are means at the last token.
    """

    index: int
    activations: list[list[float]]
    by_label: dict[str, list[float | None]]
    write_norm: float
    along: DirectionShare | None
    promoted: list[TokenEffect]
    suppressed: list[TokenEffect]


def parse_indices(texts: Sequence[str]) -> list[int] | None:
    """Read neuron numbers, ``5,7`` or several options; None where there are none."""
    parts = [part.strip() for text in texts for part in text.split(",")]
    for part in parts:
        if not part.isdecimal():
            message = f"`{part}` is not a neuron number"
            raise UsageError("not-a-neuron", message, hint="write -n 5,7", part=part)
    return [int(part) for part in dict.fromkeys(parts)] if parts else None


def token_activations(
    model: "LoadedModel", given: PromptInput, form: PromptFormat, layer: int
) -> tuple[list[list[str]], list[Array]]:
    """Return the tokens of each prompt and the activations at them, (n_tokens, n_neurons)."""
    from circuit.model.forward.token_states import token_states, token_texts

    site = Site("mlp_act", layer)
    ids = [prompt.ids.tolist() for prompt in encode(model, given.texts, form)]
    return (
        [token_texts(model, each) for each in ids],
        [token_states(model, each, [site])[site] for each in ids],
    )


def chosen_neurons(
    choice: NeuronChoice, discovery: FeatureChoice | None, vectors: Array, layer: int
) -> list[int]:
    """Return the numbers of the neurons; ``vectors`` (n_neurons, d_model) are what they write."""
    if discovery is not None:
        return discovery.features
    number, width = vectors.shape
    if choice.direction is not None:
        vector = choice.direction.vector
        if width != vector.size:
            message = f"the direction has {vector.size} entries, the model's width is {width}"
            hint = "use a direction of this model"
            raise DataError("widths-differ", message, hint=hint, n=vector.size, width=width)
        order = np.argsort(-np.abs(vectors @ vector), kind="stable")
        return [int(i) for i in order[: choice.top_k]]
    for index in choice.indices or []:
        if index >= number:
            raise UsageError(
                "component-out-of-range",
                f"neuron {index} is out of range: layer {layer} has {number}",
                hint=f"use a number from 0 to {number - 1}",
                kind="neuron",
                layer=layer,
                index=index,
                n=number,
            )
    return list(choice.indices or [])


def discovery_of(
    last: Array, labels: Sequence[str], given: PromptInput, choice: NeuronChoice, seed: int
) -> FeatureChoice:
    """Choose the neurons that separate two labels best at the last token, (n, n_neurons)."""
    names = [name for name in dict.fromkeys(labels) if name]
    if len(names) != 2:
        message = f"`--auto-discover` needs two labels, got {len(names)}"
        hint = "give --labels a,b,... with one for each prompt"
        raise UsageError("two-labels-expected", message, hint=hint, n=len(names))
    y = np.array([names.index(label) for label in labels])
    return choose_feature(last, y, given.groups, top=choice.top_k, seed=seed)


def means_by_label(
    values: Array, labels: Sequence[str], groups: Sequence[str]
) -> dict[str, list[float | None]]:
    """Return the mean of values (n,) for each label, with its interval."""
    found = {}
    for label in dict.fromkeys(labels):
        rows = [i for i, each in enumerate(labels) if each == label]
        found[label] = mean_interval(values[rows], [groups[i] for i in rows])
    return found


def share_of(vector: Array, v: Array) -> DirectionShare:
    """Measure how much a write vector adds along the unit vector ``v``."""
    dot, length = float(vector.astype(np.float64) @ v), float(np.linalg.norm(vector))
    return DirectionShare(dot=dot, cosine=dot / length if length else 0.0)
