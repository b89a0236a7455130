"""The errors that a user can cause: one sentence that says what and where, and a hint.

The command line turns each into ``error: …`` and ``hint: …`` on stderr and the class's exit code.
Any other exception is a bug and keeps its traceback.
"""


class CircuitError(Exception):
    """What went wrong, in one sentence without a full stop, and what to do about it."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


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
    """Ctrl-C: what is done stays, and the same command goes on."""

    exit_code = 130
