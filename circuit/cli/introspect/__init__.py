"""``circuit introspect``: one-off questions about a model, each a file of this folder that is named as its command.

A file has ``command``, a typer command; ``weight_diff.py`` is ``circuit introspect weight-diff``. The folder is listed, so that a new
question is one file here and one in ``circuit.introspect``.
"""

import importlib
import pkgutil

import typer

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def introspect() -> None:
    """Ask one question about a model: what it would say early, what it needs, what differs."""


for _name in sorted(found.name for found in pkgutil.iter_modules(__path__)):
    _module = importlib.import_module(f"{__name__}.{_name}")
    app.command(_name.replace("_", "-"))(_module.command)
