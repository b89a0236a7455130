"""Neutral prompts, on which the strength of a steering is calibrated and its damage is measured.

They are the built-in set ``neutral``: plain sentences and questions that make sense as raw text and
as the turn of a user. They are encoded in the format of the prompts that are steered.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from circuit.artifacts.prompts.builtin import find_set
from circuit.artifacts.prompts.prompts import PromptSet
from circuit.artifacts.prompts.read import read_prompts
from circuit.stages.rows.prompting import encode
from circuit.values.prompt_format import PromptFormat

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel
    from circuit.model.prompts.tokens import EncodedPrompt

NAME = "neutral"


def neutral_set() -> PromptSet:
    """Return the built-in neutral prompts."""
    return read_prompts(find_set(NAME))


def neutral_prompts(
    model: "LoadedModel", form: PromptFormat, texts: Sequence[str] | None = None
) -> "Sequence[EncodedPrompt]":
    """Encode the neutral prompts, or ``texts`` instead, in this format."""
    return encode(model, neutral_set().texts if texts is None else texts, form)
