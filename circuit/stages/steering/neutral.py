"""Neutral prompts, on which the strength of a steering is calibrated and its damage is measured.

They are the built-in set ``neutral``: plain sentences and questions that stand alone as raw text and as the turn of a user.
A model reads them in the format of the prompts that it is steered on, with the same system message and tools.
"""

from collections.abc import Sequence
from typing import Any

from circuit.artifacts.prompts.builtin import find_set
from circuit.artifacts.prompts.prompts import PromptSet
from circuit.artifacts.prompts.read import read_prompts
from circuit.stages.rows.prompting import encode
from circuit.values.prompt_format import PromptFormat

NAME = "neutral"


def neutral_set() -> PromptSet:
    """Return the built-in neutral prompts."""
    return read_prompts(find_set(NAME))


def neutral_prompts(
    model: Any, form: PromptFormat, texts: Sequence[str] | None = None
) -> Sequence[Any]:
    """Encode neutral prompts, or ``texts`` in their place, as ``model`` reads them in this format."""
    return encode(model, neutral_set().texts if texts is None else texts, form)
