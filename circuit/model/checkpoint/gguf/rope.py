"""The scaling of rotary positions, from llama.cpp's keys and tensors to ``rope_scaling``.

``rope_freqs.weight`` holds what each frequency is divided by. Llama 3's converter computes it from
four settings; where those of Llama 3 give it again they are written, otherwise the factors
themselves (as ``longrope``, whose two lists are then equal).
"""

import numpy as np
import numpy.typing as npt

from circuit.errors import ModelError
from circuit.model.checkpoint.gguf.contents import Contents

FACTORS = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
_NEUTRAL = {"attn_factor": 1.0, "yarn_ext_factor": 1.0, "yarn_attn_factor": 1.0}
_LLAMA_3 = {
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
Factors = npt.NDArray[np.float64]
Scaling = dict[str, object]


def rope_scaling(contents: Contents, *, theta: float, allowed: tuple[str, ...]) -> Scaling | None:
    """Return ``rope_scaling`` of the configuration; None without scaling.

    Raises ``ModelError`` for a kind that mlx-lm does not apply in this family.
    """
    scale, prefix = 1.0, f"{contents.architecture}.rope.scaling."
    for key in (f"{contents.architecture}.rope.scale_linear", f"{prefix}factor"):
        scale = contents.number(key, scale) or 1.0
    default = "linear" if scale != 1.0 else "none"
    kind = contents.text(f"{prefix}type", default)
    if FACTORS[1] in contents.tensors or FACTORS[2] in contents.tensors:
        kind = "longrope"
    elif FACTORS[0] in contents.tensors and kind in ("none", "linear") and scale == 1.0:
        kind = "factors"
    if kind == "none" or (kind == "linear" and scale == 1.0):
        return None
    if kind not in allowed or (kind != "factors" and FACTORS[0] in contents.tensors):
        raise _refused(contents, f"{prefix}type", kind)
    made = {"linear": _linear, "yarn": _yarn, "longrope": _long, "factors": _factors}[kind]
    return made(contents, scale, theta)


def _linear(contents: Contents, scale: float, theta: float) -> Scaling:
    del contents, theta
    return {"rope_type": "linear", "type": "linear", "factor": scale}


def _yarn(contents: Contents, scale: float, theta: float) -> Scaling:
    del theta
    prefix = f"{contents.architecture}.rope.scaling."
    for name, neutral in {**_NEUTRAL, "yarn_log_multiplier": 0.0}.items():
        if contents.number(prefix + name, neutral) != neutral:
            raise _refused(contents, prefix + name, "yarn")
    original = contents.integer(f"{prefix}original_context_length")
    return {
        "rope_type": "yarn",
        "type": "yarn",
        "factor": scale,
        "original_max_position_embeddings": original,
        "beta_fast": contents.number(f"{prefix}yarn_beta_fast", 32.0),
        "beta_slow": contents.number(f"{prefix}yarn_beta_slow", 1.0),
    }


def _long(contents: Contents, scale: float, theta: float) -> Scaling:
    """Return Phi-3's factors; its attention factor must be the one that mlx-lm computes."""
    del scale, theta
    architecture = contents.architecture
    key = f"{architecture}.rope.scaling."
    original = contents.integer(f"{key}original_context_length")
    longest = contents.integer(f"{architecture}.context_length")
    ratio = longest / original
    computed = np.sqrt(1 + np.log(ratio) / np.log(original)) if ratio > 1 else 1.0
    if not np.isclose(contents.number(f"{key}attn_factor", float(computed)), computed, rtol=1e-5):
        raise _refused(contents, f"{key}attn_factor", "longrope")
    lists = {
        "long_factor": _listed(contents, FACTORS[1]),
        "short_factor": _listed(contents, FACTORS[2]),
    }
    return {
        "rope_type": "longrope",
        "type": "longrope",
        **lists,
        "original_max_position_embeddings": original,
    }


def _factors(contents: Contents, scale: float, theta: float) -> Scaling | None:
    del scale
    factors = contents.read(FACTORS[0]).astype(np.float64).ravel()
    if (factors == 1).all():
        return None
    llama3 = {"factor": float(factors.max()), **_LLAMA_3}
    if np.allclose(_llama3_factors(len(factors), theta, **llama3), factors, rtol=1e-5, atol=0):
        return {"rope_type": "llama3", "type": "llama3", **llama3}
    return {
        "rope_type": "longrope",
        "type": "longrope",
        "long_factor": factors.tolist(),
        "short_factor": factors.tolist(),
        "original_max_position_embeddings": contents.integer(
            f"{contents.architecture}.context_length"
        ),
    }


def _llama3_factors(
    n: int,
    theta: float,
    *,
    factor: float,
    low_freq_factor: float,
    high_freq_factor: float,
    original_max_position_embeddings: float,
) -> Factors:
    """Return what Llama 3 divides ``n`` frequencies by.

    Wavelengths above original / low are stretched by ``factor``, those below original / high are
    kept, and in between 1 / factor and 1 are mixed.
    """
    turns = original_max_position_embeddings / (2 * np.pi * theta ** (np.arange(n) / n))
    kept = np.clip((turns - low_freq_factor) / (high_freq_factor - low_freq_factor), 0, 1)
    return np.asarray(1 / ((1 - kept) / factor + kept))


def _listed(contents: Contents, name: str) -> list[float]:
    if name not in contents.tensors:
        raise ModelError(
            "tensor-missing",
            f"`{contents.path}` has no tensor `{name}`",
            hint="convert the model again with a current llama.cpp",
            path=str(contents.path),
            tensor=name,
        )
    return [float(factor) for factor in contents.read(name).ravel()]


def _refused(contents: Contents, key: str, kind: str) -> ModelError:
    return ModelError(
        "rope-scaling-unknown",
        f"`{contents.path}` scales its rotary positions (`{kind}`) in a way that is not known",
        hint=f"see `{key}`: circuit would compute other states than the model",
        path=str(contents.path),
        key=key,
        kind=kind,
    )
