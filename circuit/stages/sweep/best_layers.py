"""At which layers does steering make a word likelier? Every layer at the same damage.

For each layer L: the direction of a pair of prompts at L
(``circuit.stages.steering.from_prompts``), at its own c*, where the divergence on neutral prompts
is the same for all layers (``circuit.stages.steering.strength``), and

    gain = mean over prompts of log p(word | prompt, steered) − log p(word | prompt)

in nats, with its interval over prompts. Unequal strengths would rank layers by how strong their
steering happens to be; one sample of text, in which the word occurs or not, would rank them by
chance. The best of many layers looks better than it is: measure the chosen one on other prompts
(``circuit steer sweep``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from circuit.artifacts.prompts.prompts import Prompt
from circuit.errors import UsageError
from circuit.methods.arrays import Array
from circuit.methods.steering.dose_response import response
from circuit.stages.rows.prompting import encode
from circuit.stages.steering.from_prompts import extract_direction
from circuit.stages.steering.intervention import Intervention
from circuit.stages.steering.neutral import neutral_prompts
from circuit.stages.steering.readout import Readout, reader
from circuit.stages.steering.rollouts import prepared
from circuit.stages.steering.strength import TARGET, Calibration, calibrations
from circuit.values.layers import parse_layers
from circuit.values.prompt_format import RAW, PromptFormat

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel


@dataclass(frozen=True)
class LayerGain:
    """How much likelier the word is when steered at one layer.

    gain [low, high] in nats, at coefficient c* and its divergence.
    """

    layer: int
    gain: float
    low: float
    high: float
    coefficient: float
    kl: float
    status: str


def best_layers(
    model: "LoadedModel",
    pair: tuple[str, str],
    prompts: Sequence[str],
    target_word: str,
    *,
    layers: str = "all",
    kl: float = TARGET,
    form: PromptFormat = RAW,
    neutral: Sequence[str] | None = None,
) -> list[LayerGain]:
    """Return the gain of ``target_word`` at every layer, the largest first.

    ``pair`` are the positive and the negative prompt; ``neutral`` replaces the built-in neutral
    texts. The word is read after a space, as it stands within a text, unless it begins with
    whitespace. Raises ``UsageError`` without prompts.
    """
    if not prompts:
        message = "no prompts are given, after which the word is read"
        raise UsageError("no-prompts", message, hint="give at least one")
    word = target_word if target_word[:1].isspace() else f" {target_word}"
    listed = [Prompt(text=text) for text in prompts]
    reads = reader(model, Readout(positive=(word,)), listed, encode(model, list(prompts), form))
    quiet = prepared(model, neutral_prompts(model, form, neutral))
    chosen = parse_layers(layers, range(model.n_layers), model.n_layers)
    interventions = [
        Intervention.of(extract_direction(model, *pair, layer=str(layer), form=form))
        for layer in chosen
    ]
    stars = list(calibrations(model, interventions, quiet, target=kl, sign=1))
    acting = [
        intervention.at(star.coefficient)
        for intervention, star in zip(interventions, stars, strict=True)
    ]
    base, *moved = reads.log_p([[], *acting])[:, :, 0]
    measured = zip(chosen, moved, stars, strict=True)
    gains = [_gain(layer, after - base, star) for layer, after, star in measured]
    return sorted(gains, key=lambda each: -each.gain)


def _gain(layer: int, change: Array, star: Calibration) -> LayerGain:
    """Return the mean change of log p of the prompts (n,), with its interval."""
    m, groups = np.stack([np.zeros(len(change)), change], axis=1), np.arange(len(change))
    mean = response(np.array([0.0, 1.0]), m, groups).mean(change)
    return LayerGain(
        layer=layer,
        gain=mean.value,
        low=mean.low,
        high=mean.high,
        coefficient=star.coefficient,
        kl=star.kl,
        status=star.status,
    )
