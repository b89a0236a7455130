"""Logit lens: what the model would predict if it stopped after each block.

    log p_l = log softmax(tail(h_l)),   h_l = resid_post of block l at the prompt's last token,

through the model's own final norm, head and scaling (nostalgebraist 2020). At the last block this
is the model's prediction. With a tuned lens (Belrose et al. 2023, 2303.08112; ``circuit introspect
tune-lens``) h_l is first mapped to an estimate of the last block's output. For each layer: the top
tokens, the entropy, and the KL and JS divergence from the previous layer among those read.

A layer is *confident* if its entropy is under 0.3 of the largest possible, log V. The *decision
layer* is the first confident layer whose top token, and that of every later layer, is the model's
own answer. An early reading is not what the block "thinks": early layers write in other bases, and
the logit lens is known to be biased there; the tuned lens is the check.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from circuit.introspect.inputs.choices import (
    STEP,
    LayerStrategy,
    choose_layers,
    token_ids,
    token_text,
)
from circuit.introspect.lens.distributions import log_probs
from circuit.methods.arrays import Array
from circuit.methods.steering import divergences
from circuit.stages.rows.prompting import encode
from circuit.values.prompt_format import RAW, PromptFormat

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel

CONFIDENT = 0.3
# What maps the residuals (n, d_model) of a layer to those of the last block.
Lens: TypeAlias = Mapping[int, Callable[[Array], Array]]


@dataclass(frozen=True)
class AnalysisConfig:
    """Which layers are read, how many tokens of each are shown, and which tokens are tracked."""

    layer_strategy: LayerStrategy = LayerStrategy.EVENLY_SPACED
    layer_step: int = STEP
    custom_layers: list[int] | str | None = None
    top_k: int = 5
    track_tokens: list[str] = field(default_factory=list)
    compute_entropy: bool = True
    compute_transitions: bool = True

    def layers(self, n_layers: int) -> list[int]:
        """Return the layers that are read of a model with ``n_layers``."""
        return choose_layers(
            n_layers, self.layer_strategy, step=self.layer_step, custom=self.custom_layers
        )


@dataclass(frozen=True, kw_only=True)
class TokenPrediction:
    """A token and its probability."""

    token: str
    token_id: int
    probability: float


@dataclass(frozen=True, kw_only=True)
class LayerPredictionResult:
    """The lens at one layer; entropy in nats and as a fraction of log V (None: not computed)."""

    layer_idx: int
    predictions: list[TokenPrediction]
    entropy: float | None
    normalized_entropy: float | None

    @property
    def top_token(self) -> str:
        """The most likely token."""
        return self.predictions[0].token

    @property
    def top_probability(self) -> float:
        """The probability of the most likely token."""
        return self.predictions[0].probability

    @property
    def is_confident(self) -> bool | None:
        """Whether the entropy is small; None where it was not computed."""
        return None if self.normalized_entropy is None else self.normalized_entropy < CONFIDENT


@dataclass(frozen=True, kw_only=True)
class LayerTransition:
    """The divergence between two layers, in nats: KL of the later from the earlier, and JS."""

    from_layer: int
    to_layer: int
    kl_divergence: float
    js_divergence: float


@dataclass(frozen=True, kw_only=True)
class TokenEvolutionResult:
    """A token's probability and rank (from 1) at each layer, and the first layer where it ranks 1.

    Of a text of several tokens the first is tracked; ``pieces`` are the texts of all.
    """

    token: str
    token_id: int
    pieces: list[str]
    layer_probabilities: dict[int, float]
    layer_ranks: dict[int, int]
    emergence_layer: int | None


@dataclass(frozen=True, kw_only=True)
class AnalysisResult:
    """The lens on one prompt."""

    prompt: str
    tokens: list[str]
    num_layers: int
    captured_layers: list[int]
    final_prediction: list[TokenPrediction]
    layer_predictions: list[LayerPredictionResult]
    token_evolutions: list[TokenEvolutionResult]
    layer_transitions: list[LayerTransition]
    decision_layer: int | None
    answer_probabilities: dict[int, float]  # of the model's answer, at each captured layer

    @property
    def predicted_token(self) -> str:
        """The model's most likely next token."""
        return self.final_prediction[0].token

    @property
    def predicted_probability(self) -> float:
        """The probability of the most likely next token."""
        return self.final_prediction[0].probability

    @property
    def max_kl_transition(self) -> LayerTransition | None:
        """The transition with the largest KL divergence."""
        return max(self.layer_transitions, key=lambda t: t.kl_divergence, default=None)


