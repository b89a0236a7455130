"""The errors that a user can cause: a code, one sentence that says what and where, and a hint.

The command line turns each into ``error: …`` and ``hint: …`` on stderr and the class's exit code.
Any other exception is a bug and keeps its traceback.

A code is stable and says what is wrong in words that a program can compare
(``layer-out-of-range``); the same fault has the same code wherever it is found. ``fields`` hold the
values that the sentence names. Tests compare codes and fields; ``tests/sentences.txt`` holds
all sentences.
"""

from typing import Self


class CircuitError(Exception):
    """What went wrong, in one sentence without a full stop, and what to do about it."""

    exit_code = 1

    def __init__(self, code: str, message: str, *, hint: str = "", **fields: object) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.fields = fields

    def __reduce__(self) -> tuple[object, ...]:
        """Cross from one process to another with everything that it says."""
        return _again, (type(self), self.code, self.message, self.hint, self.fields)

    def within(self, place: str) -> Self:
        """Return the same error with a sentence that begins with where it happened."""
        return type(self)(self.code, f"{place}: {self.message}", hint=self.hint, **self.fields)


def _again(
    kind: type[CircuitError], code: str, message: str, hint: str, fields: dict[str, object]
) -> CircuitError:
    made: CircuitError = kind.__new__(kind)
    CircuitError.__init__(made, code, message, hint=hint)
    made.fields = fields
    return made


def reason_of(error: BaseException, most: int = 12) -> str:
    """Return what another package said, all its lines as one; the name of its class if nothing."""
    lines = [line.strip().rstrip(",;") for line in str(error).splitlines() if line.strip()]
    rest = [f"and {len(lines) - most} more lines"] if len(lines) > most else []
    text = "; ".join([*lines[:most], *rest]).replace(":; ", ": ")
    return text or type(error).__name__


class UsageError(CircuitError):
    """The command line asks for something that does not exist: exit code 2."""

    exit_code = 2


class DataError(CircuitError):
    """Prompts, labels or arrays cannot answer the question that was asked of them."""


class ArtifactError(CircuitError):
    """A file is missing, damaged, of another schema, or does not belong to its neighbours."""


class ModelError(CircuitError):
    """A model cannot be loaded, lacks a site, or is not the one that an artifact came from."""


class StoppedError(CircuitError):
    """Ctrl-C: what is done stays, and the same command resumes."""

    exit_code = 130
