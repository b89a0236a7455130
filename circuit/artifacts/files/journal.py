"""The journal of an unfinished output: JSON lines, from which the same command resumes.

    {"schema": "circuit.journal/1", "key": sha256, "covers": {...}, "forced": false}
    {...}
    {...}

The first line names the run: ``covers`` is everything that decides the output, ``key`` its digest.
The lines after it are entries, in the format of the writer of the output.

The file is locked until the output is complete, and then it is removed. What a process has written
stays written however it ends, so a kill costs the last line only. A last line that was cut off, a
line that the writer cannot read, and everything after it are dropped. Entries of another run are an
error, or are replaced when the run is forced. A forced run resumes only what the same run, forced,
has left.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from pydantic import Field

from circuit.artifacts.files.atomic import write_at, write_errors
from circuit.artifacts.files.differences import differences, fingerprint
from circuit.artifacts.files.documents import plain, read_errors
from circuit.artifacts.files.locks import lock
from circuit.artifacts.files.records import Record
from circuit.artifacts.files.writer import Writer
from circuit.errors import ArtifactError
from circuit.values import schemas
from circuit.values.json_values import JsonMapping, JsonObject

E = TypeVar("E")


class Header(Record):
    """The first line: for which run."""

    schema_name: schemas.Journal = Field(schemas.JOURNAL, alias="schema")
    key: str
    covers: JsonObject
    forced: bool = False


class Entry(NamedTuple, Generic[E]):
    """A whole line: its first byte, its length, and what it says."""

    start: int
    length: int
    value: E


@dataclass(frozen=True)
class Content(Generic[E]):
    """What can be read of a journal: its header, its entries, and where the last of them ends."""

    header: Header | None
    entries: list[Entry[E]]
    end: int
    damaged: bool


class Journal(Writer, Generic[E]):
    """The journal at ``path`` of an ``output``, locked until it is closed.

    ``parse`` makes an entry of a line; it raises ``ValueError`` for a damaged one.
    """

    def __init__(self, path: Path, output: Path, parse: Callable[[bytes], E]) -> None:
        self.path, self.output, self._parse = path, output, parse
        self._header: Header | None = None
        with write_errors(output):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = lock(path, output)

    def resume(self, covers: JsonMapping, *, force: bool) -> list[Entry[E]]:
        """Return the entries that the run of ``covers`` has left; without any, call ``start``.

        Raises ``ArtifactError`` for entries of another run and for a damaged header, unless forced.
        """
        run = Header(key=fingerprint(covers), covers=plain(covers), forced=force)
        self._header = run
        found = read_journal(self.path, self._parse)
        if found.header is not None and found.header.key == run.key:
            if force and not found.header.forced:
                return []
            self.cut(found.end)
            return found.entries
        if not force:
            self._refuse(run, found)
        return []

    def start(self) -> None:
        """Write the header of the run that ``resume`` was asked for, and nothing else."""
        if self._header is None:
            message = f"`{self.path}` was not opened for a run: call resume first"
            raise ValueError(message)
        self.cut(0)
        self.append(self._header.model_dump_json(by_alias=True).encode() + b"\n")
        self.sync()

    def append(self, lines: bytes) -> int:
        """Write whole lines at the end, all of them or none, and return where they begin."""
        with write_errors(self.output):
            end = os.fstat(self._file).st_size
            try:
                write_at(self._file, memoryview(lines), end)
            except OSError:
                os.ftruncate(self._file, end)
                raise
        return end

    def read(self, start: int, length: int) -> bytes:
        """Return the line of an entry."""
        return os.pread(self._file, length, start)

    def sync(self) -> None:
        """Force every line to the disk."""
        with write_errors(self.output):
            os.fsync(self._file)

    def cut(self, end: int) -> None:
        """Drop what lies behind the byte ``end``."""
        with write_errors(self.output):
            os.ftruncate(self._file, end)

    def remove(self) -> None:
        """Remove the file, while it is still locked."""
        with write_errors(self.output):
            self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Release the lock."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _refuse(self, run: Header, found: Content[E]) -> None:
        if found.damaged:
            raise ArtifactError(
                "journal-damaged",
                f"the journal `{self.path}` is damaged",
                hint="--force starts again from nothing",
                path=str(self.path),
            )
        if found.header is not None and found.entries:
            what = differences(run.covers, found.header.covers) or "its first line is damaged"
            raise ArtifactError(
                "other-run-unfinished",
                f"the unfinished `{self.output}` is of another run: {what}",
                hint="give the same options to resume it; --force starts again from nothing",
                output=str(self.output),
                differences=what,
            )


def read_journal(path: Path, parse: Callable[[bytes], E]) -> Content[E]:
    """Read the whole lines of a journal, up to the first that is damaged."""
    entries: list[Entry[E]] = []
    with read_errors(path), path.open("rb") as file:
        first = file.readline()
        header = _parsed(first, Header.model_validate_json)
        if header is None:
            return Content(None, [], 0, damaged=first.endswith(b"\n"))
        end = len(first)
        for line in file:
            value = _parsed(line, parse)
            if value is None:
                break
            entries.append(Entry(end, len(line), value))
            end += len(line)
    return Content(header, entries, end, damaged=False)


def _parsed(line: bytes, parse: Callable[[bytes], E]) -> E | None:
    try:
        return parse(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
