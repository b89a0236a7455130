"""Run a command line of ``circuit`` in this process, which spares each test the start of another."""

import shlex
from pathlib import Path

from typer.testing import CliRunner

from circuit.cli.app import app


def run(line: str, cwd: Path, monkeypatch) -> str:
    """Return what ``circuit`` prints for ``line`` in the folder ``cwd``; it must succeed."""
    monkeypatch.chdir(cwd)
    done = CliRunner().invoke(app, shlex.split(line), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout
