"""From text to token ids, in one place.

Raw text is encoded as the tokenizer does it, with its own beginning-of-sequence token if it adds
one; text that already starts with that token does not get a second, and an end-of-sequence token
that a tokenizer appends is removed, since the prompt has not ended. A chat prompt is rendered by
the model's template (``circuit.model.prompts.rendering``), and no special token is added to it.

``max_length`` shortens a prompt on one side. ``left`` removes tokens from its beginning: the end,
which the model continues, is kept. ``right`` removes them from the end of a raw text; in a chat it
removes them from the end of the user's text, because the end of the prompt belongs to the template
and asks for the answer. BOS is kept and counts: without its attention sink every state would
change.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from circuit.errors import DataError, UsageError
from circuit.model.checkpoint.loading import LoadedModel
from circuit.model.prompts.lists import Ids, Lists
from circuit.model.prompts.rendering import check_format
from circuit.model.prompts.spans import Source, Spans
from circuit.values.prompt_format import RAW, PromptFormat

SIDES = ("left", "right")
CHUNK = 256  # prompts tokenised at once: enough for all cores, little memory


@dataclass(frozen=True, eq=False, slots=True)
class EncodedPrompt:
    """Token ids of one prompt, and what is needed to find a text in them again.

    ``removed`` is the range of the whole prompt's tokens that shortening removed. A prompt that was
    given as token ids has no ``source``. Spans are computed on demand: they would take more memory
    than the prompts.
    """

    ids: Ids
    text: str = ""
    source: Source | None = None
    removed: tuple[int, int] = (0, 0)

    @property
    def n_whole(self) -> int:
        """The number of tokens before shortening."""
        return len(self.ids) + self.removed[1] - self.removed[0]

    def spans(self, number: int = 0) -> Spans:
        """Return the characters that the tokens of the whole prompt stand for."""
        return self.origin(number).spans(self.text, self.n_whole)

    def content(self, number: int = 0) -> Ids:
        """Return the tokens of the whole prompt that hold the user's own text."""
        source = self.origin(number)
        if source.format.chat:
            spans = self.spans(number)
            return spans.carrying(spans.content)
        bos = source.model.tokenizer.bos_token_id
        added = source.adds_special(self.text) and bos is not None and self.ids[0] == bos
        return np.arange(1 if added else 0, self.n_whole, dtype=np.int32)

    def origin(self, number: int = 0) -> Source:
        """Return the source of the prompt; raise ``DataError`` if it was given as token ids."""
        if self.source is None:
            raise DataError(
                "text-unknown",
                f"prompt {number} was given as token ids, so its text is unknown",
                hint="use one of the positions last, first, mean, all, an index or a slice",
                prompt=number,
            )
        return self.source

    def kept(self, whole: Ids) -> Ids:
        """Return the present positions of tokens of the whole prompt, without removed ones."""
        start, stop = self.removed
        left = whole[(whole < start) | (whole >= stop)]
        return np.where(left >= stop, left - (stop - start), left).astype(np.int32)


@dataclass(frozen=True, eq=False)
class EncodedPrompts(Sequence[EncodedPrompt]):
    """Prompts of one format; each is built on access.

    With 50,000 prompts that many objects would be most of a collection's memory.
    """

    ids: Lists
    texts: Sequence[str]
    source: Source
    removed: dict[int, tuple[int, int]]

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, index: int) -> EncodedPrompt: ...
    @overload
    def __getitem__(self, index: slice) -> list[EncodedPrompt]: ...
    def __getitem__(self, index: int | slice) -> EncodedPrompt | list[EncodedPrompt]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        ids, number = self.ids[index], index % len(self)
        return EncodedPrompt(ids, self.texts[number], self.source, self.removed.get(number, (0, 0)))

    def __iter__(self) -> Iterator[EncodedPrompt]:
        return (self[i] for i in range(len(self)))


def token_ids(prompts: Sequence[EncodedPrompt]) -> Lists:
    """Return the token ids of all prompts."""
    if isinstance(prompts, EncodedPrompts):
        return prompts.ids
    return Lists.of(prompt.ids for prompt in prompts)


