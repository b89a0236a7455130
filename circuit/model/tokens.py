"""From text to token ids, in one place, and from a named position to an index.

Raw text is encoded as the tokenizer does it, with its own beginning-of-sequence token if it adds
one; text that already starts with that token does not get a second, and an end-of-sequence token
that a tokenizer appends is taken off, since the prompt has not ended. A chat prompt is rendered by
the model's template with ``enable_thinking`` set explicitly, and no special token is added to it.

Positions of a prompt of T tokens: ``last`` is T-1, the one whose output predicts the answer's first
token; ``last_content`` the last token of the user's own text (under a chat template, before what
the template puts after it, found by rendering another text in its place); ``first`` is 0; an integer counts from the front, or from the back when
negative; ``mean`` is the mean over all tokens but the first, which is an attention sink with a norm
10 to 100 times the others'.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from circuit.errors import DataError, ModelError, UsageError
from circuit.model.loading import LoadedModel

NAMED_POSITIONS = ("last", "last_content", "mean", "first")


@dataclass(frozen=True)
class Encoded:
    """Token ids of one prompt and the index of the last token of its own text.

    The index is None where nothing of the text is left, after shortening or in a template.
    """

    ids: list[int]
    last_content: int | None


@dataclass(frozen=True)
class PromptFormat:
    """How text becomes a prompt: as it stands, or as the user's turn of a chat."""

    chat: bool
    system: str | None = None
    tools: Sequence[dict[str, Any]] | None = None
    enable_thinking: bool = False


RAW = PromptFormat(chat=False)


def encode_prompts(
    model: LoadedModel,
    texts: Sequence[str],
    prompt_format: PromptFormat = RAW,
    *,
    max_length: int | None = None,
) -> list[Encoded]:
    """Encode every text; ``max_length`` keeps that many tokens at the end of each prompt.

    A beginning-of-sequence token stays and counts as one of them: without its attention sink every
    state would be another. Blanks are text; a prompt without any token is not one. Raises ``DataError`` for an empty prompt or one longer than the model's context, naming it.
    """
    encode = _encode_chat if prompt_format.chat else _encode_raw
    if prompt_format.chat and not model.tokenizer.has_chat_template:
        message = f"model `{model.id}` has no chat template"
        raise ModelError(message, hint="use --raw to give it the text as it stands")
    if not prompt_format.chat and (prompt_format.system or prompt_format.tools):
        message = "a system message and tools need a chat template"
        raise UsageError(message, hint="use --chat, or leave out --system and --tools")
    encoded = []
    for number, text in enumerate(texts):
        if not text:
            raise DataError(f"prompt {number} is empty", hint="remove it, or give it a text")
        if any("\ud800" <= character <= "\udfff" for character in text):
            message = f"prompt {number} is not valid UTF-8"
            raise DataError(message, hint="put it into a UTF-8 file and use @file")
        whole = encode(model, text, prompt_format)
        if not whole.ids:
            message = f"prompt {number} ({text!r}) has no token"
            raise DataError(message, hint="this tokenizer drops blanks: remove the prompt")
        prompt = _shortened(whole, max_length, model.tokenizer.bos_token_id)
        _check_length(model, prompt, number)
        encoded.append(prompt)
    return encoded


def _shortened(prompt: Encoded, max_length: int | None, bos: int | None) -> Encoded:
    if max_length is None or len(prompt.ids) <= max_length:
        return prompt
    kept = 1 if max_length > 1 and prompt.ids[0] == bos else 0
    cut = len(prompt.ids) - max_length
    at = prompt.last_content
    left = None if at is None or at < kept + cut else at - cut
    return Encoded(prompt.ids[:kept] + prompt.ids[kept + cut :], left)


def _check_length(model: LoadedModel, prompt: Encoded, number: int) -> None:
    limit = model.context_length
    if limit is not None and len(prompt.ids) > limit:
        message = f"prompt {number} has {len(prompt.ids)} tokens, the model reads {limit}"
        raise DataError(message, hint="shorten it, or keep the last tokens with --max-length")


