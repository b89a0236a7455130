"""The command that is not made from a request yet: ``evaluate``."""

import typer

from circuit.cli import evaluate

app = typer.Typer(rich_markup_mode=None)
app.command()(evaluate.evaluate)


@app.callback()
def circuit() -> None:
    """Hold the command."""
