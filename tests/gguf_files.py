"""Checkpoints as GGUF files: what llama.cpp's converter does, written down a second time for the tests.

The names of tensors, the permutation of query and key rows and the one that is added to Gemma's norms are those of
convert_hf_to_gguf.py; nothing of the code that reads GGUF files is used.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from checkpoints import write_checkpoint

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.gate_up_proj": "ffn_up",
}
FOUR_NORMS = {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
GEMMA = {"query_pre_attn_scalar": 8, "head_dim": 8, "tie_word_embeddings": True}
# llama.cpp's family -> the checkpoint's model_type, its settings, and its keys of its own
FAMILIES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "llama": ("llama", {}, {}),
    "qwen2": ("qwen2", {}, {}),
    "qwen3": (
        "qwen3",
        {"head_dim": 16},
        {"attention.key_length": 16, "attention.value_length": 16},
    ),
    "gemma": (
        "gemma",
        {"tie_word_embeddings": True},
        {"attention.key_length": 8, "attention.value_length": 8},
    ),
    "gemma2": (
        "gemma2",
        {
            **GEMMA,
            "attn_logit_softcapping": 40.0,
            "final_logit_softcapping": 20.0,
            "sliding_window": 64,
        },
        {
            "attn_logit_softcapping": 40.0,
            "final_logit_softcapping": 20.0,
            "attention.sliding_window": 64,
            "attention.key_length": 8,
            "attention.value_length": 8,
        },
    ),
    "gemma3": (
        "gemma3_text",
        {
            **GEMMA,
            "sliding_window": 6,
            "num_hidden_layers": 7,
            "rope_theta": 1e6,
            "sliding_window_pattern": 6,
        },
        {"attention.sliding_window": 6, "attention.key_length": 8, "attention.value_length": 8},
    ),
    "phi3": ("phi3", {"partial_rotary_factor": 0.5}, {"rope.dimension_count": 4}),
}
NASTY = (
    "Hello world",
    "  two before, two after  ",
    "a  b   c    d",
    "\n\nnew\nlines\n\n\n x\n",
    "1 2  3   45 678 9,000.50",
    "naïve café e\u0301 ﬁ ½ ² ٣٤",
    "日本語のテキスト 🙂👨‍👩‍👧",
    "\ttab\t\tx\r\nwin\r\n",
    "It's I'LL we'RE don't 'S",
    "<s>hi</m><sys>x<pad>",
    "def f(x):\n    return x**2  # \u00a0nbsp\u200b",
    "x=1;y==2 !!! ...?! $+<=>^~|`",
    " ",
    "\x00\x01",
)
ROWS = 512  # of the embedding: more than there are tokens, as in many models
TRAINING = [
    "The quick brown fox doesn't jump over 12 345 lazy dogs, 67 of them.",
    "def f(x):\n        return x ** 2  # a  comment   with    spaces\n\n\n",
    "naïve café 日本語 🙂 It's we'll they're I'd you've",
    "==== ---- .... ,,, !!! 1 2  3   2024 1999 100",
]


def write_gguf(
    path: Path,
    family: str = "llama",
    *,
    folder: Path | None = None,
    kind: str = "F32",
    changes: dict[str, Any] | None = None,
    tensors: dict[str, Any] | None = None,
    **settings: Any,
) -> Path:
    """Write a random checkpoint of a family, beside it as GGUF (``path``), and return its folder.

    ``changes`` are metadata that are set, or left out where they are None; so are ``tensors``. ``kind`` is how the matrices
    are stored.
    """
    model_type, own, keys = FAMILIES[family]
    folder = folder or path.with_suffix("")
    if not folder.exists():
        write_checkpoint(folder, model_type, **{**own, "vocab_size": ROWS, **settings})
        trained_tokenizer(pre_tokenizers("gpt-2")).save(str(folder / "tokenizer.json"))
        if own.get("tie_word_embeddings"):
            drop_head(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    arrays = {**converted(folder, family, config), **(tensors or {})}
    metadata = {**settings_of(config, family, keys), **tokenizer_of(folder), **(changes or {})}
    return save(path, family, metadata, arrays, kind) or folder


def drop_head(path: Path) -> None:
    """Remove a head that is tied to the embedding: mlx-lm's Gemma 3 has one of its own until it is loaded."""
    import mlx.core as mx

    arrays = {name: array for name, array in mx.load(str(path)).items() if name != "lm_head.weight"}
    mx.save_safetensors(str(path), arrays, metadata={"format": "mlx"})


def pre_tokenizers(name: str) -> Any:
    """Return a pre-tokenizer as the tokenizer.json of a model with this name of llama.cpp has it."""
    from tokenizers import Regex, pre_tokenizers

    bytes_of = pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=name in ("gpt-2", "smollm")
    )
    match name:
        case "gpt-2":
            return bytes_of
        case "smollm":
            return pre_tokenizers.Sequence(
                [pre_tokenizers.Digits(individual_digits=True), bytes_of]
            )
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    cut = pre_tokenizers.Split(Regex(GGUF_PRE_TOKENIZER_SPLITS[name]), behavior="isolated")
    return pre_tokenizers.Sequence([cut, bytes_of])


