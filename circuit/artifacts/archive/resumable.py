"""An archive that survives its writer: rows of prompts, put batch by batch, with a journal.

A batch is some prompts, in every array. It counts once ``done`` says that all of it was put. What
is put goes to the file at once, is forced to the disk at most once a second, and is recorded in the
journal (``circuit.artifacts.archive.journal``) with a CRC-32 of the stored bytes. A writer that
resumes a killed one checks those sums and has the batches in ``finished``.

Arrays that follow from the input alone (token ids, offsets) are written again each time, through
``archive``.

``put`` and ``done`` may be called from another thread than the one that owns the writer.
"""

import struct
import threading
import time
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from circuit.artifacts.archive.journal import (
    Batch,
    BatchLine,
    SyncLine,
    batches_of,
    line_of,
    open_journal,
)
from circuit.artifacts.archive.layout import Layout
from circuit.artifacts.archive.ragged import Offsets, runs
from circuit.artifacts.archive.writer import ArchiveWriter
from circuit.artifacts.files.atomic import sync_folder, write_errors
from circuit.artifacts.files.differences import fingerprint
from circuit.errors import ArtifactError, CircuitError
from circuit.values.json_values import JsonMapping

SYNC_SECONDS = 1.0

Rows = NDArray[np.intp]


@dataclass
class _PendingRows:
    """What a batch has put into one array so far."""

    rows: list[Rows] = field(default_factory=list)
    crc: int = 0


