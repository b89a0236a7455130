"""A forked command is the command: the same output, exit status and files as one that is started."""

import os

import pytest
from processes import run_circuit, start_circuit


@pytest.mark.parametrize("line", ["--version", "dataset check --json no_such_set", "nonsense", ""])
def test_a_forked_command_says_and_ends_as_a_started_one(line, tmp_path):
    forked, started = (run(*line.split(), cwd=tmp_path) for run in (run_circuit, start_circuit))
    assert (forked.returncode, forked.stdout, forked.stderr) == (
        started.returncode,
        started.stdout,
        started.stderr,
    )


def test_it_writes_in_its_own_folder_and_leaves_the_server_as_it_was(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        done = run_circuit(
            *["dataset", "create", "-o", "set.json", "--no-tool", "8"], cwd=tmp_path / name
        )
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "a/set.json").read_bytes() == (tmp_path / "b/set.json").read_bytes()


def test_a_variable_that_python_reads_when_it_starts_counts(tmp_path):
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = run_circuit("dataset", "check", "sét", cwd=tmp_path, env=env)
    assert done.returncode == 2
    assert r"s\xe9t" in done.stderr
