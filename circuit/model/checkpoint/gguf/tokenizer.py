"""The tokenizer of a GGUF file as ``tokenizer.json``, ``tokenizer_config.json`` and end tokens.

Two kinds are read: byte-level BPE (``gpt2``), whose merges are in the file, and SentencePiece BPE
(``llama``), whose merges follow from its pieces and their scores. Tokens that the file marks as
control, unknown or user-defined are matched whole, before anything else, as llama.cpp does.

Source: src/llama-vocab.cpp of llama.cpp; the tokenizer.json of the models on the hub.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from circuit.errors import ModelError
from circuit.model.checkpoint.gguf.contents import Contents, reading
from circuit.model.checkpoint.gguf.splits import SPLITS, Split

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer

_KEY = "tokenizer.ggml."
_SPACE = "\u2581"  # how SentencePiece writes a space
_IDS = {
    "bos_token": "bos_token_id",
    "eos_token": "eos_token_id",
    "unk_token": "unknown_token_id",
    "pad_token": "padding_token_id",
}
# Each ends an answer, as in llama.cpp: the files of chat models often name only one of them.
_ENDS = (
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|eom_id|>",
    "<EOT>",
    "<|end_of_text|>",
    "<eos>",
    "</s>",
)
# Phi-3's control tokens drop the white space that follows them, but for these three.
_KEEP_SPACE = ("<unk>", "<s>", "<|endoftext|>")
Merge = tuple[str, str]


class Kind(IntEnum):
    """``tokenizer.ggml.token_type``."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True, eq=False)
class GgufTokenizer:
    """What is written: ``tokenizer.json``, ``tokenizer_config.json`` and the end tokens."""

    tokenizer: "Tokenizer"
    config: dict[str, object]
    ends: list[int]
    name: str

    def special_ids(self) -> dict[str, object]:
        """Return the ids of the first, the last and the padding token, as configurations have."""
        ids = {
            f"{name}_id": self.tokenizer.token_to_id(str(self.config[name]))
            for name in ("bos_token", "pad_token")
            if name in self.config
        }
        return {**ids, "eos_token_id": self.ends} if self.ends else dict(ids)


def tokenizer_of(contents: Contents) -> GgufTokenizer:
    """Build the tokenizer; raise ``ModelError`` if the file has none, or one that is not known."""
    if not contents.has(f"{_KEY}model") or not contents.has(f"{_KEY}tokens"):
        raise ModelError(
            "tokenizer-missing",
            f"`{contents.path}` has no tokenizer",
            hint="use a GGUF file with a tokenizer, or give the checkpoint folder or hub id",
            path=str(contents.path),
        )
    model, tokens = contents.text(f"{_KEY}model"), contents.texts(f"{_KEY}tokens")
    _check_tokens(contents, tokens)
    special = _special(contents, tokens)
    with reading(contents.path):
        if model == "gpt2":
            split = _split(contents)
            name, bos = f"byte-level BPE, split {contents.text(f'{_KEY}pre')}", split.bos
            tokenizer = _byte_level(contents, tokens, split)
        elif model == "llama":
            name, bos = "SentencePiece BPE", True
            tokenizer = _sentencepiece(contents, tokens, special)
        else:
            raise _unknown(contents, f"{_KEY}model", model)
        tokenizer.add_tokens(list(_added(contents, tokens, special, tokenizer)))
        _frame(contents, tokenizer, special, bos=bos)
    return GgufTokenizer(tokenizer, _config(contents, special), _ends(contents, tokens), name)


def _split(contents: Contents) -> Split:
    if not contents.has(f"{_KEY}pre"):
        raise ModelError(
            "pre-tokenizer-missing",
            f"`{contents.path}` does not say how its tokenizer splits a text (`{_KEY}pre`)",
            hint="`gguf-new-metadata --pre-tokenizer NAME` adds it: llama-bpe, qwen2, smollm, …",
            path=str(contents.path),
        )
    name = contents.text(f"{_KEY}pre")
    if name not in SPLITS:
        raise _unknown(contents, f"{_KEY}pre", name)
    return SPLITS[name]