class ResumableArchive:
    """An unfinished archive whose finished batches outlive the process."""

    def __init__(
        self,
        path: Path,
        layout: Layout,
        offsets: Mapping[str, Offsets],
        covers: JsonMapping,
        *,
        force: bool = False,
    ) -> None:
        """Resume what was done for ``covers``, or start; a forced run resumes only itself.

        ``offsets`` has the place of each prompt's rows, for each array of rows.
        """
        self.path, self._offsets = path, dict(sorted(offsets.items()))
        self.finished: set[int] = set()
        self._there = np.zeros(len(next(iter(offsets.values()))) - 1, bool)
        self._pending: dict[str, _PendingRows] = {}
        self._mutex, self._synced_at, self._unsynced = threading.RLock(), time.monotonic(), False
        self._archive: ArchiveWriter | None = None
        self._journal, self._keep = open_journal(path), True
        try:
            self._open(layout, {**covers, "layout": fingerprint(layout.header.hex())}, force)
        except BaseException:
            self.close()
            raise

    @property
    def archive(self) -> ArchiveWriter:
        """The file, while it is open."""
        if self._archive is None:
            message = f"`{self.path}` is not being written any more"
            raise ValueError(message)
        return self._archive

    def put(self, name: str, rows: ArrayLike, values: ArrayLike) -> None:
        """Write the rows of some prompts, in the order of ``rows``, into one array."""
        prompts = np.asarray(rows, np.intp).ravel()
        offsets = self._offsets[name]
        if prompts.size and not 0 <= prompts.min() <= prompts.max() < len(self._there):
            message = f"`{name}` has {len(self._there)} prompts"
            raise IndexError(message)
        stored = self.archive.stored(name, values)
        if len(stored) != (offsets[prompts + 1] - offsets[prompts]).sum():
            message = f"`{name}` does not take {len(stored)} rows for these prompts"
            raise ValueError(message)
        with self._mutex:
            for first, start, length in runs(offsets, prompts):
                self.archive.put_stored(name, stored[start : start + length], first)
            put = self._pending.setdefault(name, _PendingRows())
            put.rows.append(prompts)
            put.crc = zlib.crc32(stored.reshape(-1).view(np.uint8).data, put.crc)

    def done(self, batch: int) -> None:
        """Mark everything that was put since the last call as the whole batch ``batch``."""
        with self._mutex:
            rows = self._rows_of_batch(batch)
            crcs = [self._pending[name].crc for name in self._offsets]
            crc = _checksum(batch, rows.tolist(), crcs)
            self._journal.append(line_of(BatchLine(unit=batch, rows=tuple(rows.tolist()), crc=crc)))
            self._pending.clear()
            self._count(batch, rows)
            self._unsynced = True
            if time.monotonic() - self._synced_at >= SYNC_SECONDS:
                self._sync()

    def require_complete(self) -> None:
        """Raise when a prompt is not done, or something was put after the last ``done``."""
        if self._pending or not self._there.all():
            missing = f"{np.count_nonzero(~self._there)} of {len(self._there)} prompts"
            message = f"`{self.path}` is not complete: {missing} are not done"
            raise ValueError(message)

    def finish(self, *, replace: bool) -> None:
        """Give the archive its name, in place of another if ``replace``; keep the journal."""
        with self._mutex:
            self.require_complete()
            self._sync()
            self.archive.finish(force=replace)

    def seal(self) -> None:
        """Remove the journal: the manifest has been written."""
        self._journal.remove()
        self.close()

    def close(self) -> None:
        """Release the files; if no batch is finished, remove them."""
        with self._mutex:
            if self._archive is not None:
                # Whatever ends the run counts, not that its last second cannot be saved either.
                with suppress(CircuitError):
                    self._sync()
                self._archive.close(keep=self._keep)
                self._archive = None
            if not self._keep:
                self._journal.remove()
            self._journal.close()

    def _open(self, layout: Layout, covers: JsonMapping, force: bool) -> None:
        if batches := batches_of(self._journal.resume(covers, force=force)):
            try:
                self._archive = ArchiveWriter(self.path, layout, resume=True)
                return self._verify(batches)
            except ArtifactError:
                if not force:
                    raise
        self._start(layout)
        return None

    def _start(self, layout: Layout) -> None:
        self.finished.clear()
        self._there[:] = False
        self._keep = self._unsynced = False
        self._journal.cut(0)
        if self._archive is not None:
            self._archive.close()
        self._archive = ArchiveWriter(self.path, layout)
        self._archive.sync()
        self._journal.start()
        with write_errors(self.path):
            sync_folder(self.path.parent)

    def _verify(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            if self._is_whole(batch):
                self._count(batch.number, np.array(batch.rows, np.intp))
                self._unsynced |= not batch.synced
            elif batch.synced:
                partial = self.archive.partial
                raise ArtifactError(
                    "partial-file-damaged",
                    f"`{partial}` is damaged: batch {batch.number} is not as it was written",
                    hint="--force starts again from nothing",
                    path=str(partial),
                    batch=batch.number,
                )
            else:
                return self._journal.cut(batch.start)
        return None

    def _is_whole(self, batch: Batch) -> bool:
        if not all(0 <= row < len(self._there) for row in batch.rows):  # of any size, when damaged
            return False
        rows, crcs = np.array(batch.rows, np.intp), []
        for name, offsets in self._offsets.items():
            crc = 0
            for first, _, length in runs(offsets, rows):
                crc = zlib.crc32(self.archive.bytes_of(name, first, length), crc)
            crcs.append(crc)
        return _checksum(batch.number, batch.rows, crcs) == batch.crc

    def _rows_of_batch(self, batch: int) -> Rows:
        """Return the prompts of what was put; every array must have the same, and none twice."""
        puts = [self._pending.get(name, _PendingRows()) for name in self._offsets]
        rows = [np.concatenate([np.empty(0, np.intp), *put.rows]) for put in puts]
        if any(not np.array_equal(each, rows[0]) for each in rows):
            message = f"the arrays of batch {batch} have rows of different prompts"
            raise ValueError(message)
        again = self._there[rows[0]].any() or len(np.unique(rows[0])) < len(rows[0])
        if again or batch in self.finished:
            message = f"batch {batch}, or a prompt of it, was done before"
            raise ValueError(message)
        return rows[0]

    def _count(self, batch: int, rows: Rows) -> None:
        self.finished.add(batch)
        self._there[rows] = True
        self._keep = True

    def _sync(self) -> None:
        if self._unsynced:
            self.archive.sync()
            self._journal.append(line_of(SyncLine(synced=len(self.finished))))
            self._journal.sync()
            self._unsynced, self._synced_at = False, time.monotonic()


def _checksum(batch: int, rows: Sequence[int], crcs: Sequence[int]) -> int:
    """Return the checksum of a batch: of what its line says, then of its data, array by array."""
    return zlib.crc32(
        struct.pack(f"<{len(crcs)}I", *crcs), zlib.crc32(repr((batch, list(rows))).encode())
    )
