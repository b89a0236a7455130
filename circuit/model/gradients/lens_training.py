"""Train a tuned lens: for every layer an affine map from its residual to that of the last block.

    h' = h + A h + b,   A, b = 0 at the start: the logit lens
    loss = Σ_l KL(softmax(tail(h_last)) ‖ softmax(tail(h'_l))), a mean over tokens

by Adam with a rate that falls linearly to 0; all layers in one pass of the tail. Belrose et al.
2023 (2303.08112), who use SGD with momentum and regularise. The tail's weights do not change.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import mlx.core as mx
import mlx.optimizers as optimizers
import numpy as np
import numpy.typing as npt

from circuit.model.checkpoint.loading import LoadedModel
from circuit.model.forward.tail import log_softmax, tail_logits

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class AffineMap:
    """h ↦ h + A h + b for residuals (n, d_model); ``matrix`` is A, ``bias`` b."""

    matrix: Array
    bias: Array

    def __call__(self, residuals: Array) -> Array:
        """Map residuals (n, d_model)."""
        return np.asarray(residuals + residuals @ self.matrix.T + self.bias)


def train_maps(
    model: LoadedModel,
    states: Mapping[int, Array],
    final: Array,
    *,
    steps: Iterable[int],
    n_steps: int,
    batch: int = 64,
    rate: float = 1e-3,
    seed: int = 0,
) -> dict[int, AffineMap]:
    """Train on residuals (n, d_model) of every layer, and ``final`` of the last block."""
    layers, d = sorted(states), final.shape[1]
    rows = mx.array(np.stack([states[k] for k in layers]))
    last = mx.array(final)
    maps = {"A": mx.zeros((len(layers), d, d)), "b": mx.zeros((len(layers), 1, d))}
    adam = optimizers.Adam(learning_rate=optimizers.linear_schedule(rate, 0.0, n_steps))
    rng = np.random.default_rng(seed)

    def loss(maps: dict[str, mx.array], chosen: mx.array, target: mx.array) -> mx.array:
        h = rows[:, chosen]
        mapped = h + h @ maps["A"].swapaxes(1, 2) + maps["b"]
        log_q = log_softmax(tail_logits(model, mapped.reshape(-1, d)))
        log_q = log_q.reshape(len(layers), len(chosen), -1)
        return (mx.exp(target) * (target - log_q)).sum(axis=-1).mean(axis=1).sum()

    for _ in steps:
        chosen = mx.array(rng.choice(len(final), size=min(batch, len(final)), replace=False))
        target = mx.stop_gradient(log_softmax(tail_logits(model, last[chosen])))
        gradients = mx.grad(loss)(maps, chosen, target)
        maps = adam.apply_gradients(gradients, maps)
        mx.eval(maps, adam.state)
    return {
        k: AffineMap(np.array(maps["A"][i]), np.array(maps["b"][i, 0]))
        for i, k in enumerate(layers)
    }
