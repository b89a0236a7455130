"""Captured states of a network that is at hand: ``ModelHooks`` over a model that ``mlx_lm.load`` returned.

    hooks = ModelHooks(model)
    hooks.configure(CaptureConfig(layers=[0, 2], positions=PositionSelection.LAST))
    logits = hooks.forward(input_ids)
    hooks.state.hidden_states[2]        # resid_post of block 2: (batch, tokens, d_model)

The model's own forward pass runs, with taps; nothing of it is written again. ``LogitLens`` reads the states through its own tail.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

import circuit.model  # noqa: F401  # a fast BLAS before MLX is imported
from circuit.errors import UsageError
from circuit.methods.steering import divergences


class PositionSelection(StrEnum):
    """Which tokens are kept: all, the first, or the last."""

    ALL = "all"
    FIRST = "first"
    LAST = "last"


@dataclass(frozen=True)
class CaptureConfig:
    """What is kept of a forward pass; ``layers`` None is every one."""

    layers: Sequence[int] | None = None
    capture_hidden_states: bool = True
    capture_attention_weights: bool = False
    capture_attention_output: bool = False
    capture_ffn_output: bool = False
    positions: PositionSelection = PositionSelection.ALL


@dataclass
class CapturedState:
    """Arrays by layer: states (batch, tokens, d_model), attention weights (batch, tokens, n_heads, keys)."""

    hidden_states: dict[int, Any] = field(default_factory=dict)
    attention_weights: dict[int, Any] = field(default_factory=dict)
    attention_outputs: dict[int, Any] = field(default_factory=dict)
    ffn_outputs: dict[int, Any] = field(default_factory=dict)


_SITES = {
    "capture_hidden_states": ("resid_post", "hidden_states"),
    "capture_attention_weights": ("attn_pattern", "attention_weights"),
    "capture_attention_output": ("attn_out", "attention_outputs"),
    "capture_ffn_output": ("mlp_out", "ffn_outputs"),
}


class ModelHooks:
    """Runs a network and keeps what was asked for in ``state``."""

    def __init__(self, network: Any) -> None:
        from circuit.model.checkpoint.blocks import residual_width

        residual_width(network)  # refuses what has no residual stream of blocks
        self.model = loaded(network)
        self.state = CapturedState()
        self._config = CaptureConfig()

    def configure(self, config: CaptureConfig) -> "ModelHooks":
        """Say what is kept; raise ``UsageError`` for a layer that there is not."""
        for layer in config.layers or []:
            if not 0 <= layer < self.model.n_layers:
                message = f"there is no layer {layer}: the model has {self.model.n_layers}"
                raise UsageError(message, hint="layers are counted from 0")
        self._config = config
        return self

    def forward(self, input_ids: Any) -> Any:
        """Run token ids (batch, tokens), fill ``state``, and return the logits (batch, tokens, vocabulary)."""
        from circuit.model.sites.sites import recording, sites_at

        layers = range(self.model.n_layers) if self._config.layers is None else self._config.layers
        wanted = {_SITES[name] for name in _SITES if getattr(self._config, name)}
        places = dict(wanted)
        self.state = CapturedState()

        def record(site: Any, read: Any) -> None:
            # A copy: some models change a hidden state in place later.
            getattr(self.state, places[site.name])[site.layer] = read(lambda h: self._kept(h) * 1)

        with recording(self.model, sites_at([name for name, _ in wanted], list(layers)), record):
            return self.model.network(input_ids)

    def _kept(self, hidden: Any) -> Any:
        at = {"all": slice(None), "first": slice(0, 1), "last": slice(-1, None)}
        return hidden[:, at[self._config.positions.value]]


def loaded(network: Any, tokenizer: Any = None) -> Any:
    """Return a network that is at hand as the model layer takes it; it has no checkpoint behind it."""
    from circuit.model.checkpoint.loading import LoadedModel, checkpoint_dtype

    family = getattr(network, "model_type", None) or getattr(network.args, "model_type", "unknown")
    config = {"model_type": family}
    dtype = checkpoint_dtype(network)
    return LoadedModel("network", network, tokenizer, config, Path(), None, None, dtype)


class LogitLens:
    """Reads captured states through the model's own tail, as text."""

    def __init__(self, hooks: ModelHooks, tokenizer: Any) -> None:
        self.hooks, self.tokenizer = hooks, tokenizer

    def evolution(
        self, *, position: int = -1, top_k: int = 5, row: int = 0
    ) -> dict[int, list[tuple[str, float]]]:
        """Return the ``top_k`` likeliest tokens with their probabilities after each captured layer."""
        from circuit.model.forward.tail import read_logits

        found = {}
        for layer, states in sorted(self.hooks.state.hidden_states.items()):
            logits = read_logits(self.hooks.model, states[row, position][None])
            log_p = divergences.log_softmax(logits)[0]
            best = np.argsort(-log_p, kind="stable")[:top_k]
            found[layer] = [
                (self.tokenizer.decode([int(i)]), float(np.exp(log_p[i]))) for i in best
            ]
        if not found:
            message = "no hidden states are captured"
            raise UsageError(message, hint="call hooks.forward with capture_hidden_states=True")
        return found

    def print_evolution(self, *, position: int = -1, top_k: int = 5, row: int = 0) -> None:
        """Print the likeliest tokens after each captured layer."""
        for layer, best in self.evolution(position=position, top_k=top_k, row=row).items():
            shown = ", ".join(f"{token!r} ({p:.4f})" for token, p in best)
            print(f"Layer {layer:2d}: {shown}")  # noqa: T201
