"""Logit lens: what the model would say if it stopped after each block.

    log p_l = log softmax(tail(h_l)),   h_l = resid_post of block l at the prompt's last token,

through the model's own final norm, head and scaling (nostalgebraist 2020). At the last block it is the model's prediction. With a
tuned lens (Belrose et al. 2023, 2303.08112; ``circuit introspect tune-lens``) h_l is first mapped to what the last block would make
of it. Of each layer: the likeliest tokens, entropy, and KL and JS divergence to the layer before among those that were looked at.

*Confident* is a layer whose entropy is under 0.3 of the largest that there is. The *decision layer* is the first that is confident,
finds the model's own answer likeliest, and after which all do. An early lens reading is not what the block "thinks": early
layers write in other bases, and the logit lens is known to be biased there; the tuned lens is the check.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from circuit.introspect.inputs.choices import (
    STEP,
    LayerStrategy,
    choose_layers,
    pieces_of,
    token_text,
)
from circuit.methods.arrays import Array
from circuit.methods.steering import divergences
from circuit.stages.rows.prompting import encode
from circuit.values.prompt_format import RAW, PromptFormat

CONFIDENT = 0.3
Lens = Mapping[int, Any]  # layer -> function of residuals (n, d_model)


@dataclass(frozen=True)
class AnalysisConfig:
    """Which layers, how many tokens of each, and which tokens are followed."""

    layer_strategy: LayerStrategy = LayerStrategy.EVENLY_SPACED
    layer_step: int = STEP
    custom_layers: list[int] | str | None = None
    top_k: int = 5
    track_tokens: list[str] = field(default_factory=list)
    compute_entropy: bool = True
    compute_transitions: bool = True

    def as_dict(self) -> dict[str, Any]:
        """Return every choice, for a manifest."""
        return {**asdict(self), "layer_strategy": self.layer_strategy.value}


@dataclass(frozen=True)
class TokenPrediction:
    """A token and its probability."""

    token: str
    token_id: int
    probability: float


@dataclass(frozen=True)
class LayerPredictionResult:
    """What the lens reads after a block; entropy in nats and as a share of log V, None where it was not asked for."""

    layer_idx: int
    predictions: list[TokenPrediction]
    entropy: float | None
    normalized_entropy: float | None

    @property
    def top_token(self) -> str:
        """The likeliest token."""
        return self.predictions[0].token

    @property
    def top_probability(self) -> float:
        """Its probability."""
        return self.predictions[0].probability

    @property
    def is_confident(self) -> bool | None:
        """Say whether the entropy is small."""
        return None if self.normalized_entropy is None else self.normalized_entropy < CONFIDENT


@dataclass(frozen=True)
class LayerTransition:
    """How far the prediction moves from one layer to the next, in nats: KL of the later from the earlier, and JS."""

    from_layer: int
    to_layer: int
    kl_divergence: float
    js_divergence: float


@dataclass(frozen=True)
class TokenEvolutionResult:
    """A token's probability and rank (from 1) after each block, and the first at which it leads.

    A text of several tokens is followed by its first; ``pieces`` says which tokens it is.
    """

    token: str
    token_id: int
    pieces: list[str]
    layer_probabilities: dict[int, float]
    layer_ranks: dict[int, int]
    emergence_layer: int | None


@dataclass(frozen=True)
class AnalysisResult:
    """What the lens reads for one prompt."""

    prompt: str
    tokens: list[str]
    num_layers: int
    captured_layers: list[int]
    final_prediction: list[TokenPrediction]
    layer_predictions: list[LayerPredictionResult]
    token_evolutions: list[TokenEvolutionResult]
    layer_transitions: list[LayerTransition]
    decision_layer: int | None
    answer_probabilities: dict[int, float]  # of the final answer, after each captured layer

    @property
    def predicted_token(self) -> str:
        """The token that the model finds likeliest."""
        return self.final_prediction[0].token

    @property
    def predicted_probability(self) -> float:
        """Its probability."""
        return self.final_prediction[0].probability

    @property
    def max_kl_transition(self) -> LayerTransition | None:
        """The largest step between two layers that were looked at."""
        return max(self.layer_transitions, key=lambda t: t.kl_divergence, default=None)

    def as_dict(self) -> dict[str, Any]:
        """Return everything, as JSON holds it."""
        return asdict(self)


def analyze(
    model: Any,
    prompts: Sequence[str],
    config: AnalysisConfig = AnalysisConfig(),
    *,
    form: PromptFormat = RAW,
    lens: Lens | None = None,
    embedding_scale: float | None = None,
) -> list[AnalysisResult]:
    """Read the lens at the last token of every prompt; all prompts run in one collection.

    Raises ``UsageError`` for layers that there are not and for a tracked text without a token.
    """
    from circuit.model.forward.last_token import last_residuals

    layers = choose_layers(
        model.n_layers, config.layer_strategy, step=config.layer_step, custom=config.custom_layers
    )
    tracked = {text: pieces_of(model, text) for text in config.track_tokens}
    encoded = encode(model, prompts, form)
    last = model.n_layers - 1
    with _embedded(model, embedding_scale):
        states = last_residuals(model, encoded, sorted({*layers, last}))
    results = []
    for row, (text, prompt) in enumerate(zip(prompts, encoded, strict=True)):
        log_p = _lens_log_probs(model, {k: rows[row] for k, rows in states.items()}, last, lens)
        results.append(_result(model, text, prompt, log_p, layers, tracked, config))
    return results


def _embedded(model: Any, scale: float | None) -> AbstractContextManager[None]:
    """Scale the token embeddings by ``scale`` in the place of the model's own factor, while the block runs."""
    from circuit.model.interventions.embedding import scaled_embedding

    return nullcontext() if scale is None else scaled_embedding(model, scale)