def _encode_raw(model: LoadedModel, text: str, _: PromptFormat) -> Encoded:
    tokenizer = model.tokenizer
    has_bos = bool(tokenizer.bos_token) and text.startswith(tokenizer.bos_token)
    ids = list(tokenizer.encode(text, add_special_tokens=not has_bos))
    if len(ids) > 1 and ids[-1] in tokenizer.eos_token_ids:
        own = list(tokenizer.encode(text, add_special_tokens=False))
        if not own or own[-1] != ids[-1]:
            ids = ids[:-1]
    return Encoded(ids, len(ids) - 1)


def _encode_chat(model: LoadedModel, text: str, prompt_format: PromptFormat) -> Encoded:
    rendered = render_chat(model, text, prompt_format)
    end = len(rendered) - _template_tail(model, text, rendered, prompt_format)
    encoded = model.tokenizer._tokenizer(
        rendered, add_special_tokens=False, return_offsets_mapping=True
    )
    inside = [i for i, (start, _) in enumerate(encoded["offset_mapping"]) if start < end]
    has_content = bool(text.strip() and inside)
    return Encoded(list(encoded["input_ids"]), inside[-1] if has_content else None)


def _template_tail(
    model: LoadedModel, text: str, rendered: str, prompt_format: PromptFormat
) -> int:
    """Return how many characters the template puts after the text.

    Looking for the text would find it again in what follows ("a" in "assistant"), and would miss it
    where a template changes it. So a text that ends otherwise is rendered: what the two have in
    common at the end is the template's.
    """
    other = text.rstrip() + ("x" if not text.rstrip().endswith("x") else "y")
    twin = render_chat(model, other, prompt_format)
    pairs = zip(reversed(rendered), reversed(twin), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def render_chat(model: LoadedModel, text: str, prompt_format: PromptFormat) -> str:
    """Return the prompt as the model's chat template writes it, ready for the answer."""
    messages = [{"role": "user", "content": text}]
    if prompt_format.system is not None:
        messages.insert(0, {"role": "system", "content": prompt_format.system})
    try:
        return str(
            model.tokenizer.apply_chat_template(
                messages,
                tools=None if prompt_format.tools is None else list(prompt_format.tools),
                tokenize=False,
                add_generation_prompt=True,
                enable_thinking=prompt_format.enable_thinking,
            )
        )
    except Exception as error:  # a template is a program of the checkpoint's author
        message = f"the chat template of `{model.id}` refused the prompt: {error}"
        raise ModelError(message, hint="use --raw, or leave out --system or --tools") from error


def parse_positions(text: str) -> list[str]:
    """Return the positions named in a comma-separated list."""
    names = [part.strip() for part in text.split(",")]
    for name in names:
        if name not in NAMED_POSITIONS and not re.fullmatch(r"-?[0-9]+", name):
            hint = f"use {', '.join(NAMED_POSITIONS)} or an index such as -2"
            raise UsageError(f"unknown position `{name}`", hint=hint)
    return list(dict.fromkeys(names))


def position_index(prompt: Encoded, position: str, number: int = 0) -> int:
    """Return the index of a position other than ``mean`` in a prompt.

    Raises ``DataError`` when the prompt is too short to have it.
    """
    if position == "last_content":
        if prompt.last_content is None:
            message = f"nothing of the text of prompt {number} is left, so it has no last_content"
            raise DataError(message, hint="raise --max-length, or choose another position")
        return prompt.last_content
    wanted = {"last": -1, "first": 0}.get(position)
    index = int(position) if wanted is None else wanted
    length = len(prompt.ids)
    if not -length <= index < length:
        message = f"prompt {number} has {length} tokens, so it has no position {index}"
        raise DataError(message, hint="choose another position, or leave the prompt out")
    return index % length
