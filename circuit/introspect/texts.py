"""Prompts as a question is given them, with their groups: ``a|b``, ``@lines.txt`` or ``@prompts.json``."""

from circuit.artifacts.prompts import PromptSet
from circuit.stages.prompting import parse_prompts


def read_texts(spec: str) -> tuple[list[str], list[str], PromptSet | None]:
    """Return the texts, the group of each (its text where there is none), and the set that they come from, if they do."""
    given = parse_prompts(spec)
    if isinstance(given, PromptSet):
        return given.texts, [str(group) for group in given.groups()], given
    return given, given, None
