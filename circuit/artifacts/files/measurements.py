"""Measurements of a long run, kept in a journal beside its output until the output is written.

``<output>.partial`` is a journal (``circuit.artifacts.files.journal``), one line per measurement:

    {"name": "direction at 0.5", "value": {...}}

The same command returns what it finds there, bit by bit, and measures the rest. Measurements of
another run are refused, or discarded when the run is forced.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar, cast

from circuit.artifacts.files.atomic import remove_temporaries
from circuit.artifacts.files.journal import Journal
from circuit.artifacts.files.writer import Writer
from circuit.errors import ArtifactError
from circuit.values.json_values import Json, JsonMapping, parse_json

V = TypeVar("V")


class Measurements(Writer):
    """Measurements by name; without an output they are kept in memory only."""

    def __init__(self, output: Path | None, covers: JsonMapping, *, force: bool = False) -> None:
        self._values: dict[str, Json] = {}
        self._journal: Journal[tuple[str, Json]] | None = None
        if output is not None:
            self._journal = Journal(_journal_path(output), output, _parsed)
            try:
                remove_temporaries(output)
                entries = self._journal.resume(covers, force=force)
                if not entries:
                    self._journal.start()
            except BaseException:
                self._journal.close()
                raise
            self._values.update(entry.value for entry in entries)

    def __contains__(self, name: str) -> bool:
        """Say whether something was measured under ``name``."""
        return name in self._values

    def get(self, name: str, measure: Callable[[], V]) -> V:
        """Return what was measured under ``name``, or measure it now.

        ``measure`` returns a JSON value; one that is read back has lists in the place of tuples.
        """
        if name not in self._values:
            value = cast("Json", measure())
            self._values[name] = value
            if self._journal is not None:
                line = json.dumps({"name": name, "value": value}, allow_nan=False)
                self._journal.append(line.encode() + b"\n")
        return cast("V", self._values[name])

    def discard(self) -> None:
        """Remove the file: the output holds everything."""
        if self._journal is not None:
            self._journal.remove()
        self.close()

    def close(self) -> None:
        """Release the lock; what was measured stays for the same command."""
        if self._journal is not None:
            self._journal.close()


def remove_finished_measurements(output: Path) -> None:
    """Remove the journal of an ``output`` that is complete: its writer was killed first."""
    if output.exists() and _journal_path(output).exists():
        # Locked: another process is at work here, and will remove it.
        with suppress(ArtifactError), Journal(_journal_path(output), output, _parsed) as journal:
            journal.remove()


def _journal_path(output: Path) -> Path:
    return output.with_name(f"{output.name}.partial")


def _parsed(line: bytes) -> tuple[str, Json]:
    match parse_json(line):
        case {"name": str(name), "value": value, **rest} if not rest:
            return name, value
    message = "the line is not a measurement"
    raise ValueError(message)
