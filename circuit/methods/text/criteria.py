"""Named criteria for generated text; words are matched whole.

function_call   a tool call in one of the common notations (``circuit.methods.text.tool_calls``)
refusal, sorry  an opening that declines ("can't wait" does not); an apology
positive, negative   a word of praise or warmth; a word of dislike or coldness
number          a number anywhere
expected        the expected text, as whole words ("4" does not match "14")
regex:PATTERN   a regular expression, case-sensitive
anything else   that text as whole words, case ignored
"""

import re

from circuit.errors import UsageError
from circuit.methods.text.tool_calls import called_tool

_PATTERNS = {
    "function_call": r"<\|?tool_call|<\|?python_tag|\[TOOL_CALLS\]|<function[ =]"
    r'|"name"\s*:\s*"[^"]+"\s*,\s*"(?:arguments|parameters)"\s*:|\bfunctions\.\w+\s*\(',
    "refusal": r"\bI(?:\s+am|['’]m)\s+(?:sorry|unable|not able)\b"
    r"|\bI\s+(?:cannot|can\s?not|can['’]t|won['’]t|will not|must decline)\s+(?:\w+\s+)?"
    r"(?:help|assist|do|provide|comply|answer|support|share|give|create|write|fulfil|fulfill)\b"
    r"|\bI\s+must\s+decline\b",
    "sorry": r"\b(?:sorry|apologi[sz]e|apologies|regret)\b",
    "positive": r"\b(?:good|great|love|loves|loved|lovely|wonderful|beautiful|happy|delightful"
    r"|excellent|amazing|enjoy|enjoyed|warm|warmly|charming|glad|fantastic|best|brilliant|joy"
    r"|adore|magnificent)\b",
    "negative": r"\b(?:bad|terrible|hate|hates|hated|awful|ugly|sad|horrible|dreadful|worst|dull"
    r"|boring|cold|bleak|unpleasant|miserable|dreary|disappointing|nasty|grim|loathe)\b",
    "number": r"(?<![\w.])[-+]?\d+(?:[.,]\d+)*(?!\w)",
}
NAMED = (*_PATTERNS, "expected")


def satisfies(criterion: str, text: str, *, expected: str | None = None) -> bool:
    """Tell whether ``text`` meets ``criterion``; ``expected`` is for the criterion of that name."""
    return bool(verdict(criterion, text, expected=expected))


def check_criterion(criterion: str, *, expected: str | None = None) -> None:
    """Raise ``UsageError`` for a criterion that no text can be judged by."""
    _pattern(criterion, expected)


def verdict(criterion: str, text: str, *, expected: str | None = None) -> bool | str:
    """Return whether ``text`` meets ``criterion``; for a tool call its tool, if readable."""
    if criterion == "function_call" and (tool := called_tool(text)) is not None:
        return tool
    return _pattern(criterion, expected).search(text) is not None


def match_span(criterion: str, text: str, *, expected: str | None = None) -> tuple[int, int] | None:
    """Return the first range of characters of ``text`` that meets ``criterion``, or None."""
    found = _pattern(criterion, expected).search(text)
    return None if found is None else found.span()


def _pattern(criterion: str, expected: str | None) -> re.Pattern[str]:
    if criterion == "expected":
        return _expected(expected)
    if criterion.startswith("regex:"):
        return _regex(criterion.removeprefix("regex:"))
    if criterion in _PATTERNS:
        return re.compile(_PATTERNS[criterion], re.IGNORECASE)
    if not criterion.strip():
        raise UsageError(
            "empty-criterion",
            "the criterion is empty",
            hint=f"use one of {', '.join(NAMED)}, regex:PATTERN or a text",
        )
    return _whole_words(criterion, re.IGNORECASE)


def _expected(expected: str | None) -> re.Pattern[str]:
    if not expected:
        raise UsageError(
            "no-expected-text",
            "the criterion `expected` needs prompts with an expected text",
            hint="choose another criterion, or a prompt set with `expected`",
        )
    return _whole_words(expected, 0)


def _regex(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UsageError(
            "not-a-pattern",
            f"`{pattern}` is not a regular expression: {error}",
            hint="the syntax is that of Python's re module",
            pattern=pattern,
        ) from error


def _whole_words(text: str, flags: int) -> re.Pattern[str]:
    """Match ``text`` where it is not part of a longer word or number."""
    text = text.strip()
    # Not \b: a text may begin or end with a sign. "37" is neither in "-37" nor in "37.5".
    before = r"(?<![\w.\-])" if text[0].isdigit() else r"(?<!\w)"
    after = r"(?!\w|[.,]\d)" if text[-1].isdigit() else r"(?!\w)"
    return re.compile(before + re.escape(text) + after, flags)
