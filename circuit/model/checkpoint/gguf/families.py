"""Each family's settings and weights, and the inverse of what llama.cpp's converter did to them.

The converter permutes the rows of Llama's query and key maps, so that rotary pairs are neighbours,
and adds one to the norms of Gemma, whose code multiplies by one plus the weight. Which tensor is
which parameter the gguf package knows; which parameters there are, and their shapes, the network
that mlx-lm builds from the configuration says. Each of them must be in the file and each tensor of
the file must be one of them.

To add a family, write a row, and a case of ``tests/gguf_files.py`` that converts such a checkpoint.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from circuit.errors import ModelError
from circuit.model.checkpoint.gguf.contents import Contents, Numbers, reading
from circuit.model.checkpoint.gguf.rope import FACTORS, rope_scaling

Config = dict[str, object]
_SCALINGS = ("linear", "yarn", "factors")
_APPLIED = {
    "context_length",
    "embedding_length",
    "block_count",
    "feed_forward_length",
    "vocab_size",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.layer_norm_rms_epsilon",
    "attention.key_length",
    "attention.value_length",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scale_linear",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.attn_factor",
    "rope.scaling.yarn_ext_factor",
    "rope.scaling.yarn_attn_factor",
    "rope.scaling.yarn_log_multiplier",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "rope.scaling.finetuned",  # says how the model was trained, not how it runs
    "tensor_data_layout",  # the permutation that every file of the family has
}
# Settings that change nothing at these values; at another the file is refused.
_NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "attention.causal": (True,),
    "attention.clamp_kqv": (0.0,),
    "attention.max_alibi_bias": (0.0,),
    "expert_count": (0,),
    "expert_used_count": (0,),
    "attn_logit_softcapping": (0.0,),
    "final_logit_softcapping": (0.0,),
    "use_parallel_residual": (False,),
}


@dataclass(frozen=True)
class Family:
    """How a family of llama.cpp is written as a checkpoint.

    ``numbers`` are keys that only this family has, with their name in the configuration;
    ``settings`` are what its files do not say; ``finish`` completes the configuration.
    """

    model_type: str
    permuted: bool = False
    norm_plus_one: bool = False
    partial_rope: bool = False
    scalings: tuple[str, ...] = _SCALINGS
    numbers: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)
    finish: Callable[[Contents, Config], Config] | None = None


def _biases(contents: Contents, config: Config) -> Config:
    return {
        **config,
        "attention_bias": "blk.0.attn_q.bias" in contents.tensors,
        "mlp_bias": "blk.0.ffn_up.bias" in contents.tensors,
    }


def _gemma(contents: Contents, config: Config) -> Config:
    """Add how attention is scaled: by the width of a head, in the 27B models by that of the state.

    llama.cpp knows those by their number of blocks, too.
    """
    large = config["num_hidden_layers"] in {"gemma2": (46,), "gemma3": (62,)}.get(
        contents.architecture, ()
    )
    width, heads = config["hidden_size"], config["num_attention_heads"]
    assert isinstance(width, int)
    assert isinstance(heads, int)
    scalar: object = width // heads if large else config["head_dim"]
    key = f"{contents.architecture}.attention.scale"
    if contents.has(key):
        scalar = contents.number(key) ** -2
    return {**config, "query_pre_attn_scalar": scalar}


def _gemma3(contents: Contents, config: Config) -> Config:
    """Add the pattern of windows, every sixth block without one unless the file says otherwise."""
    key = "gemma3.attention.sliding_window_pattern"
    local = contents.number("gemma3.rope.freq_base_swa", 10_000.0)
    return {
        **_gemma(contents, config),
        "sliding_window_pattern": _period(contents, key) if contents.has(key) else 6,
        "rope_local_base_freq": local,
    }


def _period(contents: Contents, key: str) -> int:
    """Return after how many blocks one has no window: a number, or a truth value for each block."""
    if not contents.is_list(key):
        return contents.integer(key)
    windows = contents.flags(key)
    period = windows.index(False) + 1 if False in windows else 0
    if not period or windows != [(block + 1) % period != 0 for block in range(len(windows))]:
        raise _setting_refused(contents, key)
    return period


def _phi3(contents: Contents, config: Config) -> Config:
    original = contents.integer(
        "phi3.rope.scaling.original_context_length", contents.integer("phi3.context_length")
    )
    return {**config, "original_max_position_embeddings": original}


_SILU = {"hidden_act": "silu"}
_GELU = {"hidden_activation": "gelu_pytorch_tanh", "hidden_act": "gelu_pytorch_tanh"}
_WINDOW = {"attention.sliding_window": "sliding_window"}
_CAPS = {
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
}
FAMILIES: Mapping[str, Family] = {
    # Mistral's files are of this family, too.
    "llama": Family("llama", permuted=True, settings=_SILU, finish=_biases),
    "qwen2": Family("qwen2", settings={**_SILU, "use_sliding_window": False}),
    "qwen3": Family("qwen3", settings={**_SILU, "use_sliding_window": False}),
    "gemma": Family("gemma", norm_plus_one=True, scalings=(), settings=_GELU),
    "gemma2": Family(
        "gemma2",
        norm_plus_one=True,
        scalings=(),
        numbers={**_WINDOW, **_CAPS, "attention.scale": ""},
        settings=_GELU,
        finish=_gemma,
    ),
    "gemma3": Family(
        "gemma3_text",
        norm_plus_one=True,
        scalings=("linear",),
        numbers={
            **_WINDOW,
            "attention.scale": "",
            "attention.sliding_window_pattern": "",
            "rope.freq_base_swa": "",
        },
        settings=_GELU,
        finish=_gemma3,
    ),
    "phi3": Family(
        "phi3",
        partial_rope=True,
        scalings=("longrope",),
        numbers=_WINDOW,
        settings=_SILU,
        finish=_phi3,
    ),
}


def family_of(contents: Contents) -> Family:
    """Return the row of the file's family; raise ``ModelError`` if there is none."""
    if contents.architecture not in FAMILIES:
        raise ModelError(
            "gguf-family-unknown",
            f"`{contents.path}` is a model of the family `{contents.architecture}`, "
            "which circuit does not read from GGUF",
            hint=f"families: {', '.join(FAMILIES)}; or give its checkpoint folder or hub id",
            path=str(contents.path),
            family=contents.architecture,
        )
    return FAMILIES[contents.architecture]


