"""The journal of an archive in the making: which units of work are in the partial file, and how to tell.

``<archive>.journal`` is JSON, one value a line:

    {"schema": "circuit.journal/1", "key": sha256, "covers": {...}}     everything that decides the bytes, and its digest
    {"unit": 7, "rows": [3, 14, 15], "crc": 2868017012}                 these prompts are there, in every array
    {"synced": 2}                                                       so many units have been forced to the disk

A line is written after the data that it speaks of. While the machine runs, what a process wrote stays written however it
ends, so a kill costs the unit that was not done. The power may fail between line and data; then the checksum tells. A
unit that fails it is forgotten, with those after it, if no line says that it was forced to the disk. If one does, the
partial file is damaged and nothing goes on. A last line without its end is not there.

The journal is the lock of its archive from the first byte to the manifest, after which it is removed.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, TypeAdapter

from circuit.artifacts.files.atomic import explained, write_at
from circuit.artifacts.files.differences import differences, fingerprint
from circuit.artifacts.files.documents import plain, read_bytes
from circuit.artifacts.files.locks import lock
from circuit.artifacts.manifest.manifest import Record
from circuit.errors import ArtifactError
from circuit.values import schemas


class Header(Record):
    """The first line: for which run."""

    schema_name: schemas.Journal = Field(schemas.JOURNAL, alias="schema")
    key: str
    covers: dict[str, Any]
    forced: bool = False


class Done(Record):
    """The line of a unit."""

    unit: int
    rows: tuple[int, ...]
    crc: int


class Synced(Record):
    """The line that says how many of the units are on the disk."""

    synced: int


_LINE: TypeAdapter[Header | Done | Synced] = TypeAdapter(Header | Done | Synced)


@dataclass(frozen=True)
class Unit:
    """A unit of work that is done: its number, its rows, their checksum, and where its line begins."""

    number: int
    rows: tuple[int, ...]
    crc: int
    start: int
    synced: bool


class Journal:
    """The journal of the archive at ``archive``, locked until it is closed."""

    def __init__(self, archive: Path) -> None:
        self.path, self.archive = journal_path(archive), archive
        self._units = 0
        with explained(archive):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = lock(self.path, archive)

    def units(self, covers: Mapping[str, Any], *, forced: bool) -> list[Unit]:
        """Return what is done, if it was done for ``covers``.

        Something else is an error; a run that is forced takes up only what the same run, forced, has left.
        """
        data = read_bytes(self.path)
        found = _parse(data)
        same = found.header is not None and found.header.key == fingerprint(covers)
        if forced and not (same and found.header is not None and found.header.forced):
            return []
        if found.header is None and b"\n" in data:
            message = f"the journal `{self.path}` is damaged"
            raise ArtifactError(message, hint="--force starts again from nothing")
        if found.header and found.units and not same:
            what = differences(plain(covers), found.header.covers) or "its first line is damaged"
            message = f"the unfinished `{self.archive}` is of another run: {what}"
            raise ArtifactError(
                message, hint="give the same options to go on; --force starts again from nothing"
            )
        self._units = len(found.units)
        self.cut(found.end)
        return found.units

    def start(self, covers: Mapping[str, Any], *, forced: bool) -> None:
        """Begin anew."""
        self.cut(0)
        self._units = 0
        self._append(Header(key=fingerprint(covers), covers=plain(covers), forced=forced))
        self._sync()

    def add(self, number: int, rows: Sequence[int], crc: int) -> None:
        """Say that a unit has been put."""
        self._append(Done(unit=number, rows=tuple(rows), crc=crc))
        self._units += 1

    def synced(self) -> None:
        """Say that everything up to here has been forced to the disk."""
        self._append(Synced(synced=self._units))
        self._sync()

    def cut(self, end: int) -> None:
        """Forget what lies behind the byte ``end``."""
        with explained(self.archive):
            os.ftruncate(self._file, end)

    def forget(self, units: Sequence[Unit]) -> None:
        """Forget ``units``, the last ones."""
        if units:
            self.cut(units[0].start)
            self._units -= len(units)

    def remove(self) -> None:
        """Remove the file, while it is still locked."""
        with explained(self.archive):
            self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the lock."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _append(self, line: BaseModel) -> None:
        with explained(self.archive):
            end = os.fstat(self._file).st_size
            try:
                write_at(
                    self._file,
                    memoryview(line.model_dump_json(by_alias=True).encode() + b"\n"),
                    end,
                )
            except OSError:
                os.ftruncate(self._file, end)
                raise

    def _sync(self) -> None:
        with explained(self.archive):
            os.fsync(self._file)


@dataclass(frozen=True)
class _Content:
    header: Header | None
    units: list[Unit]
    end: int


def journal_path(archive: Path) -> Path:
    """Return where the journal of an archive lies."""
    return archive.with_name(archive.name + ".journal")


def unfinished(archive: Path) -> dict[str, Any] | None:
    """Return what an unfinished archive is being made from, or nothing if nothing of it is done."""
    path = journal_path(archive)
    if not path.exists():
        return None
    content = _parse(read_bytes(path))
    return content.header.covers if content.header and content.units else None


def forget_journal(archive: Path, manifest: Path) -> None:
    """Remove the journal of an archive that has its ``manifest``: its writer was killed just before it would."""
    partial = archive.with_name(archive.name + ".partial")
    if not journal_path(archive).exists() or not manifest.exists() or partial.exists():
        return
    # Locked: another process is at work here, and will remove it.
    with suppress(ArtifactError):
        journal = Journal(archive)
        if manifest.exists() and not partial.exists():
            journal.remove()
        journal.close()


def _parse(data: bytes) -> _Content:
    """Return what the whole lines say, up to the first that makes no sense."""
    header, done, synced, end = None, list[tuple[Done, int]](), 0, 0
    for text in data.splitlines(keepends=True):
        line = _line(text)
        if line is None or isinstance(line, Header) != (end == 0):
            break
        match line:
            case Header():
                header = line
            case Done():
                done.append((line, end))
            case Synced():
                synced = line.synced
        end += len(text)
    units = [
        Unit(line.unit, line.rows, line.crc, start, index < synced)
        for index, (line, start) in enumerate(done)
    ]
    return _Content(header, units, end)


def _line(text: bytes) -> Header | Done | Synced | None:
    try:
        return _LINE.validate_json(text) if text.endswith(b"\n") else None
    except ValueError:
        return None