def trained_tokenizer(pre_tokenizer: Any, *, ignore_merges: bool = False) -> Any:
    """Return a byte-level BPE tokenizer with merges of its own and the special tokens of ``checkpoints``."""
    from checkpoints import SPECIAL
    from tokenizers import Tokenizer, decoders, models, processors, trainers
    from tokenizers import pre_tokenizers as cuts

    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizer, decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=ROWS - 20,
        special_tokens=SPECIAL,
        initial_alphabet=cuts.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TRAINING, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return tokenizer


def converted(folder: Path, family: str, config: dict[str, Any]) -> dict[str, Any]:
    """Return the tensors as llama.cpp stores them."""
    import mlx.core as mx

    names = {**NAMES, **(FOUR_NORMS if family in ("gemma2", "gemma3") else {})}
    out = {}
    for name, array in mx.load(str(folder / "model.safetensors")).items():
        numbers = np.array(array.astype(mx.float32))
        stem, _, suffix = name.rpartition(".")
        if name == "lm_head.weight" and config.get("tie_word_embeddings"):
            continue
        if family.startswith("gemma") and stem.endswith("norm"):
            numbers = numbers + np.float32(1)
        block = ""
        if stem.startswith("model.layers."):
            _, _, number, stem = stem.split(".", 3)
            block = f"blk.{number}."
        if family == "llama" and stem in ("self_attn.q_proj", "self_attn.k_proj"):
            q = stem.endswith("q_proj")
            numbers = permuted(
                numbers, config["num_attention_heads" if q else "num_key_value_heads"]
            )
        out[f"{block}{names[stem]}.{suffix}"] = numbers
    return out


def permuted(weights: Any, n_head: int) -> Any:
    """Return rows in the order of llama.cpp: the halves of each head interleaved."""
    halves = weights.reshape(n_head, 2, weights.shape[0] // n_head // 2, *weights.shape[1:])
    return halves.swapaxes(1, 2).reshape(weights.shape)


def settings_of(config: dict[str, Any], family: str, keys: dict[str, Any]) -> dict[str, Any]:
    found = {
        "block_count": config["num_hidden_layers"],
        "context_length": config["max_position_embeddings"],
        "embedding_length": config["hidden_size"],
        "feed_forward_length": config["intermediate_size"],
        "attention.head_count": config["num_attention_heads"],
        "attention.head_count_kv": config["num_key_value_heads"],
        "attention.layer_norm_rms_epsilon": float(config["rms_norm_eps"]),
        "rope.freq_base": float(config["rope_theta"]),
        "vocab_size": config["vocab_size"],
        **keys,
    }
    return {f"{family}.{key}": value for key, value in found.items()}


def tokenizer_of(folder: Path) -> dict[str, Any]:
    """Return the metadata of a checkpoint's byte-level tokenizer."""
    document = json.loads((folder / "tokenizer.json").read_text())
    config = json.loads((folder / "tokenizer_config.json").read_text())
    vocabulary = dict(document["model"]["vocab"])
    vocabulary |= {each["content"]: each["id"] for each in document["added_tokens"]}
    special = {each["content"] for each in document["added_tokens"]}
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    merges = [m if isinstance(m, str) else " ".join(m) for m in document["model"]["merges"]]
    found = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if token in special else 1 for token in tokens],
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.bos_token_id": vocabulary[config["bos_token"]],
        "tokenizer.ggml.eos_token_id": vocabulary[config["eos_token"]],
        "tokenizer.ggml.padding_token_id": vocabulary[config["pad_token"]],
        "tokenizer.ggml.add_bos_token": True,
    }
    if "chat_template" in config:
        found["tokenizer.chat_template"] = config["chat_template"]
    return found


def save(
    path: Path, architecture: str, metadata: dict[str, Any], arrays: dict[str, Any], kind: str
) -> None:
    """Write the file with gguf's own writer."""
    from gguf import GGMLQuantizationType, GGUFWriter
    from gguf.quants import quantize

    path.parent.mkdir(parents=True, exist_ok=True)
    writer = GGUFWriter(path, architecture)
    for key, value in metadata.items():
        match value:
            case None:
                continue
            case bool():
                writer.add_bool(key, value)
            case int():
                writer.add_uint32(key, value)
            case float():
                writer.add_float32(key, value)
            case str():
                writer.add_string(key, value)
            case _:
                writer.add_array(key, value)
    for name, numbers in arrays.items():
        if numbers is None:
            continue
        stored = GGMLQuantizationType[kind if numbers.ndim > 1 else "F32"]
        writer.add_tensor(name, quantize(numbers, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
