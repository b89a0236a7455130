"""Files that are there whole or not at all.

A file is written under a temporary name in its own folder, forced to the disk, and then renamed
(``os.replace``), which POSIX makes atomic. A failure before that removes the temporary file.

A file with other content is not overwritten without ``force``. An identical file is kept, but its
time is set to now: make(1) must see that the command that should write it has run.
"""

import errno
import os
import secrets
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path

from circuit.errors import ArtifactError


def write_file(path: Path, data: bytes, *, force: bool = False) -> None:
    """Write ``data`` to ``path``; raise if other content is there and ``force`` is not given."""
    with write_errors(path):
        if is_written(path, data, force=force):
            os.utime(path)
        else:
            replace_file(path, [data])


def is_written(path: Path, data: bytes, *, force: bool = False) -> bool:
    """Return whether ``path`` holds ``data`` already.

    Raises ``ArtifactError`` if it holds something else and ``force`` is not given.
    """
    with write_errors(path):
        if path.is_file() and path.read_bytes() == data:
            return True
    refuse_overwrite(path, force=force)
    return False


def replace_file(path: Path, parts: Iterable[bytes]) -> None:
    """Write ``parts``, one after the other, to ``path`` in one step, and replace what was there."""
    # Two machines that share a disk may have processes of one number.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                file.writelines(parts)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def remove_temporaries(path: Path) -> None:
    """Remove the temporary files of ``path`` that killed processes left; call it under a lock."""
    for temporary in path.parent.glob(f".{escape(path.name)}.*.tmp"):
        temporary.unlink(missing_ok=True)


def refuse_overwrite(path: Path, *, force: bool) -> None:
    """Raise ``ArtifactError`` when ``path`` exists and may not be replaced."""
    if path.is_dir():
        raise ArtifactError(
            "output-is-folder",
            f"`{path}` is a folder",
            hint="give the name of a file",
            path=str(path),
        )
    if path.exists() and not force:
        raise ArtifactError(
            "output-exists",
            f"`{path}` is already there and holds something else",
            hint="--force overwrites it, or choose another name",
            path=str(path),
        )


@contextmanager
def remove_on_failure(path: Path) -> Iterator[None]:
    """Remove ``path`` if the block fails: it is of no use without what the block writes."""
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def check_writable(path: Path) -> None:
    """Raise ``ArtifactError`` now where a file could not be written to ``path`` after long work."""
    folder = next(folder for folder in path.absolute().parents if folder.exists())
    with write_errors(path), tempfile.TemporaryFile(dir=folder):
        pass


def sync_folder(folder: Path) -> None:
    """Force the names in ``folder`` to the disk, so that a rename survives a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_at(file: int, data: memoryview, start: int) -> None:
    """Write all of ``data`` to an open file, from the byte ``start`` on."""
    while data:
        written = os.pwrite(file, data, start)
        data, start = data[written:], start + written


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Turn an ``OSError`` in the writing of ``path`` into an ``ArtifactError``."""
    try:
        yield
    except OSError as error:
        raise _write_error(path, error) from error


def _write_error(path: Path, error: OSError) -> ArtifactError:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            return ArtifactError(
                "no-space-left",
                f"there is no space left to write `{path}`",
                hint="free some space, or use another disk",
                path=str(path),
            )
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return ArtifactError(
                "not-writable",
                f"`{path}` cannot be written: the folder is not writable",
                hint="choose another folder",
                path=str(path),
            )
        case errno.ENOTDIR | errno.EEXIST:
            return ArtifactError(
                "not-a-folder",
                f"`{path.parent}` is not a folder",
                hint="choose another folder",
                path=str(path.parent),
            )
    return ArtifactError(
        "write-failed",
        f"`{path}` cannot be written: {error.strerror}",
        hint="choose another name or folder",
        path=str(path),
    )
