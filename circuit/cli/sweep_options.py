"""Options of the commands that measure a steering: the read-out, the prompt sets, the numbers."""

from pathlib import Path
from typing import Annotated, Any

import typer

Positive = Annotated[
    str | None,
    typer.Option("--positive-answers", help='Spellings of the positive answer: "Yes| yes|YES".'),
]
Negative = Annotated[
    str | None,
    typer.Option(
        "--negative-answers", help="Those of the negative answer [default: everything else]."
    ),
]
Criterion = Annotated[
    str | None,
    typer.Option(
        "--criterion",
        help="Judge what the model writes instead: function_call, refusal, positive, negative, number, expected, "
        "regex:PATTERN, or a text.",
    ),
]
MaxTokens = Annotated[
    int, typer.Option("--max-tokens", "-n", min=1, help="Tokens to write (with --criterion).")
]
Prefill = Annotated[
    str, typer.Option("--prefill", help="Beginning of the answer, after which the model is read.")
]
Kl = Annotated[
    float, typer.Option("--kl", help="Divergence on neutral prompts that is c*, in nats.")
]
Tools = Annotated[
    Path | None, typer.Option("--tools", help="JSON list of tool schemas (with --chat).")
]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write the results here.")]


def readout_of(
    positive: str | None, negative: str | None, criterion: str | None, max_tokens: int, prefill: str
) -> Any:
    """Make a read-out of the options."""
    from circuit.stages.steering.readout import Readout, spellings

    return Readout(spellings(positive), spellings(negative), criterion, max_tokens, prefill)


def numbers(text: str, option: str) -> tuple[float, ...]:
    """Read a list of finite numbers."""
    from circuit.stages.steering.source import parse_number

    return tuple(parse_number(part, f"a number of {option}") for part in text.split(","))
