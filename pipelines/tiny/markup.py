"""How a document is marked up: special tokens, tool calls, and pieces of text with loss weights.

An `Example` is a list of (text, weight) pieces; a piece's weight multiplies the loss of its tokens. What has
to be said has weight 1, a value that has to be copied 3, what a user says 0.1 and headers 0.
"""

from dataclasses import dataclass

BOS, SYSTEM, TOOLS, USER, ASSISTANT, END = (
    "<|bos|>",
    "<|system|>",
    "<|tools|>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
)
CALL, CALL_END = "<tool_call>", "</tool_call>"
PROMPT_WEIGHT = 0.1
SLOT_WEIGHT = 3.0

Piece = tuple[str, float]


@dataclass(frozen=True)
class Example:
    """One document: pieces of text with the weight of their loss."""

    pieces: tuple[Piece, ...]


def call_pieces(name: str, argument: str, value: str) -> tuple[Piece, ...]:
    """Return a tool call; the value, which has to be copied, weighs more than its frame."""
    return (
        (f'{CALL}{{"name": "{name}", "arguments": {{"{argument}": "', 1.0),
        (value, SLOT_WEIGHT),
        (f'"}}}}{CALL_END}', 1.0),
    )


def tool_call(name: str, argument: str, value: str) -> str:
    """Return the text of a tool call."""
    return "".join(text for text, _ in call_pieces(name, argument, value))


def header(system: str | None, tools: list[tuple[str, str]]) -> str:
    """Return what the chat template writes before the first user turn."""
    text = BOS
    if system:
        text += f"{SYSTEM}{system}{END}"
    if tools:
        text += TOOLS + "".join(f" {name}({argument})" for name, argument in tools) + END
    return text
