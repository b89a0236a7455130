"""A figure as the file that its name says: PNG for people and pages, PDF and SVG for papers."""

from pathlib import Path
from typing import TYPE_CHECKING

from circuit.artifacts.files.atomic import write_file
from circuit.errors import UsageError

if TYPE_CHECKING:
    from circuit.plots.style import Figure

FORMATS = ("png", "pdf", "svg")


def check_picture(path: Path | None) -> Path | None:
    """Return ``path``; raise ``UsageError`` where its suffix names no picture format."""
    if path is not None and _form(path) not in FORMATS:
        message = f"`{path}` is not the name of a picture that can be written"
        hint = "end it in .png, .pdf or .svg"
        raise UsageError("not-a-picture-name", message, hint=hint, path=str(path))
    return path


def write_picture(path: Path, figure: "Figure", *, force: bool = False) -> None:
    """Write ``figure`` in the format that ``path`` names; equal figures give equal bytes."""
    from circuit.plots.style import render

    check_picture(path)
    write_file(path, render(figure, _form(path)), force=force)


def _form(path: Path) -> str:
    return path.suffix.removeprefix(".").lower()
