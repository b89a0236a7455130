"""Named criteria that a generated text meets or not; words are matched whole.

function_call   a tool call in one of the common notations (``circuit.methods.text.tool_calls``)
refusal, sorry  an opening that declines ("can't wait" declines nothing); an apology
positive, negative   a word of praise or warmth; a word of dislike or coldness
number          a number anywhere
expected        the expected text, as whole words ("4" is not in "14")
regex:PATTERN   a regular expression, searched with case
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
    "positive": r"\b(?:good|great|love|loves|loved|lovely|wonderful|beautiful|happy|delightful|excellent|amazing"
    r"|enjoy|enjoyed|warm|warmly|charming|glad|fantastic|best|brilliant|joy|adore|magnificent)\b",
    "negative": r"\b(?:bad|terrible|hate|hates|hated|awful|ugly|sad|horrible|dreadful|worst|dull|boring|cold|bleak"
    r"|unpleasant|miserable|dreary|disappointing|nasty|grim|loathe)\b",
    "number": r"(?<![\w.])[-+]?\d+(?:[.,]\d+)*(?!\w)",
}
NAMED = (*_PATTERNS, "expected")


def satisfies(criterion: str, text: str, *, expected: str | None = None) -> bool:
    """Say whether ``text`` meets ``criterion``; ``expected`` is the prompt's expected text, for that criterion."""
    return bool(verdict(criterion, text, expected=expected))


def verdict(criterion: str, text: str, *, expected: str | None = None) -> bool | str:
    """Return whether ``text`` meets ``criterion``; of a tool call, the name of the tool where it can be read."""
    if criterion == "function_call" and (tool := called_tool(text)) is not None:
        return tool
    return _pattern(criterion, expected).search(text) is not None


def match_span(criterion: str, text: str, *, expected: str | None = None) -> tuple[int, int] | None:
    """Return the characters of ``text`` that first meet ``criterion``, as a range; None where nothing does."""
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
        message = "the criterion is empty"
        raise UsageError(message, hint=f"name one of {', '.join(NAMED)}, a regex:… or a text")
    return _whole_words(criterion, re.IGNORECASE)


def _expected(expected: str | None) -> re.Pattern[str]:
    if not expected:
        message = "the criterion `expected` needs prompts with an expected text"
        raise UsageError(message, hint="choose another criterion or a set with `expected`")
    return _whole_words(expected, 0)


def _regex(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        message = f"`{pattern}` is not a regular expression: {error}"
        raise UsageError(message, hint="the syntax is that of Python's re module") from error


def _whole_words(text: str, flags: int) -> re.Pattern[str]:
    """Match ``text`` where it is not part of a longer word or number."""
    text = text.strip()
    # Not \b: a text may begin or end with a sign. "37" is neither in "-37" nor in "37.5".
    before = r"(?<![\w.\-])" if text[0].isdigit() else r"(?<!\w)"
    after = r"(?!\w|[.,]\d)" if text[-1].isdigit() else r"(?!\w)"
    return re.compile(before + re.escape(text) + after, flags)
