"""Journals: one run's lines, whole or not there, locked, and never taken for another run's."""

import json
from pathlib import Path

import pytest
from errors import raises
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from circuit.artifacts.files.journal import Journal, read_journal
from circuit.errors import ArtifactError

COVERS = {"parameters": {"seed": 0}}


def number(line: bytes) -> int:
    match json.loads(line):
        case {"n": int(n)}:
            return n
    raise ValueError


def opened(folder: Path) -> Journal[int]:
    return Journal(folder / "x.journal", folder / "x", number)


def written(folder: Path, *numbers: int, force: bool = False, covers=COVERS) -> bytes:
    """Append ``numbers`` to a new journal, or to one that the same run left."""
    with opened(folder) as journal:
        if not journal.resume(covers, force=force):
            journal.start()
        for n in numbers:
            journal.append(b'{"n":%d}\n' % n)
        return journal.path.read_bytes()


def values(folder: Path, *, force: bool = False, covers=COVERS) -> list[int]:
    with opened(folder) as journal:
        return [entry.value for entry in journal.resume(covers, force=force)]


def test_a_symbolic_link_is_not_followed(tmp_path: Path):
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    (tmp_path / "x.journal").symlink_to(mine)
    with raises(ArtifactError, "symbolic-link"):
        opened(tmp_path)
    assert mine.read_text() == "mine"


def test_entries_come_back_with_their_places(tmp_path: Path):
    data = written(tmp_path, 3, 14)
    with opened(tmp_path) as journal:
        entries = journal.resume(COVERS, force=False)
        assert [entry.value for entry in entries] == [3, 14]
        assert [journal.read(e.start, e.length) for e in entries] == [b'{"n":3}\n', b'{"n":14}\n']
        journal.cut(entries[1].start)
    assert values(tmp_path) == [3]
    header = json.loads(data.splitlines()[0])
    assert header["schema"] == "circuit.journal/1"
    assert header["covers"] == COVERS
    assert read_journal(tmp_path / "x.journal", number).header.covers == COVERS


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_whatever_the_end_lost_or_gained_whole_lines_are_kept(tmp_path: Path, data):
    (tmp_path / "x.journal").unlink(missing_ok=True)
    whole = written(tmp_path, 1, 22, 333)
    end = data.draw(st.integers(0, len(whole)))
    tail = data.draw(st.binary(max_size=5)).replace(b"\n", b"")
    (tmp_path / "x.journal").write_bytes(whole[:end] + tail)
    kept = max(0, whole[:end].count(b"\n") - 1)
    assert values(tmp_path) == [1, 22, 333][:kept]
    assert written(tmp_path, *[1, 22, 333][kept:]) == whole


@pytest.mark.parametrize("damage", [b"\xff\n", b"{}\n", b'{"n":\n', b"[]\n"])
def test_a_damaged_line_ends_the_journal(tmp_path: Path, damage: bytes):
    lines = written(tmp_path, 1, 2, 3).splitlines(keepends=True)
    (tmp_path / "x.journal").write_bytes(b"".join([*lines[:2], damage, lines[3]]))
    assert values(tmp_path) == [1]
    assert (tmp_path / "x.journal").read_bytes() == b"".join(lines[:2])


def test_a_header_in_the_place_of_an_entry_ends_the_journal(tmp_path: Path):
    lines = written(tmp_path, 1, 2).splitlines(keepends=True)
    (tmp_path / "x.journal").write_bytes(b"".join([lines[0], lines[1], lines[0], lines[2]]))
    assert values(tmp_path) == [1]


def test_entries_of_another_run_are_refused_without_force(tmp_path: Path):
    before = written(tmp_path, 1)
    with raises(
        ArtifactError, "other-run-unfinished", differences="`parameters.seed` (5, it was 0)"
    ):
        values(tmp_path, covers={"parameters": {"seed": 5}})
    assert (tmp_path / "x.journal").read_bytes() == before
    assert values(tmp_path, covers={"parameters": {"seed": 5}}, force=True) == []


def test_another_run_without_entries_is_replaced(tmp_path: Path):
    written(tmp_path)
    assert values(tmp_path, covers={}) == []
    written(tmp_path, 4, covers={})
    assert values(tmp_path, covers={}) == [4]


def test_a_forced_run_resumes_what_the_same_run_left_forced(tmp_path: Path):
    written(tmp_path, 1)
    assert values(tmp_path, force=True) == []
    (tmp_path / "x.journal").unlink()
    written(tmp_path, 1, force=True)
    assert values(tmp_path, force=True) == [1]
    assert values(tmp_path) == [1]


def test_a_damaged_header_is_an_error_without_force(tmp_path: Path):
    (tmp_path / "x.journal").write_bytes(b"{}\n")
    with raises(ArtifactError, "journal-damaged"):
        values(tmp_path)
    assert values(tmp_path, force=True) == []


def test_one_process_at_a_time(tmp_path: Path):
    with opened(tmp_path):
        with raises(ArtifactError, "output-locked", output=str(tmp_path / "x")):
            opened(tmp_path)
    with opened(tmp_path) as journal:
        journal.remove()
    assert list(tmp_path.iterdir()) == []
