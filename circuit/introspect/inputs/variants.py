"""Variants of prompts: with and without a space at the end, as raw text and as a user's turn.

Where the model has a chat template there are four, else two. A template may trim the text, so that
two variants give the same tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from circuit.values.prompt_format import RAW, PromptFormat


@dataclass(frozen=True)
class Variant:
    """All prompts in one form."""

    name: str
    texts: list[str]
    form: PromptFormat


def variants(texts: Sequence[str], own: PromptFormat, *, template: bool) -> list[Variant]:
    """Return the variants of ``texts``; a chat has the system message and tools of ``own``."""
    bare = [text.rstrip(" ") for text in texts]
    spaced = [f"{text} " for text in bare]
    found = [Variant("raw, no blank", bare, RAW), Variant("raw, blank", spaced, RAW)]
    if template:
        chat = PromptFormat(chat=True, system=own.system, tools=own.tools)
        found += [Variant("chat, no blank", bare, chat), Variant("chat, blank", spaced, chat)]
    return found
