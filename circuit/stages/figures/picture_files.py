"""A figure as the file that its name says: PNG for people and pages, PDF and SVG for papers."""

from pathlib import Path
from typing import Any

from circuit.artifacts.files.atomic import write_file
from circuit.errors import UsageError

FORMATS = ("png", "pdf", "svg")


def check_picture(path: Path | None) -> Path | None:
    """Return ``path``; raise ``UsageError`` where its suffix is that of no picture."""
    if path is not None and _form(path) not in FORMATS:
        message = f"`{path}` is not the name of a picture that can be written"
        raise UsageError(message, hint="end it in .png, .pdf or .svg")
    return path


def write_picture(path: Path, figure: Any, *, force: bool = False) -> None:
    """Write ``figure`` in the format that the suffix of ``path`` names; equal figures give equal bytes."""
    from circuit.plots.style import render

    check_picture(path)
    write_file(path, render(figure, _form(path)), force=force)


def _form(path: Path) -> str:
    return path.suffix.removeprefix(".").lower()
