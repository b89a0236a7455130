"""Spans: the characters of a prompt that each token stands for, computed on demand.

A *fast* tokenizer of Hugging Face reports offsets. Three things are corrected. A token that it adds
(BOS) stands for nothing. The pieces of a character that is split over tokens all stand for that
character. And a space that byte-level tokenizers trim from their offsets belongs to the token after
the gap, so that every character of a prompt belongs to some token.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from circuit.errors import ModelError
from circuit.model.checkpoint.loading import LoadedModel
from circuit.model.prompts.lists import Ids
from circuit.model.prompts.rendering import Span, differing, other_than, render, system_span
from circuit.values.prompt_format import PromptFormat


@dataclass(frozen=True, eq=False)
class Spans:
    """A whole prompt in characters: token i stands for ``text[starts[i]:ends[i]]``."""

    text: str
    starts: Ids
    ends: Ids
    content: Span  # where the user's own text lies

    def carrying(self, *ranges: Span) -> Ids:
        """Return the tokens that hold a character of one of these ranges of ``text``."""
        wanted = np.zeros(len(self.text) + 1, dtype=np.int32)
        for start, end in ranges:
            wanted[start + 1 : end + 1] = 1
        before = np.cumsum(wanted)
        return np.flatnonzero(before[self.ends] > before[self.starts]).astype(np.int32)

    def within(self, start: int, end: int) -> Ids:
        """Return the tokens that hold only characters of ``text[start:end]``."""
        inside = (self.starts >= start) & (self.ends <= end) & (self.starts < self.ends)
        return np.flatnonzero(inside).astype(np.int32)

    def before(self, start: int) -> int:
        """Return the last token before the one that holds the character ``start``; may be -1."""
        after = np.flatnonzero((self.ends > start) & (self.starts < self.ends))
        return int(after[0] if len(after) else len(self.ends)) - 1


class Source:
    """The model, for its tokenizer, and the format that a list of prompts shares."""

    def __init__(self, model: LoadedModel, prompt_format: PromptFormat) -> None:
        self.model, self.format = model, prompt_format
        self._twins: dict[str, str] = {}
        self._latest: tuple[str, int, Spans] | None = None

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of every text as the model reads it, with special tokens."""
        return self.tokenised([render(self.model, text, self.format) for text in texts])

    def tokenised(self, written: Sequence[str]) -> list[list[int]]:
        """Return the token ids of texts that are rendered already."""
        found: dict[int, list[int]] = {}
        for special in (False, True):
            rows = [row for row, text in enumerate(written) if self.adds_special(text) is special]
            if rows:
                # A batch runs on all cores; `verbose` would warn where we raise.
                encoded = self._tokenizer(
                    [written[row] for row in rows], add_special_tokens=special, verbose=False
                )
                found.update(zip(rows, encoded["input_ids"], strict=True))
        return [self._open_ended(found[row], text) for row, text in enumerate(written)]

    def adds_special(self, written: str) -> bool:
        """Say whether the tokenizer adds its own: a template writes them, and BOS comes once."""
        bos = self.model.tokenizer.bos_token
        return not self.format.chat and not (bos and written.startswith(bos))

    def spans(self, text: str, n_tokens: int) -> Spans:
        """Return the spans of one prompt of ``n_tokens`` tokens; those of the latest are cached."""
        latest = self._latest
        if latest is None or latest[0] is not text or latest[1] != n_tokens:
            latest = self._latest = (text, n_tokens, self._spans(text, n_tokens))
        return latest[2]

    def role_start(self, role: str, text: str, spans: Spans) -> int | None:
        """Return the character at which a role's text begins in a chat, None without one."""
        if role == "assistant":
            return len(spans.text)
        if role == "user":
            return spans.content[0]
        span = system_span(self.model, text, spans.text, self.format)
        return None if span is None else span[0]

    @property
    def _tokenizer(self) -> Any:
        return self.model.tokenizer._tokenizer

    def _spans(self, text: str, n_tokens: int) -> Spans:
        if not self._tokenizer.is_fast:
            raise ModelError(
                "no-token-offsets",
                f"the tokenizer of `{self.model.id}` does not report the offsets of its tokens",
                hint="use one of the positions last, first, mean, all, an index or a slice",
                model=self.model.id,
            )
        written = render(self.model, text, self.format)
        encoded = self._tokenizer(
            written,
            add_special_tokens=self.adds_special(written),
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
            verbose=False,
        )
        offsets = np.array(encoded["offset_mapping"], dtype=np.int32)[:n_tokens]
        added = np.array(encoded["special_tokens_mask"], dtype=bool)[:n_tokens]
        return Spans(
            written, *_covering(offsets, added, len(written)), self._content(text, written)
        )

    def _content(self, text: str, written: str) -> Span:
        if not self.format.chat:
            return 0, len(written)
        letter = other_than(text)
        if letter not in self._twins:
            self._twins[letter] = render(self.model, letter, self.format)
        return differing(written, self._twins[letter])

    def _open_ended(self, ids: list[int], written: str) -> list[int]:
        """Remove an end-of-sequence token that the tokenizer added: the prompt has not ended."""
        if len(ids) < 2 or ids[-1] not in self.model.tokenizer.eos_token_ids:
            return ids
        own = self._tokenizer(written, add_special_tokens=False, verbose=False)["input_ids"]
        return ids if own and own[-1] == ids[-1] else ids[:-1]


def _covering(offsets: Ids, added: npt.NDArray[np.bool_], length: int) -> tuple[Ids, Ids]:
    """Return starts and ends without gaps between tokens; added tokens get no character."""
    starts, ends = (np.where(added, 0, column) for column in offsets.T)
    own = np.flatnonzero(~added)
    if len(own):
        ends[own[-1]] = length
        # tokenizers 0.23 trims a single leading space of a text to nothing, before it.
        if ends[own[0]] == 0:
            ends[own[0]] = min(1, starts[own[1]])
    reached = np.concatenate([[0], np.maximum.accumulate(ends)[:-1]])
    starts = np.where(added, 0, np.minimum(starts, reached))
    return starts.astype(np.int32), ends.astype(np.int32)
