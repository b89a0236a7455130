"""Rendering: from a text to the characters that a model reads, raw or in its chat template.

A chat prompt is rendered with ``enable_thinking`` off and ends where the answer begins. The span of
the user's text, or of the system's, is found by rendering another text in its place: it is where
the two differ, compared from the front and from the back. Searching for the text would also find it
in the template ("a" in "assistant"), and would miss it where a template trims or changes it. The
other text is one letter that the text neither begins nor ends with, in either case.
"""

import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

from circuit.errors import ModelError, UsageError
from circuit.model.checkpoint.loading import LoadedModel
from circuit.values.prompt_format import PromptFormat

Span = tuple[int, int]


def check_format(model: LoadedModel, prompt_format: PromptFormat) -> None:
    """Raise when the chat template is absent or leaves out what it is given.

    Raw text takes neither a system message nor tools.
    """
    if prompt_format.chat and not model.tokenizer.has_chat_template:
        raise ModelError(
            "no-chat-template",
            f"model `{model.id}` has no chat template",
            hint="use --raw to give it the raw text",
            model=model.id,
        )
    if not prompt_format.chat and (prompt_format.system or prompt_format.tools):
        raise UsageError(
            "chat-needed",
            "a system message and tools need a chat template",
            hint="use --chat, or leave out --system and --tools",
        )
    if prompt_format.chat:
        _check_parts(model, prompt_format)


def _check_parts(model: LoadedModel, form: PromptFormat) -> None:
    """Raise unless the user's text, the system message and each tool reach the prompt."""
    rendered = render_chat(model, "one", form)
    twins = {"text": render_chat(model, "two", form)}
    if form.system is not None:
        other = other_than(form.system)
        twins["system message"] = render_chat(model, "one", replace(form, system=other))
    if absent := _absent_tool(form, rendered):
        raise _left_out(model, f"tool `{absent}`", "tools")
    if form.tools:
        twins["tools"] = render_chat(model, "one", replace(form, tools=None))
    for part, twin in twins.items():
        if twin == rendered:
            raise _left_out(model, f"the {part}", part)


def _absent_tool(form: PromptFormat, rendered: str) -> str | None:
    """Return the first tool whose name is not in a rendered chat."""
    names = [_tool_name(tool) for tool in form.tools or ()]
    return next((name for name in names if name is not None and name not in rendered), None)


def with_known_tools(model: LoadedModel, form: PromptFormat) -> PromptFormat:
    """Leave out the tools of a prompt set where the chat template shows none, and say so.

    Tools that an option asks for are refused instead: ``check_format``.
    """
    if not form.chat or not form.tools or not model.tokenizer.has_chat_template:
        return form
    without = replace(form, tools=None)
    if render_chat(model, "one", form) != render_chat(model, "one", without):
        return form
    _say(f"the chat template of `{model.id}` shows no tools: those of the prompt set are left out")
    return without


@cache
def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _tool_name(tool: Mapping[str, object]) -> str | None:
    function = tool.get("function", tool)
    name = function.get("name") if isinstance(function, Mapping) else None
    return name if isinstance(name, str) else None


def _left_out(model: LoadedModel, what: str, part: str) -> ModelError:
    hints = {"text": "use --raw", "tools": "leave out --tools, or use --raw"}
    return ModelError(
        "chat-part-left-out",
        f"the chat template of `{model.id}` leaves out {what}",
        hint=hints.get(part, "leave out --system"),
        model=model.id,
        part=part,
    )


def render(model: LoadedModel, text: str, prompt_format: PromptFormat) -> str:
    """Return the prompt as the model reads it.

    Raises ``ModelError`` where the template changes the text, but for case and outer spaces.
    """
    if not prompt_format.chat:
        return text
    rendered = render_chat(model, text, prompt_format)
    if text.strip().casefold() not in rendered.casefold():
        shown = text if len(text) <= 40 else f"{text[:40]}…"
        raise ModelError(
            "chat-text-changed",
            f"the chat template of `{model.id}` leaves out or changes the text {shown!r}",
            hint="use --raw to give it the raw text",
            model=model.id,
        )
    return rendered


def render_chat(model: LoadedModel, text: str, prompt_format: PromptFormat) -> str:
    """Return the prompt as the model's chat template writes it, ready for the answer."""
    messages = [{"role": "user", "content": text}]
    if prompt_format.system is not None:
        messages.insert(0, {"role": "system", "content": prompt_format.system})
    try:
        return str(
            model.tokenizer.apply_chat_template(
                messages,
                tools=None if prompt_format.tools is None else list(prompt_format.tools),
                tokenize=False,
                add_generation_prompt=True,
                enable_thinking=False,
            )
        )
    except UsageError:  # of the date
        raise
    except Exception as error:  # a template is a program of the checkpoint's author
        raise ModelError(
            "chat-template-failed",
            f"the chat template of `{model.id}` refused the prompt: {error}",
            hint="use --raw, or leave out --system or --tools",
            model=model.id,
        ) from error


def other_than(text: str) -> str:
    """Return a letter that ``text``, without outer spaces, neither begins nor ends with."""
    inside = text.strip().casefold()
    return next(letter for letter in "xyz" if letter not in (inside[:1], inside[-1:]))


def system_span(
    model: LoadedModel, text: str, rendered: str, prompt_format: PromptFormat
) -> Span | None:
    """Return the span of the system message in a rendered chat, None without one."""
    if prompt_format.system is None:
        return None
    other = replace(prompt_format, system=other_than(prompt_format.system))
    return differing(rendered, render_chat(model, text, other))


def differing(rendered: str, twin: str) -> Span:
    """Return the span of ``rendered`` without the beginning and the end that both texts share."""
    start, tail = _agreement(rendered, twin), _agreement(rendered[::-1], twin[::-1])
    return start, max(start, len(rendered) - tail)


def _agreement(a: str, b: str) -> int:
    """Return how many characters two texts share at their beginning, by bisection."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if a[low:middle] == b[low:middle] else (low, middle - 1)
    return low
