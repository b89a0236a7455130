"""Gemma 3's factor on its embeddings, sqrt(d_model), in the dtype of the state.

mlx-lm rounds it to bfloat16 in every dtype: 25.25 for 25.298 at a width of 640, 0.2 % in every
state. The factor is learned in bfloat16 and applied in the state's own dtype by transformers and
llama.cpp. Here the embeddings are multiplied by the rest before the model's own pass multiplies
them by the rounded factor; a state in half precision has the rounded one everywhere.
"""

import mlx.core as mx
import mlx.nn as nn
import numpy as np


def use_exact_scale(network: nn.Module) -> None:
    """Make a loaded Gemma 3 scale float32 embeddings exactly; other networks stay as they are."""
    from mlx_lm.models.gemma3_text import Gemma3Model

    inner = getattr(network, "model", None)
    if type(inner) is Gemma3Model:
        inner.__class__ = _exact(Gemma3Model)


def _exact(base: type[nn.Module]) -> type[nn.Module]:
    def __call__(
        self: nn.Module,
        inputs: mx.array,
        cache: object = None,
        input_embeddings: mx.array | None = None,
    ) -> mx.array:
        read = self.embed_tokens(inputs) if input_embeddings is None else input_embeddings
        if read.dtype == mx.float32:
            read = read * _rest(self.args.hidden_size)
        out: mx.array = base.__call__(self, inputs, cache, read)
        return out

    # The name stays: some code looks at the class names of a network's parts.
    return type(base.__name__, (base,), {"__call__": __call__, "__module__": base.__module__})


def _rest(width: int) -> float:
    """Return what sqrt(``width``) is, divided by its rounding to bfloat16."""
    exact: float = width**0.5
    return exact / float(np.array(mx.array(exact, mx.bfloat16).astype(mx.float32)))
