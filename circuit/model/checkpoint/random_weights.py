"""Random weights: the baseline of what architecture and tokens give without training.

Every array of parameters with two dimensions or more, embeddings and head included, is drawn again
from a normal distribution with its own mean and standard deviation, so that activations keep their
order of size. Vectors are kept: the gains of norms, biases, decay rates set scales and hold no map
from tokens to anything. A random embedding still gives each token a vector of its own, and random
attention still mixes them, so "which words are in the prompt" stays readable: what a probe reads
here was not computed by the trained model (Conneau et al. 2018, 1805.01070; Zhang & Bowman 2018,
1809.10040).

Quantised layers are dequantised first. Draws depend only on the seed and the parameter's name.
"""

import dataclasses
import hashlib
import zlib
from functools import cached_property

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten

from circuit.model.checkpoint.loading import LoadedModel
from circuit.values.identity import ModelIdentity


@dataclasses.dataclass(frozen=True, eq=False)
class RandomisedModel(LoadedModel):
    """A loaded model whose weights were drawn again, with an identity of its own."""

    seed: int = 0

    @cached_property
    def identity(self) -> ModelIdentity:
        """The checkpoint's identity, but for its name and the fingerprint of its weights."""
        trained = super().identity
        text = f"{trained.weights_sha256} normal, mean and sd per array, seed {self.seed}"
        return dataclasses.replace(
            trained,
            id=f"{trained.id} (random weights, seed {self.seed})",
            quantization=None,
            weights_sha256=hashlib.sha256(text.encode()).hexdigest(),
        )


def randomise(model: LoadedModel, *, seed: int = 0) -> RandomisedModel:
    """Draw the weights of ``model`` again, in place: do not use the given model afterwards."""
    from mlx_lm.utils import dequantize_model

    network = model.network
    dequantize_model(network)
    drawn = [
        (name, _redrawn(name, array, seed)) for name, array in tree_flatten(network.parameters())
    ]
    network.update(tree_unflatten(drawn))
    mx.eval(network.parameters())
    fields = {field.name: getattr(model, field.name) for field in dataclasses.fields(LoadedModel)}
    return RandomisedModel(**fields, seed=seed)


def _redrawn(name: str, array: mx.array, seed: int) -> mx.array:
    if array.ndim < 2 or not mx.issubdtype(array.dtype, mx.floating):
        return array
    wide = array.astype(mx.float32)
    mean, deviation = mx.mean(wide), mx.sqrt(mx.var(wide))
    key = mx.random.key((seed << 32) ^ zlib.crc32(name.encode()))
    return (mean + deviation * mx.random.normal(array.shape, key=key)).astype(array.dtype)
