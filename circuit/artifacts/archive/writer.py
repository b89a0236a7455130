"""Write an archive in any order, in the memory of what is put.

Every shape is known before the start (``circuit.artifacts.archive.layout``). The whole file is
reserved under the name ``<path>.partial``, so that a full disk is noticed before the work. Rows are
put in place with ``pwrite``: nothing stays in memory and, unlike with a memory map, a full disk is
an error and not a signal that kills the process. ``finish`` renames the file; until then there is
nothing under the final name.

A writer that is opened with ``resume`` continues the partial file of a process that was killed, or
the archive itself if that process had renamed it.
"""

import errno
import os
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from circuit.artifacts.archive.dtypes import Array, to_stored
from circuit.artifacts.archive.layout import Layout
from circuit.artifacts.files.atomic import refuse_overwrite, sync_folder, write_at, write_errors
from circuit.artifacts.files.locks import lock
from circuit.artifacts.files.writer import Writer
from circuit.artifacts.manifest.manifest import digest
from circuit.errors import ArtifactError

_ZEROS = bytes(1 << 20)


class ArchiveWriter(Writer):
    """An unfinished archive: ``put`` values, then ``finish``; without it the file is removed."""

    def __init__(self, path: Path, layout: Layout, *, resume: bool = False) -> None:
        self.path, self.layout = path, layout
        self.partial = path.with_name(path.name + ".partial")
        self._renamed = resume and not self.partial.exists()
        if self._renamed and not path.exists():
            raise self._other(self.partial)
        with write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = lock(self.path if self._renamed else self.partial, path)
        try:
            with write_errors(path):
                if resume:
                    self._check_header()
                else:
                    self._reserve()
        except BaseException:
            self.close(keep=resume)
            raise

    def put(self, name: str, values: ArrayLike, first: int = 0) -> None:
        """Write ``values`` over the rows of the array ``name`` from ``first`` on."""
        self.put_stored(name, self.stored(name, values), first)

    def stored(self, name: str, values: ArrayLike) -> Array:
        """Return ``values`` as they are stored in the file: see ``to_stored``."""
        stored = to_stored(name, values, self.layout.tensors[name].dtype)
        wanted = self.layout.tensors[name].shape
        if stored.shape[1:] != wanted[1:] or stored.ndim != len(wanted):
            message = f"`{name}` takes rows of shape {wanted[1:]}, not {stored.shape[1:]}"
            raise ValueError(message)
        return stored

    def put_stored(self, name: str, stored: Array, first: int) -> None:
        """Write rows that ``stored`` made."""
        shape = self.layout.tensors[name].shape
        if shape and not 0 <= first <= first + len(stored) <= shape[0]:
            message = f"`{name}` has {shape[0]} rows"
            raise IndexError(message)
        with write_errors(self.path):
            start = self.layout.starts[name] + first * self.layout.tensors[name].stride
            write_at(self._file, stored.reshape(-1).view(np.uint8).data, start)

    def bytes_of(self, name: str, first: int, count: int) -> bytes:
        """Read back the bytes of ``count`` rows of an array."""
        stride = self.layout.tensors[name].stride
        return _read_at(self._file, count * stride, self.layout.starts[name] + first * stride)

    def sync(self) -> None:
        """Force what was put to the disk, but not the file's times."""
        with write_errors(self.path):
            getattr(os, "fdatasync", os.fsync)(self._file)

    def finish(self, *, force: bool = False) -> None:
        """Force everything to the disk and give the archive its name; keep the lock.

        With ``force`` another file of that name is replaced.
        """
        with write_errors(self.path):
            os.fsync(self._file)
            if not self._renamed:
                self._rename(force)
                self._renamed = True

    def close(self, *, keep: bool = False) -> None:
        """Release the file; remove an unfinished one, unless ``keep`` is given."""
        if self._file >= 0:
            # Removed before the lock is gone: afterwards the name may be another writer's.
            if not (self._renamed or keep):
                self.partial.unlink(missing_ok=True)
            os.close(self._file)
            self._file = -1

    def _reserve(self) -> None:
        os.ftruncate(self._file, 0)
        _reserve(self._file, self.layout.size)
        write_at(self._file, memoryview(self.layout.header), 0)

    def _check_header(self) -> None:
        header = _read_at(self._file, len(self.layout.header), 0)
        if header != self.layout.header or os.fstat(self._file).st_size != self.layout.size:
            raise self._other(self.path if self._renamed else self.partial)

    def _other(self, found: Path) -> ArtifactError:
        return ArtifactError(
            "partial-file-differs",
            f"`{found}` is not the file that the journal beside it describes",
            hint="--force starts again from nothing",
            path=str(found),
        )

    def _rename(self, force: bool) -> None:
        if self.path.is_file() and not force and digest(self.path) == digest(self.partial):
            self.partial.unlink()
            os.utime(self.path)
            return
        refuse_overwrite(self.path, force=force)
        self.partial.replace(self.path)
        sync_folder(self.path.parent)


def _reserve(file: int, size: int) -> None:
    """Allocate ``size`` bytes of disk for ``file``."""
    reserve = getattr(os, "posix_fallocate", None)
    if reserve is not None:
        try:
            return reserve(file, 0, size)  # type: ignore[no-any-return]
        except OSError as error:
            if error.errno not in {errno.EOPNOTSUPP, errno.EINVAL}:
                raise
    # macOS and some network file systems cannot reserve: write zeros instead.
    for start in range(0, size, len(_ZEROS)):
        write_at(file, memoryview(_ZEROS)[: size - start], start)
    return None


def _read_at(file: int, size: int, start: int) -> bytes:
    parts = []
    while size and (part := os.pread(file, size, start)):
        parts.append(part)
        size, start = size - len(part), start + len(part)
    return b"".join(parts)