def _byte_level(contents: Contents, tokens: Sequence[str], split: Split) -> "Tokenizer":
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    if contents.flag(f"{_KEY}add_space_prefix", False):
        raise _unknown(contents, f"{_KEY}add_space_prefix", "true")
    vocabulary = {token: number for number, token in enumerate(tokens)}
    merges = [_merge(contents, text, vocabulary) for text in contents.texts(f"{_KEY}merges")]
    model = models.BPE(vocab=vocabulary, merges=merges, ignore_merges=split.whole_words)
    tokenizer = Tokenizer(model)
    cuts = [pre_tokenizers.Split(Regex(each), behavior="isolated") for each in split.patterns]
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*cuts, to_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _merge(contents: Contents, text: str, vocabulary: Mapping[str, int]) -> Merge:
    """Return the two tokens of a merge; the tokenizers package panics where one is not a token."""
    at = text.find(" ", 1)
    left, right = text[: max(at, 0)], text[at + 1 :]
    if not {left, right, left + right} <= vocabulary.keys():
        raise _unknown(contents, f"{_KEY}merges", f"a list with {text!r}, not of tokens")
    return left, right


def _sentencepiece(
    contents: Contents, tokens: Sequence[str], special: Mapping[str, str]
) -> "Tokenizer":
    from tokenizers import Tokenizer, decoders, models, normalizers

    ranked: Mapping[str, float]
    if _is_gemma(contents):
        tokens = [_respelled(token) for token in tokens]
        ranked = {token: -number for number, token in enumerate(tokens)}
    else:
        scores = contents.numbers(f"{_KEY}scores")
        ranked = dict(zip(tokens, scores, strict=True))
    vocabulary = {token: number for number, token in enumerate(tokens)}
    model = models.BPE(
        vocab=vocabulary,
        merges=_merges(vocabulary, ranked),
        unk_token=special.get("unk_token"),
        fuse_unk=True,
        byte_fallback=True,
    )
    tokenizer = Tokenizer(model)
    prefixed = contents.flag(f"{_KEY}add_space_prefix", True)
    prepend = [normalizers.Prepend(_SPACE)] if prefixed else []
    tokenizer.normalizer = normalizers.Sequence([*prepend, normalizers.Replace(" ", _SPACE)])
    strip = [decoders.Strip(content=" ", left=1, right=0)] if prefixed else []
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    return tokenizer


def _merges(vocabulary: Mapping[str, int], ranked: Mapping[str, float]) -> list[Merge]:
    """Return every cut of a piece into two pieces, the piece with the highest score first."""
    found = []
    for piece, score in ranked.items():
        cuts = ((piece[:at], piece[at:]) for at in range(1, len(piece)))
        pairs = [pair for pair in cuts if pair[0] in vocabulary and pair[1] in vocabulary]
        pairs.sort(key=lambda pair: (vocabulary[pair[0]], vocabulary[pair[1]]))
        found += [(score, len(left), len(right), left, right) for left, right in pairs]
    found.sort(key=lambda cut: cut[:3], reverse=True)
    return [(left, right) for *_, left, right in found]


def _is_gemma(contents: Contents) -> bool:
    """Gemma's pieces are in the order of their merges; its scores are not."""
    return contents.architecture.startswith("gemma")


def _respelled(token: str) -> str:
    """Write a run of spaces as its pieces are written: the converter wrote it as a text."""
    return _SPACE * len(token) if len(token) > 1 and not token.strip(" ") else token


def _added(
    contents: Contents, tokens: Sequence[str], special: Mapping[str, str], tokenizer: "Tokenizer"
) -> "Iterator[AddedToken]":
    """Yield the tokens that are matched whole."""
    from tokenizers import AddedToken

    types = contents.numbers(f"{_KEY}token_type") if contents.has(f"{_KEY}token_type") else []
    named = set(special.values())
    drops_space = _drops_space(contents)
    for number, token in enumerate(tokens):
        kind = types[number] if number < len(types) else Kind.NORMAL
        control = kind in (Kind.CONTROL, Kind.UNKNOWN) or token in named
        if (control or kind == Kind.USER_DEFINED) and tokenizer.token_to_id(token) is not None:
            rstrip = drops_space and token not in _KEEP_SPACE
            yield AddedToken(token, normalized=False, special=control, rstrip=rstrip)


