"""Commands that are not yet made from requests; gone when all are."""

import importlib
from typing import Any

import typer

app = typer.Typer(rich_markup_mode=None)


@app.callback()
def circuit() -> None:
    """Hold the commands."""


def _module(name: str) -> Any:
    try:
        return importlib.import_module(f"circuit.cli.{name}")
    except ModuleNotFoundError:
        return None


for _name in ("dataset", "directions", "concepts", "introspect"):
    if (_found := _module(_name)) is not None:
        app.add_typer(_found.app, name=_name)
for _name in (
    "collect",
    "analyze",
    "visualize",
    "evaluate",
    "export",
    "import_",
    "verify",
    "sites",
    "doctor",
):
    if (_found := _module(_name)) is not None:
        app.command(_name.rstrip("_"))(getattr(_found, _name))
