"""Rotary embeddings: what a configuration asks for, and what a module of the network does.

Both are the inverse frequencies of the rotated pairs, in radians per position and largest first,
and the factor on what is rotated. ``requested`` computes them from the settings; ``measured`` reads
them off the module: at position 1 a unit vector becomes cos f of itself and sin f of its partner.

Sources: RoPE 2104.09864, linear 2306.15595, YaRN 2309.00071, LongRoPE 2402.13753, and the Llama 3.1
model card's ``llama3``. A prompt is at most as long as the original context where factors change
there (``longrope``, ``dynamic``): ``LoadedModel.context_length``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import numpy.typing as npt

from circuit.model.checkpoint.files import Config

Frequencies = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rotation:
    """Inverse frequencies (n_pairs,), largest first, and the factor on queries and keys."""

    frequencies: Frequencies
    scale: float = 1.0

    def error(self, other: "Rotation") -> float:
        """Return the largest relative difference; infinite if other pairs are rotated."""
        if self.frequencies.shape != other.frequencies.shape:
            return math.inf
        worst = np.max(np.abs(self.frequencies / other.frequencies - 1), initial=0.0)
        return max(float(worst), abs(self.scale / other.scale - 1))


def settings_of(config: Config, layer: int) -> Config:
    """Return the rotary settings of one layer: base, kind, and the keys of the kind."""
    kind = layer_type(config, layer)
    given = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if isinstance(own := given.get(kind), dict):
        return own
    local = config.get("rope_local_base_freq") or _LOCAL_BASES.get(str(config.get("model_type")))
    if kind == "sliding_attention" and local:
        return {"rope_theta": local}
    base = next((config[key] for key in _BASES if config.get(key) is not None), None)
    part = next((config[key] for key in _PARTS if config.get(key) is not None), None)
    return {
        "rope_theta": base,
        "partial_rotary_factor": part,
        **given,
    }


# Families whose layers with a window have a base of their own, also where no key names it.
_LOCAL_BASES = dict.fromkeys(("gemma3_text", "gemma3n_text"), 10_000.0)
_BASES = ("rope_theta", "rotary_emb_base")
_PARTS = ("partial_rotary_factor", "rotary_pct")


# Families that rotate a part of each head; the others apply the key with a kind of scaling only.
_ROTATE_PARTLY = """
    glm glm4 glm4_moe glm4_moe_lite gpt_neox laguna mellum mimo_v2_flash minimax_m2 nemotron phi
    phi3 qwen3_5 qwen3_5_moe qwen3_next recurrent_gemma solar_open stablelm step3p5
"""
_PARTLY = frozenset(_ROTATE_PARTLY.split())


def layer_type(config: Config, layer: int) -> str | None:
    """Return what attention a layer has, as far as the configuration says."""
    types, pattern = config.get("layer_types"), config.get("sliding_window_pattern")
    if isinstance(types, list) and layer < len(types):
        return str(types[layer])
    if isinstance(pattern, int) and pattern > 0:
        return "full_attention" if (layer + 1) % pattern == 0 else "sliding_attention"
    return None


def kind_of(settings: Config) -> str:
    """Return ``rope_type`` (or ``type``), in the spelling of today."""
    kind = str(settings.get("rope_type") or settings.get("type") or "default")
    return {"su": "longrope", "mrope": "default"}.get(kind, kind)


def requested(config: Config, layer: int, dims: int) -> Rotation | None:
    """Return what ``config`` asks of a layer; None where it names no base or an unknown kind.

    ``dims`` is the number of rotated dimensions where the configuration does not say it.
    """
    settings = settings_of(config, layer)
    rule, base = _KINDS.get(kind_of(settings)), settings.get("rope_theta")
    if rule is None or base is None:
        return None
    part, width = settings.get("partial_rotary_factor"), _head_dim(config)
    if kind_of(settings) == "default" and config.get("model_type") not in _PARTLY:
        part = None
    dims = int(width * part) if part is not None and width is not None else dims
    limit = config.get("max_position_embeddings")
    original = config.get("original_max_position_embeddings") or limit
    settings = {"original_max_position_embeddings": original, "limit": limit, **settings}
    found = rule(float(base) ** (-np.arange(0, dims, 2) / dims), settings)
    return Rotation(np.sort(found.frequencies)[::-1], found.scale)


def _head_dim(config: Config) -> int | None:
    width, heads = config.get("hidden_size"), config.get("num_attention_heads")
    whole = width // heads if isinstance(width, int) and isinstance(heads, int) else None
    return config.get("qk_rope_head_dim") or config.get("head_dim") or whole


def measured(rope: nn.Module, dims: int) -> Rotation:
    """Return what a module does to the first ``dims`` dimensions of a head."""
    units = mx.eye(dims).reshape(dims, 1, 1, dims)
    turned = np.array(rope(units, offset=1)).reshape(dims, dims).astype(np.float64)
    cosines = np.diag(turned)
    sines = np.linalg.norm(turned - np.diag(cosines), axis=1)
    angles = np.sort(np.arctan2(sines, cosines))[::-1][::2]
    scales = np.hypot(sines, cosines)
    rotated = angles > 1e-12
    return Rotation(angles[rotated], float(scales[int(np.argmax(sines))]) if rotated.any() else 1.0)


def _linear(plain: Frequencies, settings: Config) -> Rotation:
    return Rotation(plain / settings["factor"])


def _llama3(plain: Frequencies, settings: Config) -> Rotation:
    low, high = settings["low_freq_factor"], settings["high_freq_factor"]
    turns = settings["original_max_position_embeddings"] * plain / (2 * np.pi)
    mix = np.clip((turns - low) / (high - low), 0, 1)
    return Rotation(plain * (mix + (1 - mix) / settings["factor"]))


def _longrope(plain: Frequencies, settings: Config) -> Rotation:
    original = settings["original_max_position_embeddings"]
    factor = settings.get("factor") or settings["limit"] / original
    scale = settings.get("attention_factor")
    if scale is None:
        scale = math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0
    return Rotation(plain / np.asarray(settings["short_factor"], dtype=np.float64), scale)


def _yarn(plain: Frequencies, settings: Config) -> Rotation:
    original = settings["original_max_position_embeddings"]
    factor = settings.get("factor") or settings["limit"] / original
    fast, slow = settings.get("beta_fast") or 32, settings.get("beta_slow") or 1
    slope = -math.log(plain[1]) if len(plain) > 1 else 1.0  # of the logarithm, per pair
    ends = [math.log(original / (2 * math.pi * turns)) / slope for turns in (fast, slow)]
    if settings.get("truncate", True):
        ends = [math.floor(ends[0]), math.ceil(ends[1])]
    first, last = max(ends[0], 0), min(ends[1], 2 * len(plain) - 1)
    last += 0.001 if first == last else 0.0
    mix = 1 - np.clip((np.arange(len(plain)) - first) / (last - first), 0, 1)
    return Rotation(plain * (mix + (1 - mix) / factor), _yarn_scale(factor, settings))


def _yarn_scale(factor: float, settings: Config) -> float:
    def grown(weight: float) -> float:
        return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0

    if (given := settings.get("attention_factor")) is not None:
        return float(given)
    above, below = settings.get("mscale"), settings.get("mscale_all_dim")
    return grown(above) / grown(below) if above and below else grown(1.0)


_KINDS: dict[str, Callable[[Frequencies, Config], Rotation]] = {
    "default": lambda plain, _: Rotation(plain),
    "dynamic": lambda plain, _: Rotation(plain),
    "linear": _linear,
    "llama3": _llama3,
    "longrope": _longrope,
    "yarn": _yarn,
}