def config_of(contents: Contents) -> Config:
    """Return the configuration that transformers and mlx-lm read."""
    family, prefix = family_of(contents), f"{contents.architecture}."
    _check_keys(contents, family)
    heads, width = (
        contents.integer(prefix + key) for key in ("attention.head_count", "embedding_length")
    )
    head_dim = contents.integer(f"{prefix}attention.key_length", width // max(1, heads))
    theta = contents.number(f"{prefix}rope.freq_base", 10_000.0)
    config: Config = {
        "model_type": family.model_type,
        "hidden_size": width,
        "num_hidden_layers": contents.integer(f"{prefix}block_count"),
        "intermediate_size": contents.integer(f"{prefix}feed_forward_length"),
        "num_attention_heads": heads,
        "num_key_value_heads": contents.integer(f"{prefix}attention.head_count_kv", heads),
        "head_dim": head_dim,
        "rms_norm_eps": contents.number(f"{prefix}attention.layer_norm_rms_epsilon"),
        "max_position_embeddings": contents.integer(f"{prefix}context_length"),
        "rope_theta": theta,
        "vocab_size": _shape(contents, "token_embd.weight")[0],
        "tie_word_embeddings": "output.weight" not in contents.tensors,
        **family.settings,
        **_rotated(contents, family, head_dim),
    }
    for key, name in family.numbers.items():
        if name and contents.has(prefix + key):
            config[name] = contents.number(prefix + key)
    if "sliding_window" in config:  # 0: every token sees all before it
        config["sliding_window"] = contents.integer(f"{prefix}attention.sliding_window") or None
    scaling = rope_scaling(contents, theta=theta, allowed=family.scalings)
    if scaling is not None:
        config["rope_scaling"] = scaling
    return config if family.finish is None else family.finish(contents, config)


def sources_of(contents: Contents, config: Config) -> dict[str, str]:
    """Return the tensor of each parameter of the network, checked in both directions.

    Raises ``ModelError`` for a parameter without a tensor, a tensor without a parameter, and for
    shapes that differ.
    """
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    architecture = next(k for k, v in MODEL_ARCH_NAMES.items() if v == contents.architecture)
    blocks = config["num_hidden_layers"]
    assert isinstance(blocks, int)
    names = get_tensor_name_map(architecture, blocks)
    found: dict[str, str] = {}
    for parameter, shape in _parameters(contents, config).items():
        name = names.get_name(parameter, try_suffixes=(".weight", ".bias"))
        if parameter == "lm_head.weight" and config["tie_word_embeddings"]:
            continue
        if name is None or _shape(contents, name) != shape:
            raise ModelError(
                "tensor-shape-unexpected",
                f"`{name}` of `{contents.path}` is not of the shape {shape} that its settings ask",
                hint="convert the model again with a current llama.cpp",
                path=str(contents.path),
                tensor=name,
            )
        found[parameter] = name
    if left := sorted(set(contents.tensors) - set(found.values()) - set(FACTORS)):
        raise ModelError(
            "tensor-unknown",
            f"`{contents.path}` has the tensor `{left[0]}`, which its family has not",
            hint="the model differs from its family: give its checkpoint folder or hub id",
            path=str(contents.path),
            tensor=left[0],
        )
    return found


def restored(contents: Contents, family: Family, name: str, config: Config) -> Numbers:
    """Return a tensor as the checkpoint has it: dequantised, and the conversion undone."""
    numbers = contents.read(name)
    if family.norm_plus_one and name.endswith("norm.weight"):
        return numbers - np.float32(1)
    part = name.rpartition(".")[0].rpartition(".")[2]
    if family.permuted and part in ("attn_q", "attn_k"):
        heads = config["num_attention_heads" if part == "attn_q" else "num_key_value_heads"]
        assert isinstance(heads, int)
        pairs = numbers.reshape(heads, -1, 2, *numbers.shape[1:])
        return pairs.swapaxes(1, 2).reshape(numbers.shape)
    return numbers


def _parameters(contents: Contents, config: Config) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the network's parameters; its arrays are never computed."""
    architecture = importlib.import_module(f"mlx_lm.models.{config['model_type']}")
    with reading(contents.path):
        network = architecture.Model(architecture.ModelArgs.from_dict(config))
        flat: list[tuple[str, mx.array]] = tree_flatten(network.parameters())
        return {name: tuple(array.shape) for name, array in flat}


def _rotated(contents: Contents, family: Family, head_dim: int) -> Config:
    """Return the rotated share of a head where it may be smaller than one."""
    key = f"{contents.architecture}.rope.dimension_count"
    rotated = contents.integer(key, head_dim)
    if family.partial_rope and 0 < rotated <= head_dim:
        return {"partial_rotary_factor": rotated / head_dim}
    if rotated != head_dim:
        raise _setting_refused(contents, key)
    return {}


def _check_keys(contents: Contents, family: Family) -> None:
    """Refuse settings that nothing would apply: the states would silently be others."""
    prefix = f"{contents.architecture}."
    value_length = f"{prefix}attention.value_length"
    key_length = contents.integer(f"{prefix}attention.key_length", 0)
    if contents.integer(value_length, key_length) != key_length:
        raise _setting_refused(contents, value_length)
    for key, stored in contents.fields.items():
        name = key.removeprefix(prefix)
        if name == key or name in _APPLIED or name in family.numbers:
            continue
        with reading(contents.path):
            value = stored.contents()
        if name == "attention.sliding_window" and isinstance(value, int):
            harmless = value == 0 or value >= contents.integer(f"{prefix}context_length")
        else:
            harmless = name in _NEUTRAL and value in _NEUTRAL[name]
        if not harmless:
            raise _setting_refused(contents, key)


def _setting_refused(contents: Contents, key: str) -> ModelError:
    return ModelError(
        "gguf-setting-unknown",
        f"`{contents.path}` has the setting `{key}`, which nothing here applies",
        hint="circuit would compute other states than the model: give its checkpoint or hub id",
        path=str(contents.path),
        key=key,
    )


def _shape(contents: Contents, name: str) -> tuple[int, ...]:
    if name not in contents.tensors:
        raise ModelError(
            "tensor-missing",
            f"`{contents.path}` has no tensor `{name}`",
            hint="convert the model again with a current llama.cpp",
            path=str(contents.path),
            tensor=name,
        )
    return contents.shape(name)
