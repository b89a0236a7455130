"""Tiny real checkpoints, written in milliseconds: configuration, weights and a tokenizer."""

import importlib
import json
from pathlib import Path
from typing import Any

CHAT_TEMPLATE = (
    "<s>{% if tools %}<t>{% for tool in tools %}{{ tool.function.name }} {% endfor %}{% endif %}"
    "{% for m in messages %}<{{ m.role[:3] }}>{{ m.content }}</m>{% endfor %}"
    "{% if add_generation_prompt %}<a>{% endif %}"
)
SPECIAL = ["<s>", "</m>", "<sys>", "<use>", "<a>", "<t>", "<pad>"]
VOCABULARY = 256 + len(SPECIAL)
SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
}


def write_tokenizer(folder: Path, *, chat: bool = True) -> None:
    """Write a byte-level tokenizer whose ids are the bytes, plus a few special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: i for i, symbol in enumerate([*alphabet, *SPECIAL])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", vocabulary["<s>"])]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</m>",
        "pad_token": "<pad>",
    }
    if chat:
        config["chat_template"] = CHAT_TEMPLATE
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def write_checkpoint(
    folder: Path,
    family: str = "llama",
    *,
    seed: int = 0,
    identity_blocks: bool = False,
    dtype: str = "float32",
    chat: bool = True,
    **overrides: Any,
) -> Path:
    """Write a random checkpoint that ``mlx_lm.load`` opens; return its folder.

    With ``identity_blocks`` every ``o_proj`` and ``down_proj`` is zero, so that each block returns
    exactly what it read and hidden states can be checked bit for bit.
    """
    importlib.import_module("circuit.model")  # a fast BLAS before MLX
    import mlx.core as mx
    from mlx.utils import tree_flatten, tree_map_with_path

    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_type": family, **SHAPE, **overrides}
    architecture = importlib.import_module(f"mlx_lm.models.{family}")
    mx.random.seed(seed)
    network = architecture.Model(architecture.ModelArgs.from_dict(config))

    def value(path: str, array: mx.array) -> mx.array:
        if identity_blocks and path.endswith(("o_proj.weight", "down_proj.weight")):
            return mx.zeros_like(array)
        return array.astype(getattr(mx, dtype))

    weights = dict(tree_flatten(tree_map_with_path(value, network.parameters())))
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    (folder / "config.json").write_text(json.dumps(config))
    write_tokenizer(folder, chat=chat)
    return folder


def unit_vector(d_model: int, seed: int = 0) -> Any:
    """Return a random unit vector (d_model,) float32."""
    import numpy as np

    v = np.random.default_rng(seed).standard_normal(d_model).astype(np.float32)
    return v / np.linalg.norm(v)
