"""Captured states of a network in memory: ``ModelHooks`` over what ``mlx_lm.load`` returned.

    hooks = ModelHooks(model)
    hooks.configure(CaptureConfig(layers=[0, 2], positions=PositionSelection.LAST))
    logits = hooks.forward(input_ids)
    hooks.state.hidden_states[2]        # resid_post of block 2: (batch, tokens, d_model)

The model's own forward pass runs, with taps; nothing of it is written again. ``LogitLens`` reads
the states through the model's own tail.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

import circuit.model  # noqa: F401  # a fast BLAS before MLX is imported
from circuit.errors import UsageError
from circuit.introspect.lens.logit_lens import lens_log_probs, top_tokens

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel
    from circuit.model.sites.sites import Read
    from circuit.values.sites import Site


Tensor: TypeAlias = Any  # mlx.core.array
Network: TypeAlias = Any  # mlx.nn.Module


class PositionSelection(StrEnum):
    """Which tokens are kept: all, the first, or the last."""

    ALL = "all"
    FIRST = "first"
    LAST = "last"


@dataclass(frozen=True)
class CaptureConfig:
    """What is kept of a forward pass; ``layers`` None is every layer."""

    layers: Sequence[int] | None = None
    capture_hidden_states: bool = True
    capture_attention_weights: bool = False
    capture_attention_output: bool = False
    capture_ffn_output: bool = False
    positions: PositionSelection = PositionSelection.ALL


@dataclass
class CapturedState:
    """Arrays by layer: states (batch, tokens, d_model), weights (batch, tokens, n_heads, keys)."""

    hidden_states: dict[int, Tensor] = field(default_factory=dict)
    attention_weights: dict[int, Tensor] = field(default_factory=dict)
    attention_outputs: dict[int, Tensor] = field(default_factory=dict)
    ffn_outputs: dict[int, Tensor] = field(default_factory=dict)


_SITES = {
    "capture_hidden_states": ("resid_post", "hidden_states"),
    "capture_attention_weights": ("attn_pattern", "attention_weights"),
    "capture_attention_output": ("attn_out", "attention_outputs"),
    "capture_ffn_output": ("mlp_out", "ffn_outputs"),
}
_KEPT = {"all": slice(None), "first": slice(0, 1), "last": slice(-1, None)}


class ModelHooks:
    """Runs a network and keeps in ``state`` what the configuration names."""

    def __init__(self, network: Network) -> None:
        from circuit.model.checkpoint.blocks import residual_width

        residual_width(network)  # refuses what has no residual stream of blocks
        self.model = loaded(network)
        self.state = CapturedState()
        self._config = CaptureConfig()

    def configure(self, config: CaptureConfig) -> "ModelHooks":
        """Choose what is kept; raises ``UsageError`` for a layer that is out of range."""
        n = self.model.n_layers
        for layer in config.layers or []:
            if not 0 <= layer < n:
                message = f"layer {layer} is out of range: the model has {n} layers"
                hint = f"use 0 to {n - 1}"
                raise UsageError("layer-out-of-range", message, hint=hint, layer=layer, n_layers=n)
        self._config = config
        return self

    def forward(self, input_ids: Tensor) -> Tensor:
        """Run token ids (batch, tokens), fill ``state``, and return the logits of every token."""
        from circuit.model.sites.sites import recording, sites_at

        layers = range(self.model.n_layers) if self._config.layers is None else self._config.layers
        places = dict(_SITES[name] for name in _SITES if getattr(self._config, name))
        self.state = CapturedState()
        at = _KEPT[self._config.positions.value]

        def record(site: "Site", read: "Read") -> None:
            # A copy: some models change a hidden state in place later.
            getattr(self.state, places[site.name])[site.layer] = read(lambda h: h[:, at] * 1)

        with recording(self.model, sites_at(list(places), list(layers)), record):
            logits: Tensor = self.model.network(input_ids)
        return logits


def loaded(network: Network, tokenizer: Any = None) -> "LoadedModel":
    """Return a network in memory as a loaded model; it has no checkpoint."""
    from circuit.model.checkpoint.loading import LoadedModel, checkpoint_dtype

    family = getattr(network, "model_type", None) or getattr(network.args, "model_type", "unknown")
    return LoadedModel(
        id="network",
        network=network,
        tokenizer=tokenizer,
        config={"model_type": family},
        folder=Path(),
        requested_revision=None,
        adapter=None,
        dtype=checkpoint_dtype(network),
    )


class LogitLens:
    """Reads captured states through the model's own tail, as text."""

    def __init__(self, hooks: ModelHooks, tokenizer: Any) -> None:
        self.hooks, self.model = hooks, loaded(hooks.model.network, tokenizer)

    def evolution(
        self, *, position: int = -1, top_k: int = 5, row: int = 0
    ) -> dict[int, list[tuple[str, float]]]:
        """Return the most likely tokens and their probabilities at each captured layer."""
        captured = self.hooks.state.hidden_states
        if not captured:
            hint = "call hooks.forward with capture_hidden_states=True"
            raise UsageError("nothing-captured", "no hidden states are captured", hint=hint)
        states = {
            layer: np.array(captured[layer][row, position].tolist(), np.float32)
            for layer in sorted(captured)
        }
        return {
            layer: [(each.token, each.probability) for each in top_tokens(self.model, log_p, top_k)]
            for layer, log_p in lens_log_probs(self.model, states).items()
        }

    def print_evolution(self, *, position: int = -1, top_k: int = 5, row: int = 0) -> None:
        """Print the most likely tokens at each captured layer."""
        for layer, best in self.evolution(position=position, top_k=top_k, row=row).items():
            shown = ", ".join(f"{token!r} ({p:.4f})" for token, p in best)
            print(f"Layer {layer:2d}: {shown}")  # noqa: T201
