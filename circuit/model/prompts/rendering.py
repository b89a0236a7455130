"""How a text becomes the characters that a model reads: as it stands, or in its chat template.

A chat prompt is rendered with ``enable_thinking`` set explicitly and ends where the answer begins. Where
the user's text, or the system's, lies in it is found by rendering another text in its place and seeing
how far the two agree from the front and from the back. Looking for the text would find it again in
the template ("a" in "assistant"), and would miss it where a template trims or changes it. The other
text is one letter that the text neither begins nor ends with, in either case.
"""

from dataclasses import replace

from circuit.errors import ModelError, UsageError
from circuit.model.checkpoint.loading import LoadedModel
from circuit.values.prompt_format import PromptFormat

Span = tuple[int, int]


def check_format(model: LoadedModel, prompt_format: PromptFormat) -> None:
    """Raise when the model has no chat template, or raw text is given what only a chat has."""
    if prompt_format.chat and not model.tokenizer.has_chat_template:
        message = f"model `{model.id}` has no chat template"
        raise ModelError(message, hint="use --raw to give it the text as it stands")
    if not prompt_format.chat and (prompt_format.system or prompt_format.tools):
        message = "a system message and tools need a chat template"
        raise UsageError(message, hint="use --chat, or leave out --system and --tools")


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
        message = f"the chat template of `{model.id}` refused the prompt: {error}"
        raise ModelError(message, hint="use --raw, or leave out --system or --tools") from error


def other_than(text: str) -> str:
    """Return a letter that ``text``, blanks aside, neither begins nor ends with."""
    inside = text.strip().casefold()
    return next(letter for letter in "xyz" if letter not in (inside[:1], inside[-1:]))


def system_span(
    model: LoadedModel, text: str, rendered: str, prompt_format: PromptFormat
) -> Span | None:
    """Return where the system message lies in a rendered chat; None where there is none."""
    if prompt_format.system is None:
        return None
    other = replace(prompt_format, system=other_than(prompt_format.system))
    return differing(rendered, render_chat(model, text, other))


def differing(rendered: str, twin: str) -> Span:
    """Return the part of ``rendered`` that is left when what both begin and end with is taken off."""
    start, tail = _agreement(rendered, twin), _agreement(rendered[::-1], twin[::-1])
    return start, max(start, len(rendered) - tail)


def _agreement(a: str, b: str) -> int:
    """Return how many characters two texts begin with in common, by halving."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if a[low:middle] == b[low:middle] else (low, middle - 1)
    return low
