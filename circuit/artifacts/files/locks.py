"""One writer at a time: a file that a process has locked (``flock``), and that still has its name.

The kernel lets go of a lock when its process ends, however it ends. What is locked is a file, not a name: between
opening and locking, the process that had the lock may have renamed or removed the file. The winner of such a file
would hold a lock that nobody asks for, so it looks again.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from circuit.artifacts.files.atomic import explained
from circuit.errors import ArtifactError


def lock(path: Path, wanted: Path, *, patience: float = 0.0) -> int:
    """Open ``path``, made if need be, for this process alone, to write ``wanted``; return its descriptor.

    Another process has ``patience`` seconds to let go of it.
    """
    deadline = time.monotonic() + patience
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(file, path):
                return file
        except BlockingIOError as error:
            os.close(file)
            if time.monotonic() >= deadline:
                message = f"`{wanted}` is being written by another process"
                raise ArtifactError(message, hint="wait for it, or choose another name") from error
            time.sleep(0.05)
            continue
        except BaseException:
            os.close(file)
            raise
        os.close(file)


@contextmanager
def locked(path: Path, wanted: Path, *, patience: float) -> Iterator[None]:
    """Keep others away by a file that is there only meanwhile."""
    with explained(wanted):
        file = lock(path, wanted, patience=patience)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            os.close(file)


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False