def encode_prompts(
    model: LoadedModel,
    texts: Sequence[str],
    prompt_format: PromptFormat = RAW,
    *,
    max_length: int | None = None,
    truncate: str = "left",
) -> EncodedPrompts:
    """Encode every text; cut prompts of more than ``max_length`` tokens on one side.

    Spaces are text. Raises ``DataError`` for a prompt without tokens or one longer than the model's
    context.
    """
    check_format(model, prompt_format)
    check_side(truncate)
    for number, text in enumerate(texts):
        _check_text(text, number)
    source = Source(model, prompt_format)
    removed: dict[int, tuple[int, int]] = {}

    def shortened() -> Iterator[Ids]:
        for number, whole in enumerate(_whole(source, texts)):
            prompt = _shortened(whole, max_length, truncate, number)
            _check_length(model, prompt, number)
            if prompt is not whole:
                removed[number] = prompt.removed
            yield prompt.ids

    return EncodedPrompts(Lists.of(shortened()), texts, source, removed)


def _whole(source: Source, texts: Sequence[str]) -> Iterator[EncodedPrompt]:
    for start in range(0, len(texts), CHUNK):
        chunk = texts[start : start + CHUNK]
        for text, ids in zip(chunk, _token_ids(source, chunk, start), strict=True):
            yield EncodedPrompt(np.array(ids, dtype=np.int32), text, source)


def check_side(truncate: str) -> None:
    """Raise ``UsageError`` for an unknown side on which to cut a prompt."""
    if truncate not in SIDES:
        raise UsageError(
            "unknown-side",
            f"unknown side `{truncate}` of a prompt",
            hint="--truncate takes left or right",
            side=truncate,
        )


def _check_text(text: str, number: int) -> None:
    if not text:
        raise DataError(
            "empty-prompt",
            f"prompt {number} is empty",
            hint="remove it, or give it a text",
            prompt=number,
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            "not-unicode",
            f"prompt {number} is not valid UTF-8",
            hint="put it into a UTF-8 file and use @file",
            prompt=number,
        ) from error


def _token_ids(source: Source, texts: Sequence[str], first: int) -> list[list[int]]:
    found = source.token_ids(texts)
    for number, ids in enumerate(found, first):
        if not ids:
            raise DataError(
                "prompt-without-tokens",
                f"prompt {number} ({texts[number - first]!r}) has no token",
                hint="this tokenizer drops spaces: remove the prompt",
                prompt=number,
            )
    return found


def _shortened(
    whole: EncodedPrompt, max_length: int | None, side: str, number: int
) -> EncodedPrompt:
    if max_length is None or len(whole.ids) <= max_length:
        return whole
    surplus = len(whole.ids) - max_length
    if side == "left":
        bos = whole.origin().model.tokenizer.bos_token_id
        start = 1 if max_length > 1 and whole.ids[0] == bos else 0
    elif whole.origin().format.chat:
        start = _end_of_text(whole, surplus, max_length, number) - surplus
    else:
        start = max_length
    ids = np.delete(whole.ids, slice(start, start + surplus))
    return EncodedPrompt(ids, whole.text, whole.source, (start, start + surplus))


def _end_of_text(whole: EncodedPrompt, surplus: int, max_length: int, number: int) -> int:
    """Return where the user's text ends in a chat; raise when it is not longer than ``surplus``."""
    spans = whole.spans(number)
    own = spans.within(*spans.content)
    if surplus >= len(own):
        rest = len(whole.ids) - len(own)
        raise DataError(
            "max-length-too-small",
            f"prompt {number} has {rest} tokens without its text, --max-length is {max_length}",
            hint="raise --max-length, or cut with --truncate left",
            prompt=number,
            n_tokens=rest,
            max_length=max_length,
        )
    return int(own[-1]) + 1


def _check_length(model: LoadedModel, prompt: EncodedPrompt, number: int) -> None:
    limit = model.context_length
    if limit is not None and len(prompt.ids) > limit:
        raise DataError(
            "prompt-too-long",
            f"prompt {number} has {len(prompt.ids)} tokens, the model reads {limit}",
            hint="shorten it, or cut it with --max-length (and --truncate left or right)",
            prompt=number,
            n_tokens=len(prompt.ids),
            limit=limit,
        )
