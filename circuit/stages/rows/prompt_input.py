"""Prompts as a command is given them: ``a|b``, ``@lines.txt`` or ``@prompts.json``.

Prompts of a set keep their labels, groups and format. Of other prompts every text is a group of its
own, except that texts which differ only in the whitespace at their ends are one group: they are one
prompt in two forms.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from circuit.artifacts.prompts.prompts import PromptSet
from circuit.errors import DataError
from circuit.stages.rows.prompting import choose_format, parse_prompts
from circuit.values.prompt_format import PromptFormat


@dataclass(frozen=True)
class PromptInput:
    """Texts, character for character, and the prompt set and the file that they come from."""

    texts: list[str]
    prompt_set: PromptSet | None = None
    file: Path | None = None

    @cached_property
    def groups(self) -> list[str]:
        """The group of each prompt: a resample keeps its members together."""
        if self.prompt_set is None:
            return [text.strip() for text in self.texts]
        return [str(group) for group in self.prompt_set.groups()]

    @property
    def n_groups(self) -> int:
        """The number of groups."""
        return len(set(self.groups))

    @property
    def inputs(self) -> list[Path]:
        """The file that was read, for a manifest."""
        return [] if self.file is None else [self.file]

    def form(self, chat: bool | None, *, default: bool = False) -> PromptFormat:
        """Return the format: ``chat`` if given, else the prompt set's own, else ``default``."""
        if self.prompt_set is not None:
            return choose_format(self.prompt_set, chat=chat, system=None, tools=None)
        return PromptFormat(chat=default if chat is None else chat)


def read_prompt_input(spec: str) -> PromptInput:
    """Read the prompts that an option names; raises ``DataError`` if none, or one is empty."""
    found = parse_prompts(spec)
    file = Path(spec[1:]) if spec.startswith("@") else None
    if isinstance(found, PromptSet):
        return PromptInput(found.texts, found, file)
    if not found:
        message = f"`{file}` has no prompts"
        raise DataError("no-prompts", message, hint="write one prompt per line", file=str(file))
    for number, text in enumerate(found):
        if not text:
            hint = "write prompts as a|b, without a bar at either end"
            raise DataError("empty-prompt", f"prompt {number} is empty", hint=hint, prompt=number)
    return PromptInput(found, None, file)
