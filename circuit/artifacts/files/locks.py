"""One writer at a time: a file that a process has locked (``flock``), and that still has its name.

The kernel releases a lock when its process ends, however it ends. The lock belongs to a file, not
to a name: between opening and locking, the process that had the lock may have renamed or removed
the file. A lock on such a file excludes nobody, so the name is checked again after locking.
"""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from circuit.artifacts.files.atomic import write_errors
from circuit.errors import ArtifactError


def lock(path: Path, output: Path, *, timeout: float = 0.0) -> int:
    """Open ``path`` for this process alone, to write ``output``, and return its descriptor.

    The file is made if it does not exist. Raises ``ArtifactError`` if another process still holds
    it after ``timeout`` seconds, and for a symbolic link: what it points to would be overwritten.
    """
    deadline = time.monotonic() + timeout
    while True:
        file = _opened(path, output)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(file, path):
                return file
        except BlockingIOError as error:
            os.close(file)
            if time.monotonic() >= deadline:
                raise ArtifactError(
                    "output-locked",
                    f"`{output}` is being written by another process",
                    hint="wait for it, or choose another name",
                    output=str(output),
                ) from error
            time.sleep(0.05)
            continue
        except BaseException:
            os.close(file)
            raise
        os.close(file)


@contextmanager
def locked(path: Path, output: Path, *, timeout: float) -> Iterator[None]:
    """Exclude other processes by a lock file that is removed afterwards."""
    with write_errors(output):
        file = lock(path, output, timeout=timeout)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            os.close(file)


def _opened(path: Path, output: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise ArtifactError(
            "symbolic-link",
            f"`{path}` is a symbolic link, and `{output}` is written there first",
            hint="remove it, or choose another name",
            path=str(path),
        ) from error


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False
