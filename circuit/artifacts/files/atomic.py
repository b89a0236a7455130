"""Files that are there whole or not at all.

A file is written under a temporary name in its own folder, forced to the disk, and then renamed
(``os.replace``), which POSIX makes atomic. Whatever goes wrong before that removes the temporary file.

Nothing that differs is overwritten without ``force``. An identical file is kept, but its time is set to
now: make(1) must see that the command which should write it has run.
"""

import errno
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path

from circuit.errors import ArtifactError


def write_file(path: Path, data: bytes, *, force: bool = False) -> None:
    """Write ``data`` to ``path``, unless something else is there and ``force`` is not given."""
    with explained(path):
        if is_written(path, data, force=force):
            os.utime(path)
        else:
            replace_file(path, [data])


def is_written(path: Path, data: bytes, *, force: bool = False) -> bool:
    """Say whether ``data`` is at ``path`` already; raise when something else is and ``force`` is not given."""
    with explained(path):
        if path.is_file() and path.read_bytes() == data:
            return True
    refuse_overwrite(path, force=force)
    return False


def replace_file(path: Path, parts: Iterable[bytes]) -> None:
    """Put ``parts``, one after the other, at ``path`` in one step, whatever was there."""
    # Two machines that share a disk may have processes of one number.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.writelines(parts)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def remove_temporaries(path: Path) -> None:
    """Remove what a killed process left of ``path``; only for who keeps other writers away from it."""
    for temporary in path.parent.glob(f".{escape(path.name)}.*.tmp"):
        temporary.unlink(missing_ok=True)


def refuse_overwrite(path: Path, *, force: bool) -> None:
    """Raise when ``path`` is there already and may not be replaced."""
    if path.is_dir():
        message = f"`{path}` is a folder"
        raise ArtifactError(message, hint="give the name of a file")
    if path.exists() and not force:
        message = f"`{path}` is already there and holds something else"
        raise ArtifactError(message, hint="--force overwrites it, or choose another name")


@contextmanager
def removed_on_failure(path: Path) -> Iterator[None]:
    """Take back ``path``, which is of no use without what is being written now."""
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_at(file: int, data: memoryview, start: int) -> None:
    """Write all of ``data`` from the byte ``start`` of an open file on."""
    while data:
        written = os.pwrite(file, data, start)
        data, start = data[written:], start + written


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write ``path`` into one sentence and a hint."""
    try:
        yield
    except OSError as error:
        message, hint = _explanation(path, error)
        raise ArtifactError(message, hint=hint) from error


def _explanation(path: Path, error: OSError) -> tuple[str, str]:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            return (
                f"there is no space left to write `{path}`",
                "free some space, or use another disk",
            )
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return (
                f"`{path}` cannot be written: the folder is not writable",
                "choose another folder",
            )
        case errno.ENOTDIR | errno.EEXIST:
            return f"`{path.parent}` is not a folder", "choose another folder"
    return f"`{path}` cannot be written: {error.strerror}", "choose another name or folder"
