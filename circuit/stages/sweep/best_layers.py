"""At which layers does steering make a word likelier? Every layer at the strength that does the same damage.

For each layer L: the direction of a pair of prompts at L (``circuit.stages.steering.from_prompts``), at its own c*, where the divergence on neutral
prompts is the same for all layers (``circuit.stages.steering.strength``), and

    gain = mean over prompts of log p(word | prompt, steered) − log p(word | prompt)

in nats, with its interval over prompts. Unequal strengths would rank layers by how strong their steering happens to be; one sample
of text, in which the word turns up or not, would rank them by chance. The best of many layers looks better than it is: measure
the chosen one on other prompts (``circuit steer sweep``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from circuit.artifacts.prompts.prompts import Prompt
from circuit.errors import UsageError
from circuit.methods.steering.dose_response import response
from circuit.stages.rows.prompting import encode
from circuit.stages.steering.from_prompts import Pair, extract_direction
from circuit.stages.steering.intervention import Intervention
from circuit.stages.steering.neutral import neutral_prompts
from circuit.stages.steering.readout import Readout, reader
from circuit.stages.steering.rollouts import prepared
from circuit.stages.steering.strength import N_TOKENS, TARGET, calibrate
from circuit.values.layers import parse_layers
from circuit.values.prompt_format import RAW, PromptFormat


@dataclass(frozen=True)
class LayerGain:
    """How much likelier the word is when steered at one layer: gain [low, high] in nats, at coefficient c* and its divergence."""

    layer: int
    gain: float
    low: float
    high: float
    coefficient: float
    kl: float
    status: str


def best_layers(
    model: Any,
    positive_prompt: str,
    negative_prompt: str,
    prompts: Sequence[str],
    target_word: str,
    *,
    layers: str = "all",
    kl: float = TARGET,
    form: PromptFormat = RAW,
    neutral: Sequence[str] | None = None,
    n_tokens: int = N_TOKENS,
    n_boot: int = 1000,
    seed: int = 0,
) -> list[LayerGain]:
    """Return the gain of ``target_word`` at every layer, the largest first.

    ``neutral`` takes the place of the built-in neutral texts. The word is read with a blank before it, as it stands within a text, unless it begins with one. Raises
    ``UsageError`` without prompts.
    """
    if not prompts:
        raise UsageError("there are no prompts to read the word after", hint="give at least one")
    word = target_word if target_word[:1].isspace() else f" {target_word}"
    listed = [Prompt(text=text) for text in prompts]
    reads = reader(model, Readout(positive=(word,)), listed, encode(model, list(prompts), form))
    quiet = prepared(model, neutral_prompts(model, form, neutral), n_tokens)
    pair = Pair(positive_prompt, negative_prompt)
    gains = []
    for layer in parse_layers(layers, range(model.n_layers), model.n_layers):
        direction = extract_direction(model, pair, layer=str(layer), form=form)
        intervention = Intervention.of(direction)
        found = calibrate(model, intervention, quiet, target=kl, sign=1)
        log_p = [reads.log_p(intervention, c)[:, 0] for c in (0.0, found.coefficient)]
        moved = log_p[1] - log_p[0]
        answer = response(
            np.array([0.0, 1.0]),
            np.stack(log_p, axis=1),
            np.arange(len(moved)),
            n_boot=n_boot,
            seed=seed,
        )
        mean = answer.mean(moved)
        gains.append(
            LayerGain(
                layer, mean.value, mean.low, mean.high, found.coefficient, found.kl, found.status
            )
        )
    return sorted(gains, key=lambda each: -each.gain)
