"""Train, validation and test prompts share no group and no text, or scores are not held out."""

from collections.abc import Mapping

from circuit.artifacts.prompts.prompts import PromptSet, group_of
from circuit.errors import DataError


def check_apart(sets: Mapping[str, PromptSet]) -> None:
    """Raise ``DataError`` where two of the named sets share a group or a text."""
    names = list(sets)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            _check(one, sets[one], other, sets[other])


def _check(one: str, first: PromptSet, other: str, second: PromptSet) -> None:
    hint = "divide the prompts with `circuit dataset split`, which keeps groups together"
    both = f"the {one} and the {other} prompts"
    groups = {group_of(p) for p in first.prompts} & {group_of(p) for p in second.prompts}
    if groups:
        message = f"{both} share {len(groups)} groups, such as `{min(groups)}`"
        raise DataError("shared-groups", message, hint=hint, sets=(one, other), n=len(groups))
    if texts := set(first.texts) & set(second.texts):
        message = f"{both} share {len(texts)} texts, such as {min(texts)!r}"
        raise DataError("shared-texts", message, hint=hint, sets=(one, other), n=len(texts))


def check_size(test: PromptSet) -> None:
    """Raise ``DataError`` for test prompts of one group, from which no interval follows."""
    groups = len(set(test.groups().tolist()))
    if groups < 2:
        message = f"the {len(test.prompts)} test prompts of `{test.name}` are of one group"
        hint = "a sweep needs test prompts of several groups (templates)"
        raise DataError("one-group", message, hint=hint, n=len(test.prompts))
