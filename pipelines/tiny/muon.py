"""The optimiser: Muon for the matrices of the blocks, AdamW for the embedding and the norms.

Muon moves a matrix W by its orthogonalised momentum:

    M <- beta M + G,   W <- (1 - lr wd) W - lr sqrt(max(1, rows / columns)) NS(G + beta M)

where NS(X) ~ U V^T for X = U S V^T, by five Newton-Schulz steps of a quintic polynomial. It is written
in float32 over stacks of equal shapes, because bfloat16 products (mlx.optimizers.Muon) have no fast path on a
CPU. Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024).
"""

import mlx.core as mx
import mlx.optimizers as optim
from mlx.utils import tree_flatten, tree_unflatten

QUINTIC = (3.4445, -4.7750, 2.0315)
BETA = 0.95
DECAY = 0.02


def orthogonalise(x: mx.array) -> mx.array:
    """Return an approximation of U V^T for each matrix of a stack (n, rows, columns)."""
    tall = x.shape[1] > x.shape[2]
    x = x.swapaxes(1, 2) if tall else x
    x = x / (mx.sqrt((x * x).sum(axis=(1, 2), keepdims=True)) + 1e-7)
    a, b, c = QUINTIC
    for _ in range(5):
        gram = x @ x.swapaxes(1, 2)
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.swapaxes(1, 2) if tall else x


class Optimizer:
    """One step of both optimisers; `state` is a flat dictionary of arrays."""

    def __init__(self, model: object) -> None:
        flat = tree_flatten(model.trainable_parameters())
        self.names = [n for n, p in flat if p.ndim == 2 and "embed" not in n]
        self.momentum = {n: mx.zeros(p.shape) for n, p in flat if n in set(self.names)}
        self.adam = optim.AdamW(1e-3, betas=[0.9, 0.98], weight_decay=0.01, bias_correction=True)
        self.adam.init(tree_unflatten([(n, p) for n, p in flat if n not in self.momentum]))

    @property
    def state(self) -> dict[str, mx.array]:
        """Return the arrays to save."""
        return {**self.momentum, **{f"adam.{n}": a for n, a in tree_flatten(self.adam.state)}}

    def load(self, state: dict[str, mx.array]) -> None:
        """Take saved arrays back."""
        self.momentum = {name: state[name] for name in self.names}
        adam = [(n.removeprefix("adam."), a) for n, a in state.items() if n.startswith("adam.")]
        self.adam.state = tree_unflatten(adam)

    def update(self, model: object, gradients: dict, *, muon_rate: float, adam_rate: float) -> None:
        """Move the model's parameters one step."""
        flat = dict(tree_flatten(gradients))
        values = dict(tree_flatten(model.trainable_parameters()))
        rest = [n for n in flat if n not in self.momentum]
        self.adam.learning_rate = adam_rate
        new = self.adam.apply_gradients(
            tree_unflatten([(n, flat[n]) for n in rest]),
            tree_unflatten([(n, values[n]) for n in rest]),
        )
        moved = dict(tree_flatten(new))
        for shape in {values[name].shape for name in self.names}:
            names = [name for name in self.names if values[name].shape == shape]
            moved |= self._muon(names, flat, values, muon_rate)
        model.update(tree_unflatten(list(moved.items())))

    def _muon(self, names: list[str], gradients: dict, values: dict, rate: float) -> dict:
        for name in names:
            self.momentum[name] = BETA * self.momentum[name] + gradients[name]
        step = orthogonalise(mx.stack([gradients[n] + BETA * self.momentum[n] for n in names]))
        rows, columns = step.shape[1:]
        scale = rate * max(1.0, rows / columns) ** 0.5
        return {n: (1 - rate * DECAY) * values[n] - scale * step[i] for i, n in enumerate(names)}