def analyze(
    model: "LoadedModel",
    prompts: Sequence[str],
    config: AnalysisConfig = AnalysisConfig(),
    *,
    form: PromptFormat = RAW,
    lens: Lens | None = None,
    embedding_scale: float | None = None,
) -> list[AnalysisResult]:
    """Read the lens at the last token of every prompt; all prompts run in one capture.

    ``embedding_scale`` replaces the model's own factor on its token embeddings. Raises
    ``UsageError`` for layers out of range and for a tracked text without a token.
    """
    from circuit.model.forward.last_token import last_residuals

    layers, last = config.layers(model.n_layers), model.n_layers - 1
    tracked = {text: token_ids(model, text) for text in config.track_tokens}
    encoded = encode(model, prompts, form)
    with _embedded(model, embedding_scale):
        states = last_residuals(model, encoded, sorted({*layers, last}))
    results = []
    for row, (text, prompt) in enumerate(zip(prompts, encoded, strict=True)):
        log_p = lens_log_probs(model, {k: rows[row] for k, rows in states.items()}, lens)
        tokens = [token_text(model, token) for token in prompt.ids]
        results.append(_result(model, text, tokens, log_p, tracked=tracked, config=config))
    return results


def _embedded(model: "LoadedModel", scale: float | None) -> AbstractContextManager[None]:
    from circuit.model.interventions.embedding import scaled_embedding

    return nullcontext() if scale is None else scaled_embedding(model, scale)


def lens_log_probs(
    model: "LoadedModel", states: Mapping[int, Array], lens: Lens | None = None
) -> dict[int, Array]:
    """Return log-probabilities (V,) of states (d_model,) by layer; the last block needs no lens."""
    mapped = [
        state if lens is None or k == model.n_layers - 1 else lens[k](state[None])[0]
        for k, state in states.items()
    ]
    return dict(zip(states, log_probs(model, np.stack(mapped).astype(np.float32)), strict=True))


def top_tokens(model: "LoadedModel", log_p: Array, n: int) -> list[TokenPrediction]:
    """Return the ``n`` most likely tokens of log-probabilities (V,), the most likely first."""
    order = np.argsort(-log_p, kind="stable")[:n]
    return [
        TokenPrediction(
            token=token_text(model, i), token_id=int(i), probability=float(np.exp(log_p[i]))
        )
        for i in order
    ]


def _result(
    model: "LoadedModel",
    text: str,
    tokens: list[str],
    log_p: Mapping[int, Array],
    *,
    tracked: Mapping[str, list[int]],
    config: AnalysisConfig,
) -> AnalysisResult:
    layers, last = config.layers(model.n_layers), model.n_layers - 1
    answer = int(np.argmax(log_p[last]))
    return AnalysisResult(
        prompt=text,
        tokens=tokens,
        num_layers=model.n_layers,
        captured_layers=layers,
        final_prediction=top_tokens(model, log_p[last], config.top_k),
        layer_predictions=[_prediction(model, k, log_p[k], config) for k in layers],
        token_evolutions=[
            _evolution(name, [token_text(model, i) for i in ids], ids[0], log_p, layers)
            for name, ids in tracked.items()
        ],
        layer_transitions=_transitions(log_p, layers) if config.compute_transitions else [],
        decision_layer=_decision_layer(log_p, layers, answer),
        answer_probabilities={k: float(np.exp(log_p[k][answer])) for k in layers},
    )


def _prediction(
    model: "LoadedModel", layer: int, log_p: Array, config: AnalysisConfig
) -> LayerPredictionResult:
    wanted = config.compute_entropy
    return LayerPredictionResult(
        layer_idx=layer,
        predictions=top_tokens(model, log_p, config.top_k),
        entropy=float(divergences.entropy(log_p)) if wanted else None,
        normalized_entropy=float(divergences.normalised_entropy(log_p)) if wanted else None,
    )


def _evolution(
    name: str, pieces: list[str], token: int, log_p: Mapping[int, Array], layers: Sequence[int]
) -> TokenEvolutionResult:
    ranks = {k: int(divergences.rank(log_p[k], token)) for k in layers}
    return TokenEvolutionResult(
        token=name,
        token_id=token,
        pieces=pieces,
        layer_probabilities={k: float(np.exp(log_p[k][token])) for k in layers},
        layer_ranks=ranks,
        emergence_layer=next((k for k in layers if ranks[k] == 1), None),
    )


def _transitions(log_p: Mapping[int, Array], layers: Sequence[int]) -> list[LayerTransition]:
    return [
        LayerTransition(
            from_layer=a,
            to_layer=b,
            kl_divergence=float(divergences.kl(log_p[b], log_p[a])),
            js_divergence=float(divergences.js(log_p[a], log_p[b])),
        )
        for a, b in pairwise(layers)
    ]


def _decision_layer(log_p: Mapping[int, Array], layers: Sequence[int], answer: int) -> int | None:
    found = None
    for k in reversed(layers):
        if int(np.argmax(log_p[k])) != answer:
            break
        if float(divergences.normalised_entropy(log_p[k])) < CONFIDENT:
            found = k
    return found
