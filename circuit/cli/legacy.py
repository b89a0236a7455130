"""The commands that are not yet made from requests: ``concepts`` and ``evaluate``."""

import typer

from circuit.cli import concepts, evaluate

app = typer.Typer(rich_markup_mode=None)
app.add_typer(concepts.app, name="concepts")
app.command()(evaluate.evaluate)
