"""stdout is the result; stderr is notes, progress and errors."""

import io
import json
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from circuit.errors import CircuitError

T = TypeVar("T")
EVERY = 60.0  # seconds between two lines of progress


def result(data: Any, text: str, *, as_json: bool) -> None:
    """Print the one result of a command: ``text`` for people, or ``data`` as one JSON document.

    A reader that has gone (``| head``) is the command line framework's to handle.
    """
    try:
        sys.stdout.write((json.dumps(data, indent=2, allow_nan=False) if as_json else text) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as problem:
        sys.stdout = None  # or Python tries again, and fails again, when it ends
        message = f"stdout cannot be written: {problem.strerror}"
        hint = "free some space, or print to another place"
        raise CircuitError("write-failed", message, hint=hint) from problem


class Writer:
    """Writes a text to stdout in pieces: ``start`` before the first, a newline at the end."""

    def __init__(self, start: str = "") -> None:
        self.start = start
        self.used = False

    def __call__(self, piece: str) -> None:
        """Write one piece at once."""
        sys.stdout.write(self.start + piece)
        sys.stdout.flush()
        self.start, self.used = "", True

    def end(self) -> None:
        """End the text."""
        self("\n")


def write_any_character() -> None:
    """Escape on stdout and stderr what their encoding lacks, instead of failing at it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def note(text: str) -> None:
    """Say something that is not the result."""
    sys.stderr.write(text + "\n")


def error(problem: CircuitError) -> None:
    """Say what went wrong and, on a line of its own, what to do about it."""
    sys.stderr.write(f"error: {problem.message}\n")
    if problem.hint:
        sys.stderr.write(f"hint: {problem.hint}\n")


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Iterate over ``items``; show a progress bar on a terminal, else a line a minute on stderr."""
    if not sys.stderr.isatty():
        yield from _told(items, description, total)
        return
    from rich.console import Console
    from rich.progress import track as bar

    yield from bar(items, description, total=total, console=Console(stderr=True), transient=True)


def _told(items: Iterable[T], description: str, total: int | None) -> Iterator[T]:
    last = time.monotonic()
    for done, item in enumerate(items):
        if time.monotonic() - last >= EVERY:
            last = time.monotonic()
            note(f"{description}: {done}" + ("" if total is None else f" of {total}"))
        yield item
