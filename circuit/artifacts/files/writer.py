"""What every writer of a file is in a ``with`` block: closed at its end, however that comes."""

from contextlib import AbstractContextManager
from types import TracebackType


class Writer(AbstractContextManager):  # type: ignore[type-arg]
    """A context manager that returns itself and closes itself."""

    def close(self) -> None:
        """Release what is open."""
        raise NotImplementedError

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
