"""Tokens of two tokenizers: the same text, or the pieces that it is split into.

The text of a token is what it adds after a prompt: alone, a sentencepiece token loses the space
before it. Two models with one vocabulary are compared by token number. Otherwise a token of one is
looked up in the other by its text: it is found if the other writes that text as one token, else its
pieces are named.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


def is_whole(text: str) -> bool:
    """Say whether a text is whole characters: a piece of one decodes to a replacement mark."""
    return "\N{REPLACEMENT CHARACTER}" not in text


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """A tokenizer, without the model."""

    tokenizer: Any

    def same_as(self, other: "Vocabulary") -> bool:
        """Say whether equal numbers are equal tokens."""
        return bool(self.tokenizer.get_vocab() == other.tokenizer.get_vocab())

    def added(self, before: Sequence[int], token: int) -> str:
        """Return the text that a token adds after others."""
        ids = [int(i) for i in before]
        known, whole = self.tokenizer.decode(ids), self.tokenizer.decode([*ids, int(token)])
        if whole.startswith(known) and len(whole) > len(known):
            return str(whole[len(known) :])
        return str(self.tokenizer.decode([int(token)]))

    def find(self, text: str, before: Sequence[int]) -> int | None:
        """Return the token that adds ``text`` after ``before``, or None."""
        if not is_whole(text):
            return None
        for spelling in (text, text.lstrip(" ")):
            ids = self.tokenizer.encode(spelling, add_special_tokens=False) if spelling else []
            if ids and self.added(before, ids[-1]) == text:
                return int(ids[-1])
        return None

    def pieces(self, text: str) -> list[str]:
        """Return the texts of the tokens that ``text`` is split into."""
        ids = self.tokenizer.encode(text, add_special_tokens=False)
        return [str(self.tokenizer.decode([i])) for i in ids]
