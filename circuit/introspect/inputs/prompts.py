"""The prompts that an introspection command is given: ``a|b``, ``@lines.txt`` or ``@prompts.json``, with their groups.

Prompts of a set keep their labels, groups and format; of others every text is a group of its own, but those that differ in the blanks at
their ends only, which are one prompt in two forms. Few groups support no claim: commands say so (``ENOUGH``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from circuit.artifacts.prompts.prompts import PromptSet
from circuit.errors import DataError
from circuit.methods.arrays import Array
from circuit.methods.uncertainty.means import mean_estimate
from circuit.stages.rows.prompting import choose_format, parse_prompts
from circuit.values.prompt_format import PromptFormat

ENOUGH = 10  # groups under which nothing is claimed, whatever an interval says


@dataclass(frozen=True)
class Given:
    """Texts to the character, and the set that they come from, if they do."""

    texts: list[str]
    prompt_set: PromptSet | None = None
    file: Path | None = None

    @cached_property
    def groups(self) -> list[str]:
        """What a resample keeps together: the set's groups, else texts that are equal but for blanks at their ends."""
        if self.prompt_set is None:
            return [text.strip() for text in self.texts]
        return [str(group) for group in self.prompt_set.groups()]

    @property
    def n_groups(self) -> int:
        """How many groups there are."""
        return len(set(self.groups))

    @property
    def inputs(self) -> list[Path]:
        """The file that was read, for a manifest."""
        return [] if self.file is None else [self.file]

    def form(self, model: Any, chat: bool | None, *, default_chat: bool = False) -> PromptFormat:
        """Choose the format: as asked, else the set's own, else ``chat``, where the model has a template for it."""
        if self.prompt_set is not None:
            return choose_format(self.prompt_set, chat=chat, system=None, tools=None)
        default = default_chat and bool(model.tokenizer.has_chat_template)
        return PromptFormat(chat=default if chat is None else chat)


def read_given(spec: str) -> Given:
    """Read the prompts that an option names; an empty one is a ``DataError`` that says which."""
    found = parse_prompts(spec)
    file = Path(spec[1:]) if spec.startswith("@") else None
    if isinstance(found, PromptSet):
        return Given(found.texts, found, file)
    if not found:
        message = f"`{spec[1:]}` holds no prompts"
        raise DataError(message, hint="give one prompt a line")
    for number, text in enumerate(found):
        if not text:
            message = f"prompt {number} is empty"
            raise DataError(message, hint="write prompts as a|b, without a bar at either end")
    return Given(found, None, file)


def mean_of(
    values: Sequence[float] | Array,
    groups: Sequence[str],
    *,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> list[float | None]:
    """Return the mean, and the ends of its interval over groups, which are None where there is one group only."""
    numbers = np.asarray(values, dtype=np.float64)
    found = mean_estimate(numbers, groups)
    if found is None:
        return [round(float(numbers.mean()), 6), None, None]
    value, low, high = found.as_list()
    return [value, max(low, bounds[0]), min(high, bounds[1])]
