"""What each prompt has of its own: a label, and the expected answer."""

import re

from circuit.errors import UsageError
from circuit.methods.text.criteria import check_criterion
from circuit.present.numbers import counted
from circuit.stages.rows.prompt_input import PromptInput

_SUM = re.compile(r"(-?\d+)\s*([-+*x×/])\s*(-?\d+)\s*=\s*$")


def labels_of(given: PromptInput, labels: str | None) -> list[str]:
    """Return a label for each prompt: as listed, the set's own, or a label of its own for each."""
    n = len(given.texts)
    if labels is not None:
        named = [label.strip() for label in labels.split(",")]
        hint = "write --labels working,broken: one for each prompt"
        if not all(named):
            raise UsageError("empty-label", "a label is empty", hint=hint)
        if len(named) != n:
            message = f"{counted(len(named), 'label')} for {counted(n)}"
            raise UsageError("labels-per-prompt", message, hint=hint, n_labels=len(named), n=n)
        return named
    own = given.prompt_set
    if own is not None and all(prompt.label is not None for prompt in own.prompts):
        return [str(prompt.label) for prompt in own.prompts]
    return [str(i) for i in range(n)]


def expected_texts(
    given: PromptInput, expected: str | None, criterion: str | None
) -> list[str | None]:
    """Return the expected answer of each prompt: as given, its set's, or the value of its sum."""
    n = len(given.texts)
    if expected is not None:
        if criterion not in (None, "expected"):
            message = "`--expected` and `--criterion` both define the answer"
            raise UsageError("conflicting-options", message, hint="give one of them")
        parts: list[str | None] = list(expected.split("|"))
        if len(parts) == 1:
            parts *= n
        hint = "give one for all, or a|b with one for each"
        if not all(part and part.strip() for part in parts):
            raise UsageError("empty-expected-text", "an expected text is empty", hint=hint)
        if len(parts) != n:
            message = f"`--expected` has {counted(len(parts), 'text')} for {counted(n)}"
            raise UsageError("expected-per-prompt", message, hint=hint, n_texts=len(parts), n=n)
        return parts
    if criterion not in (None, "expected"):
        check_criterion(str(criterion))
        return [None] * n
    own = given.prompt_set
    known = [None] * n if own is None else [p.expected for p in own.prompts]
    found = [k or value_of(text) for k, text in zip(known, given.texts, strict=True)]
    if criterion == "expected" and not all(found):
        check_criterion("expected")
    return found


def value_of(text: str) -> str | None:
    """Return the value of the sum that a prompt ends in; None without a sum or an integer value."""
    found = _SUM.search(text)
    if found is None:
        return None
    a, sign, b = int(found[1]), found[2], int(found[3])
    if sign == "/":
        return str(a // b) if b and a % b == 0 else None
    return str({"+": a + b, "-": a - b}.get(sign, a * b))
