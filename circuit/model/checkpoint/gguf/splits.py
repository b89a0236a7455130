"""The pre-tokenizers of byte-level BPE that ``tokenizer.ggml.pre`` names.

A text is cut by the first pattern into its matches and what lies between them, each piece by the
next pattern, and so on; merges never cross a cut. With other cuts a model reads other tokens than
it was trained on, so a name that is not in this table is refused.

Source: the ``pre_tokenizer`` of each model's ``tokenizer.json``, and src/llama-vocab.cpp.
"""

from collections.abc import Mapping
from dataclasses import dataclass

_GPT_2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_ENDING = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_REST_SLASH = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_BEFORE = r"[^\r\n\p{L}\p{N}]?"
_LLAMA_3 = rf"{_ENDING}|{_BEFORE}\p{{L}}+|\p{{N}}{{1,3}}|{_REST}"
_QWEN_2 = rf"{_ENDING}|{_BEFORE}\p{{L}}+|\p{{N}}|{_REST}"
_TEKKEN = rf"{_BEFORE}{_UPPER}*{_LOWER}+|{_BEFORE}{_UPPER}+{_LOWER}*|\p{{N}}|{_REST_SLASH}"
_GPT_4O = (
    rf"{_BEFORE}{_UPPER}*{_LOWER}+{_ENDING}?|{_BEFORE}{_UPPER}+{_LOWER}*{_ENDING}?"
    rf"|\p{{N}}{{1,3}}|{_REST_SLASH}"
)


@dataclass(frozen=True)
class Split:
    """The patterns of a pre-tokenizer.

    ``whole_words``: a piece that is a token needs no merges. ``bos``: the first token is added
    where the file does not say.
    """

    patterns: tuple[str, ...]
    whole_words: bool = False
    bos: bool = False


_ROWS: tuple[tuple[tuple[str, ...], Split], ...] = (
    (("gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "exaone4"), Split((_GPT_2,))),
    (
        ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"),
        Split((r"\p{N}", _GPT_2)),
    ),
    (
        ("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"),
        Split((_LLAMA_3,), whole_words=True, bos=True),
    ),
    (("dbrx", "smaug-bpe"), Split((_LLAMA_3,))),
    (("qwen2", "deepseek-r1-qwen", "kormo", "megrez", "stablelm2", "hunyuan"), Split((_QWEN_2,))),
    (("tekken",), Split((_TEKKEN,), whole_words=True, bos=True)),
    (("gpt-4o", "llama4", "kanana2"), Split((_GPT_4O,))),
    (
        ("falcon",),
        Split((r"[\p{P}\$\+<=>\^~\|`]+", _GPT_2, r"[0-9][0-9][0-9]")),
    ),
    (
        ("default",),
        Split((r"[\p{P}\$\+<=>\^~\|]+", _GPT_2, r"\p{N}+", r"[0-9][0-9][0-9]")),
    ),
)
SPLITS: Mapping[str, Split] = {name: split for names, split in _ROWS for name in names}
