"""Measurements of a long run: kept in a journal, returned bit by bit, never another run's."""

import json
import os
from pathlib import Path

import pytest
from errors import raises

from circuit.artifacts.files.measurements import Measurements
from circuit.errors import ArtifactError

VALUE = {"m": [0.1, 1e-300, -0.0], "n": 3}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """The output of a run that was interrupted after one measurement."""
    with Measurements(tmp_path / "x.json", {"a": 1}) as kept:
        assert kept.get("u", lambda: VALUE) == VALUE
    return tmp_path / "x.json"


def partial(output: Path) -> Path:
    return output.with_name("x.json.partial")


def test_the_same_run_resumes(output: Path):
    with Measurements(output, {"a": 1}) as kept:
        found = kept.get("u", lambda: None)
        kept.discard()
    assert repr(found) == repr(VALUE)
    assert list(output.parent.iterdir()) == []


def test_without_an_output_nothing_is_written(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Measurements(None, {}) as kept:
        assert [kept.get("u", lambda: 1), kept.get("u", lambda: 2)] == [1, 1]
        kept.discard()
    assert list(tmp_path.iterdir()) == []


def test_another_runs_measurements_are_refused_without_force(output: Path):
    before = partial(output).read_bytes()
    with raises(ArtifactError, "other-run-unfinished", output=str(output)) as caught:
        Measurements(output, {"a": 2})
    assert "`a` (2, it was 1)" in caught.value.message
    assert partial(output).read_bytes() == before
    with Measurements(output, {"a": 2}, force=True) as kept:
        assert kept.get("u", lambda: 7) == 7
    with Measurements(output, {"a": 2}, force=True) as kept:
        assert kept.get("u", lambda: 8) == 7


def test_two_processes_do_not_measure_for_the_same_output(output: Path):
    with Measurements(output, {"a": 1}):
        for force in (False, True):
            with raises(ArtifactError, "output-locked", output=str(output)):
                Measurements(output, {"a": 1}, force=force)


@pytest.mark.parametrize("damage", [b"\x00\xff\n", b"null\n", b'{"name": 1}\n', b'{"name": "u2", '])
def test_a_damaged_line_and_what_follows_is_measured_again(output: Path, damage: bytes):
    with Measurements(output, {"a": 1}) as kept:
        kept.get("v", lambda: 2)
    header, first, second = partial(output).read_bytes().splitlines(keepends=True)
    partial(output).write_bytes(header + damage + (second if damage.endswith(b"\n") else b""))
    with Measurements(output, {"a": 1}) as kept:
        assert [kept.get("u", lambda: 5), kept.get("v", lambda: 6)] == [5, 6]
    names = [json.loads(line).get("name") for line in partial(output).read_bytes().splitlines()]
    assert names == [None, "u", "v"]
    assert first


def test_a_full_disk_keeps_what_was_measured(output: Path, monkeypatch):
    really = os.pwrite

    def full(file, data, start):
        really(file, bytes(data)[: len(data) // 2], start)
        raise OSError(28, "No space left on device")

    with Measurements(output, {"a": 1}) as kept:
        monkeypatch.setattr(os, "pwrite", full)
        with raises(ArtifactError, "no-space-left"):
            kept.get("v", lambda: 2)
    monkeypatch.undo()
    with Measurements(output, {"a": 1}) as kept:
        assert [kept.get("u", lambda: 0), kept.get("v", lambda: 3)] == [VALUE, 3]
