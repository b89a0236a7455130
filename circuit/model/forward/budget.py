"""The number of tokens of a batch: as many as are useful, and as fit into the memory.

Beyond some hundred tokens a larger batch is not faster: products are large enough, and on a CPU the
arrays leave the cache. So there is a maximum (``BATCH_TOKENS`` on a CPU, 16 times that on a GPU),
which is lowered when a short forward pass over the longest prompts shows that it would take more
than half of the free memory, together with what is kept of each token.
"""

from collections.abc import Sequence
from math import prod
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from circuit.model.checkpoint.loading import LoadedModel
from circuit.model.forward.batches import BATCH_TOKENS
from circuit.model.machine import runtime
from circuit.model.prompts.lists import Ids, Lists, stacked
from circuit.model.prompts.positions import Position
from circuit.model.sites.sites import recording, site_shape, why_absent
from circuit.values.sites import Site

PROBE_TOKENS = 256
SHARE = 0.5  # of the free memory


def measured_batch_tokens(
    model: LoadedModel, ids: Lists, sites: Sequence[Site], positions: Sequence[Position]
) -> int:
    """Return the largest budget that fits into the memory: a power of 2 times ``PROBE_TOKENS``."""
    most = BATCH_TOKENS * (1 if runtime.device() == "cpu" else 16)
    if ids.lengths.sum() <= PROBE_TOKENS:
        return most
    per_token = bytes_per_token(model, ids, sites, positions)
    fitting = free_memory() * SHARE / (per_token * model.in_flight)
    while most > PROBE_TOKENS and most > fitting:
        most //= 2
    return most


def bytes_per_token(
    model: LoadedModel, ids: Lists, sites: Sequence[Site], positions: Sequence[Position]
) -> float:
    """Return the memory that a token of the longest prompts takes in a batch, without the weights.

    It is measured in a forward pass over some of them, plus what is kept of each token.
    """
    most = int(ids.lengths.max())
    rows = np.argsort(-ids.lengths, kind="stable")[: max(1, PROBE_TOKENS // most)]
    kept = kept_per_token(model, most, sites, positions)
    return kept + _measured_per_token(model, [ids[row] for row in rows.tolist()], sites)


def kept_per_token(
    model: LoadedModel, longest: int, sites: Sequence[Site], positions: Sequence[Position]
) -> int:
    """Return the largest number of bytes kept per token: float32, on the device and on the host.

    A position that may have any number of tokens counts as having all; others are negligible.
    """
    every = sum(position.is_ragged for position in positions)
    shapes = [site_shape(model, site) for site in sites] if every else []
    return 2 * 4 * every * sum(prod(n or longest for n in shape) for shape in shapes)


def _measured_per_token(model: LoadedModel, batch: Sequence[Ids], sites: Sequence[Site]) -> float:
    seen: list[mx.array] = []
    last = max(sites, key=lambda site: site.layer)
    with recording(model, [last], lambda _, read: seen.append(read(lambda hidden: hidden[:, -1:]))):
        model.network(mx.array(stacked(batch)))
    mx.eval(model.network.parameters())
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    mx.eval(seen)
    return (mx.get_peak_memory() - before) / (len(batch) * len(batch[0]))


def free_memory() -> int:
    """Return the bytes that are free for arrays on the device that computes."""
    info = mx.device_info()
    if "free_memory" in info:  # CUDA
        return int(info["free_memory"])
    if "max_recommended_working_set_size" in info:  # Metal
        return int(info["max_recommended_working_set_size"]) - mx.get_active_memory()
    lines = Path("/proc/meminfo").read_text().splitlines()
    (available,) = (line.split()[1] for line in lines if line.startswith("MemAvailable"))
    return int(available) * 1024


def weight_bytes(model: LoadedModel) -> int:
    """Return the memory of the weights, in the dtype that they are held in."""
    return sum(array.nbytes for _, array in tree_flatten(model.network.parameters()))


def block_weights(model: LoadedModel, last: int) -> int:
    """Return the weights that multiply a token in the blocks 0 to ``last``.

    Of a mixture of experts only the experts chosen for a token count.
    """
    modules = [m for block in model.blocks[: last + 1] for m in block.modules()]
    text = model.config.get("text_config", model.config)
    chosen = int(text.get("num_experts_per_tok") or 1)
    return sum(_multiplied(module, chosen) for module in modules)


def _multiplied(module: nn.Module, chosen_experts: int) -> int:
    if "Linear" not in type(module).__name__ or "weight" not in module:
        return 0
    size = int(module["weight"].size) * (32 // module.bits if "scales" in module else 1)
    experts = getattr(module, "num_experts", None)
    return size if experts is None else size // experts * min(chosen_experts, experts)


def attention_width(model: LoadedModel) -> int:
    """Return n_heads * head_dim of the first block, or d_model where its heads are unknown."""
    known = why_absent(model, "z", 0) is None
    return prod(site_shape(model, Site("z", 0))) if known else model.d_model
