"""Run a command line of ``circuit`` in this process, which spares each test the start of another."""

import io
import shlex
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from circuit.cli import app, console
from circuit.errors import CircuitError


@dataclass(frozen=True)
class Done:
    """What a command printed, and its exit code."""

    exit_code: int
    stdout: str
    stderr: str
    error: CircuitError | None = None

    @property
    def output(self) -> str:
        """All that was printed."""
        return self.stdout + self.stderr


def invoke(words: Sequence[str]) -> Done:
    """Run ``circuit`` with ``words``; an exception that is no user's error is raised."""
    out, err = io.StringIO(), io.StringIO()
    code, error = 0, None
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = app.run(list(words))
        except CircuitError as problem:
            console.error(problem)
            code, error = problem.exit_code, problem
    return Done(code, out.getvalue(), err.getvalue(), error)


def run(line: str, cwd: Path, monkeypatch) -> str:
    """Return what ``circuit`` prints for ``line`` in the folder ``cwd``; it must succeed."""
    monkeypatch.chdir(cwd)
    done = invoke(shlex.split(line))
    assert done.exit_code == 0, done.output
    return done.stdout
