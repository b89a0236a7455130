"""The tool that a generated text calls, in the notations that open models were trained on.

    JSON        {"name": "f", "arguments": {…}}, with ``parameters`` for ``arguments`` in Llama 3,
                inside ``{"function": {…}}`` in OpenAI's form; alone or after ``<tool_call>``
                (Hermes, Qwen, tiny), ``<|python_tag|>`` (Llama), ``[TOOL_CALLS]`` (Mistral),
                ``<|tool_call|>`` (Phi-4, Granite); in a list or not
    by name     [TOOL_CALLS]f{…} and [TOOL_CALLS]f[ARGS]{…} (Mistral since 2025),
                <tool_call>f<arg_key> (GLM-4.5), <|python_tag|>f.call(…) (Llama's built-in tools)
    function    <function=f> (Llama 3, Qwen3-Coder), functions.f (Kimi K2, gpt-oss's
                ``to=functions.f``)
    DeepSeek    <｜tool▁call▁begin｜>function<｜tool▁sep｜>f

An answer that ends in the middle of a call (``max_tokens``) calls the tool whose name is complete.
The first call counts. A text that only mentions a tool calls none.

Sources: the chat templates of these models on https://huggingface.co.
"""

import json
import re
from collections.abc import Iterator

_NAME = r"[A-Za-z_][\w.\-]*"
_OPENING = r"(?:<\|?tool_call\|?>|<\|?python_tag\|?>|\[TOOL_CALLS\])"
_BY_NAME = (
    # A name alone is a call where something follows that only follows names.
    rf"{_OPENING}\s*({_NAME}?)(?:\.call)?\s*"
    r"(?=[{(\n]|\[ARGS\]|\[CALL_ID\]|<arg_key>|</tool_call>)",
    rf"<function\s*=\s*[\"']?({_NAME})",
    rf"(?<![\w.])functions\.({_NAME}?)(?=[:({{\s<]|$)",
    rf"<｜tool▁call▁begin｜>(?:function<｜tool▁sep｜>)?({_NAME})",
)
# Calls that break off, or whose arguments are not JSON.
_BROKEN = (
    rf'{_OPENING}\s*\[?\s*\{{[^{{}}]*?"name"\s*:\s*"({_NAME})"',
    rf'"name"\s*:\s*"({_NAME})"\s*,\s*"(?:arguments|parameters)"\s*:',
)
_ARGUMENTS = ("arguments", "parameters")


def called_tool(text: str) -> str | None:
    """Return the name of the first tool that ``text`` calls, or None."""
    found = [*_json_calls(text), *_matches(_BY_NAME, text)] or list(_matches(_BROKEN, text))
    return min(found)[1] if found else None


def _matches(patterns: tuple[str, ...], text: str) -> Iterator[tuple[int, str]]:
    for pattern in patterns:
        if match := re.search(pattern, text):
            yield match.start(), match[1]


def _json_calls(text: str) -> Iterator[tuple[int, str]]:
    """Find the outermost JSON objects that are calls; what lies inside one is its arguments."""
    decoder, end = json.JSONDecoder(), 0
    for brace in re.finditer(r"\{", text):
        if brace.start() < end:
            continue
        try:
            value, end = decoder.raw_decode(text, brace.start())
        except (ValueError, RecursionError):
            continue
        if (name := _name_of(value)) is not None:
            yield brace.start(), name


def _name_of(value: dict[str, object]) -> str | None:
    inner = value.get("function")
    call = inner if isinstance(inner, dict) else value
    name = call.get("name")
    if not isinstance(name, str) or not re.fullmatch(_NAME, name):
        return None
    return name if any(key in call for key in _ARGUMENTS) else None
