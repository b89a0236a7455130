"""stdout is the result; stderr is notes, progress and errors."""

import io
import json
import sys
import threading
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
    """Iterate over ``items`` with a progress bar on stderr; a line a minute without a terminal."""
    if not sys.stderr.isatty():
        yield from _with_lines(items, description, total)
        return
    from rich.console import Console
    from rich.progress import track as bar

    yield from bar(items, description, total=total, console=Console(stderr=True), transient=True)


def _with_lines(items: Iterable[T], description: str, total: int | None) -> Iterator[T]:
    """Say every ``EVERY`` seconds how many items are done, also while one of them takes longer."""
    done, started, finished = 0, time.monotonic(), threading.Event()

    def say() -> None:
        while not finished.wait(EVERY):
            of = "" if total is None else f" of {total}"
            note(f"{description}: {done}{of} after {time.monotonic() - started:.0f} s")

    threading.Thread(target=say, daemon=True).start()
    try:
        for item in items:
            yield item
            done += 1
    finally:
        finished.set()
