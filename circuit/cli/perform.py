"""Perform a request at a terminal: run it, and print its document or one JSON document."""

import sys
from typing import Any

import typer

from circuit.cli import console
from circuit.errors import UsageError


def perform(request: Any, as_json: bool) -> None:
    """Run a request and print its result; a check that failed exits with 1."""
    from circuit.present.terminal import terminal
    from circuit.stages.run import Session, command_of

    command = command_of(request)
    writer = console.Writer("")
    to_terminal = not as_json and sys.stdout.isatty()
    shown = command.streams is not None and command.streams(request, to_terminal)
    if shown and as_json:
        message = "text that is shown while it is written is no JSON document"
        raise UsageError("stream-with-json", message, hint="leave out --stream or --json")
    session = Session(console.note, console.track, writer if shown else None)
    outcome = command.run(request, session)
    if writer.used:
        writer.end()
    else:
        document = command.document(request, outcome.result)
        if document is not None:
            text = "" if as_json else terminal(document)
            if outcome.output is not None and text:
                text = f"{text}\n\nSaved to: {outcome.output}"
            console.result(command.data(outcome.result), text, as_json=as_json)
    if command.failed(outcome.result):
        raise typer.Exit(1)
