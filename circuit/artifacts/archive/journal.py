"""The journal of an archive in the making: which batches are in the partial file, and how to tell.

``<archive>.journal`` is a journal (``circuit.artifacts.files.journal``) with two kinds of lines:

    {"unit": 7, "rows": [3, 14, 15], "crc": 2868017012}     these prompts are there, in every array
    {"synced": 2}                                           so many batches are forced to the disk

A line is written after the data that it describes. While the machine runs, what a process wrote
stays written however it ends, so a kill costs the batch that was not done. The power may fail
between line and data; then the checksum tells. A batch that fails it is dropped, with those after
it, if no line says that it was forced to the disk. If one does, the partial file is damaged and
nothing is resumed.

The journal is the lock of its archive from the first byte to the manifest.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from circuit.artifacts.files.journal import Entry, Journal, read_journal
from circuit.artifacts.files.records import Record
from circuit.errors import ArtifactError
from circuit.values.json_values import JsonObject


class BatchLine(Record):
    """The line of a batch."""

    unit: int
    rows: tuple[int, ...]
    crc: int


class SyncLine(Record):
    """The line that says how many of the batches are on the disk."""

    synced: int


Line = BatchLine | SyncLine
_LINE: TypeAdapter[Line] = TypeAdapter(Line)


@dataclass(frozen=True)
class Batch:
    """A batch that is done: its number, its rows, their checksum, and where its line begins."""

    number: int
    rows: tuple[int, ...]
    crc: int
    start: int
    synced: bool


def journal_path(archive: Path) -> Path:
    """Return where the journal of an archive lies."""
    return archive.with_name(archive.name + ".journal")


def open_journal(archive: Path) -> Journal[Line]:
    """Lock the journal of an archive."""
    return Journal(journal_path(archive), archive, _LINE.validate_json)


def line_of(line: Line) -> bytes:
    """Return the bytes of a line."""
    return line.model_dump_json().encode() + b"\n"


def batches_of(entries: Sequence[Entry[Line]]) -> list[Batch]:
    """Return the batches that a journal lists, in the order in which they were done."""
    synced = max((e.value.synced for e in entries if isinstance(e.value, SyncLine)), default=0)
    done = [(e.value, e.start) for e in entries if isinstance(e.value, BatchLine)]
    return [
        Batch(line.unit, line.rows, line.crc, start, synced=index < synced)
        for index, (line, start) in enumerate(done)
    ]


def unfinished_run(archive: Path) -> JsonObject | None:
    """Return what an unfinished archive is made from, or nothing if no batch of it is done."""
    path = journal_path(archive)
    if not path.exists():
        return None
    content = read_journal(path, _LINE.validate_json)
    return content.header.covers if content.header and content.entries else None


def remove_finished_journal(archive: Path, manifest: Path) -> None:
    """Remove the journal of an archive whose ``manifest`` is there: its writer was killed first."""
    partial = archive.with_name(archive.name + ".partial")
    if not journal_path(archive).exists() or not manifest.exists() or partial.exists():
        return
    # Locked: another process is at work here, and will remove it.
    with suppress(ArtifactError), open_journal(archive) as journal:
        if manifest.exists() and not partial.exists():
            journal.remove()
