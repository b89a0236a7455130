"""Rendering: from a text to the characters that a model reads, raw or in its chat template.

A chat prompt is rendered with ``enable_thinking`` off and ends where the answer begins. The span of
the user's text, or of the system's, is found by rendering another text in its place: it is where
the two differ, compared from the front and from the back. Searching for the text would also find it
in the template ("a" in "assistant"), and would miss it where a template trims or changes it. The
other text is one letter that the text neither begins nor ends with, in either case.
"""

from dataclasses import replace

from circuit.errors import ModelError, UsageError
from circuit.model.checkpoint.loading import LoadedModel
from circuit.values.prompt_format import PromptFormat

Span = tuple[int, int]


def check_format(model: LoadedModel, prompt_format: PromptFormat) -> None:
    """Raise when the model has no chat template, or raw text is given what only a chat has."""
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


def render(model: LoadedModel, text: str, prompt_format: PromptFormat) -> str:
    """Return the prompt as the model reads it."""
    return render_chat(model, text, prompt_format) if prompt_format.chat else text


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