def _lens_log_probs(
    model: Any, states: Mapping[int, Array], last: int, lens: Lens | None
) -> dict[int, Array]:
    """Return log-probabilities (V,) after each layer; the last block needs no lens."""
    from circuit.model.forward.tail import read_logits

    mapped = {
        k: state if lens is None or k == last else lens[k](state[None])[0]
        for k, state in states.items()
    }
    logits = read_logits(model, np.stack(list(mapped.values())).astype(np.float32))
    return dict(zip(mapped, divergences.log_softmax(logits), strict=True))


def _result(
    model: Any,
    text: str,
    prompt: Any,
    log_p: Mapping[int, Array],
    layers: Sequence[int],
    tracked: Mapping[str, list[int]],
    config: AnalysisConfig,
) -> AnalysisResult:
    last = model.n_layers - 1
    return AnalysisResult(
        prompt=text,
        tokens=[token_text(model, token) for token in prompt.ids],
        num_layers=model.n_layers,
        captured_layers=list(layers),
        final_prediction=_likeliest(model, log_p[last], config.top_k),
        layer_predictions=[
            LayerPredictionResult(
                k,
                _likeliest(model, log_p[k], config.top_k),
                float(divergences.entropy(log_p[k])) if config.compute_entropy else None,
                float(divergences.normalised_entropy(log_p[k])) if config.compute_entropy else None,
            )
            for k in layers
        ],
        token_evolutions=[
            _evolution(name, [token_text(model, i) for i in ids], ids[0], log_p, layers)
            for name, ids in tracked.items()
        ],
        layer_transitions=_transitions(log_p, layers) if config.compute_transitions else [],
        decision_layer=_decision_layer(log_p, layers, last),
        answer_probabilities={
            k: float(np.exp(log_p[k][int(np.argmax(log_p[last]))])) for k in layers
        },
    )


def _likeliest(model: Any, log_p: Array, n: int) -> list[TokenPrediction]:
    order = np.argsort(-log_p, kind="stable")[:n]
    return [TokenPrediction(token_text(model, i), int(i), float(np.exp(log_p[i]))) for i in order]


def _evolution(
    name: str, pieces: list[str], token: int, log_p: Mapping[int, Array], layers: Sequence[int]
) -> TokenEvolutionResult:
    ranks = {k: int(divergences.rank(log_p[k], token)) for k in layers}
    return TokenEvolutionResult(
        name,
        token,
        pieces,
        {k: float(np.exp(log_p[k][token])) for k in layers},
        ranks,
        next((k for k in layers if ranks[k] == 1), None),
    )


def _transitions(log_p: Mapping[int, Array], layers: Sequence[int]) -> list[LayerTransition]:
    return [
        LayerTransition(
            a,
            b,
            float(divergences.kl(log_p[b], log_p[a])),
            float(divergences.js(log_p[a], log_p[b])),
        )
        for a, b in pairwise(layers)
    ]


def _decision_layer(log_p: Mapping[int, Array], layers: Sequence[int], last: int) -> int | None:
    answer, found = int(np.argmax(log_p[last])), None
    for k in reversed(layers):
        if int(np.argmax(log_p[k])) != answer:
            break
        if float(divergences.normalised_entropy(log_p[k])) < CONFIDENT:
            found = k
    return found


def describe(model: Any) -> dict[str, Any]:
    """Return what is said of a model above an analysis."""
    text = model.config.get("text_config", model.config)
    return {
        "id": model.id,
        "family": model.family,
        "n_layers": model.n_layers,
        "d_model": model.d_model,
        "vocab_size": text.get("vocab_size"),
        "tied_embeddings": bool(text.get("tie_word_embeddings", True)),
    }
