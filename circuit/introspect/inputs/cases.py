r"""Prompts with the criterion that each answer has to meet.

``10*10=:100|45*45=:2025`` are two prompts, each with its expected text after the last colon; a
colon in the expected text is written ``\:``. With one criterion for all, prompts are ``a|b``,
``@lines.txt`` or ``@prompts.json``, whose groups are kept; the criterion ``expected`` is each
prompt's own expected text.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from circuit.artifacts.prompts.prompts import PromptSet, group_of
from circuit.errors import UsageError
from circuit.methods.text.criteria import check_criterion, satisfies
from circuit.stages.rows.prompt_input import PromptInput, read_prompt_input

EXAMPLE = 'write --prompts "10*10=:100|45*45=:2025"'


@dataclass(frozen=True)
class Case:
    """A prompt, the criterion of its answer, and the group that it belongs to.

    A criterion is written as in ``circuit.methods.text.criteria``, or is a function of the answer;
    ``expected`` is the text that the criterion of that name looks for.
    """

    prompt: str
    criterion: str | Callable[[str], bool]
    group: str = ""
    expected: str | None = None

    def is_met(self, text: str) -> bool:
        """Say whether an answer meets the criterion."""
        if isinstance(self.criterion, str):
            return satisfies(self.criterion, text, expected=self.expected)
        return bool(self.criterion(text))

    @property
    def criterion_name(self) -> str:
        """The criterion as it is written, the expected text, or the function's name."""
        if isinstance(self.criterion, str):
            return self.expected or self.criterion
        return str(getattr(self.criterion, "__name__", "a function"))


def expected_cases(text: str) -> list[Case]:
    """Read ``prompt:expected|prompt:expected``; whitespace of a prompt is kept."""
    return [_case(part) for part in text.split("|")]


def _case(part: str) -> Case:
    pieces = re.split(r"(?<!\\):", part)
    if len(pieces) < 2 or not pieces[-1].strip() or not "".join(pieces[:-1]):
        message = f"`{part}` is not a prompt with an expected text"
        raise UsageError("not-a-case", message, hint=EXAMPLE, case=part)
    prompt = ":".join(pieces[:-1]).replace("\\:", ":")
    return Case(prompt, "expected", expected=pieces[-1].replace("\\:", ":"))


def criterion_cases(prompts: PromptSet | list[str], criterion: str) -> list[Case]:
    """Give every prompt the same criterion; the groups of a prompt set are kept.

    Raises ``UsageError`` for an unknown criterion and for a prompt without an expected text.
    """
    if isinstance(prompts, list):
        check_criterion(criterion)
        return [Case(text, criterion) for text in prompts]
    cases = []
    for prompt in prompts.prompts:
        check_criterion(criterion, expected=prompt.expected)
        own = prompt.expected if criterion == "expected" else None
        cases.append(Case(prompt.text, criterion, str(group_of(prompt)), own))
    return cases


def read_cases(
    prompt: str | None, criterion: str | None, prompts: str | None
) -> tuple[list[Case], PromptInput]:
    """Read the cases that options name; with ``prompts`` the other two are ignored."""
    if prompts is not None:
        cases = expected_cases(prompts)
        return cases, PromptInput([case.prompt for case in cases])
    if prompt is None or criterion is None:
        message = "a prompt and a criterion are needed"
        raise UsageError("no-case", message, hint=f"give -p and -c, or {EXAMPLE}")
    given = read_prompt_input(prompt)
    return criterion_cases(given.prompt_set or given.texts, criterion), given