def _drops_space(contents: Contents) -> bool:
    name = contents.text("general.name", "").lower()
    return "phi-3" in name or "phi3" in name


def _special(contents: Contents, tokens: Sequence[str]) -> dict[str, str]:
    """Return the tokens with a part of their own."""
    found = {}
    for name, key in _IDS.items():
        if contents.has(_KEY + key):
            number = contents.integer(_KEY + key)
            if not 0 <= number < len(tokens):
                raise _unknown(contents, _KEY + key, str(number))
            found[name] = tokens[number]
    return found


def _frame(
    contents: Contents, tokenizer: "Tokenizer", special: Mapping[str, str], *, bos: bool
) -> None:
    """Let the tokenizer add the first and the last token where the file asks for them."""
    from tokenizers import processors

    first = _end_of_frame(contents, special, "bos_token", default=bos)
    last = _end_of_frame(contents, special, "eos_token", default=False)
    if first or last:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=[*first, "$A", *last],
            special_tokens=[(token, tokenizer.token_to_id(token)) for token in first + last],
        )


def _end_of_frame(
    contents: Contents, special: Mapping[str, str], name: str, *, default: bool
) -> list[str]:
    """Return the token that is added at one end of a text, if any."""
    key = f"{_KEY}add_{name}"
    if not contents.flag(key, default):
        return []
    if name not in special and contents.has(key):
        raise _unknown(contents, key, f"true, without `{_KEY}{_IDS[name]}`")
    return [special[name]] if name in special else []


def _config(contents: Contents, special: Mapping[str, str]) -> dict[str, object]:
    config: dict[str, object] = {
        # The plain class: those of single families would build a tokenizer of their own.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": contents.integer(f"{contents.architecture}.context_length"),
        **special,
    }
    templates = _templates(contents)
    if set(templates) == {"default"}:
        config["chat_template"] = templates["default"]
    elif templates:
        config["chat_template"] = [
            {"name": name, "template": text} for name, text in templates.items()
        ]
    return config


def _templates(contents: Contents) -> dict[str, str]:
    """Return the chat templates; those of a use of their own (tools) have its name."""
    key, found = "tokenizer.chat_template", {}
    if contents.has(key):
        found["default"] = contents.text(key)
    for each in contents.fields:
        if each.startswith(f"{key}."):
            found[each.removeprefix(f"{key}.")] = contents.text(each)
    return found


def _ends(contents: Contents, tokens: Sequence[str]) -> list[int]:
    """Return the tokens that end an answer, the file's own first."""
    named = [
        contents.integer(f"{_KEY}{name}_token_id")
        for name in ("eos", "eot", "eom")
        if contents.has(f"{_KEY}{name}_token_id")
    ]
    types = contents.numbers(f"{_KEY}token_type") if contents.has(f"{_KEY}token_type") else []
    marked = [number for number, kind in enumerate(types) if kind == Kind.CONTROL]
    ends = [number for number in marked if tokens[number] in _ENDS]
    return list(dict.fromkeys([*named, *ends]))


def _check_tokens(contents: Contents, tokens: Sequence[str]) -> None:
    if len(set(tokens)) != len(tokens):
        [(twice, _)] = Counter(tokens).most_common(1)
        raise _unknown(contents, f"{_KEY}tokens", f"a list with {twice!r} twice")
    for key in ("token_type", "scores"):
        if contents.has(_KEY + key) and len(contents.numbers(_KEY + key)) != len(tokens):
            raise _unknown(contents, _KEY + key, "not one for each token")


def _unknown(contents: Contents, key: str, value: str) -> ModelError:
    return ModelError(
        "tokenizer-unknown",
        f"the tokenizer of `{contents.path}` is not known: `{key}` is {value}",
        hint="circuit reads byte-level BPE (gpt2) and SentencePiece BPE (llama): "
        "give the checkpoint folder or hub id",
        path=str(contents.path),
        key=key,
        value=value,
    )
