"""Answers: the bytes do not depend on the order, interruptions and damage."""

import json
import os
import signal

import pytest
from errors import raises
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from circuit.artifacts.activations.answers import (
    Answer,
    AnswersWriter,
    Header,
    answers_path,
    open_answers,
    read_answers,
)
from circuit.errors import ArtifactError

HEADER = Header(key="k", max_tokens=8, criteria=("function_call", "regex:é"))
N = 12
quick = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def answer(row):
    return Answer(
        row=row,
        text=f"é\n☃ {row}" * row,
        n_tokens=row,
        finished=row < 8,
        verdicts={"function_call": "tool" if row % 2 else False, "regex:é": True},
    )


def write(stem, units, **kinds):
    """Put ``units`` that are not there yet and finish."""
    with AnswersWriter(stem, HEADER, range(N), **kinds) as writer:
        for rows in units:
            if not writer.has(rows):
                writer.put([answer(row) for row in rows])
        return writer.finish()


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return write(tmp_path_factory.mktemp("whole") / "x", [range(N)]).read_bytes()


def test_what_was_put_is_read(tmp_path, expected):
    path = write(tmp_path / "x.safetensors", [[3, 1], [0, *range(4, N)], [2]])
    assert path == tmp_path / "x.answers.jsonl" == answers_path(tmp_path / "x.json")
    assert path.read_bytes() == expected
    assert list(tmp_path.iterdir()) == [path]
    found = read_answers([path])
    assert found.header == HEADER
    assert [found.by_row[row] for row in range(N)] == [answer(row) for row in range(N)]
    assert found.by_row[1].verdicts == {"function_call": "tool", "regex:é": True}
    assert [json.loads(line).get("row") for line in path.read_text().split("\n")[:-1]] == [
        None,
        *range(N),
    ]


@quick
@given(
    order=st.permutations(range(N)),
    sizes=st.lists(st.integers(1, 4), min_size=N, max_size=N),
    stop=st.integers(0, N),
    lost=st.integers(0, 200),
)
def test_an_interrupted_run_ends_with_the_same_bytes(tmp_path, expected, order, sizes, stop, lost):
    """Whatever units were put, and whatever the end of the file lost, the next run completes it."""
    units, left = [], list(order)
    for size in sizes:
        units, left = ([*units, left[:size]], left[size:]) if left else (units, left)
    stem = tmp_path / "x"
    answers_path(stem).unlink(missing_ok=True)
    with AnswersWriter(stem, HEADER, range(N)) as writer:
        for rows in units[:stop]:
            writer.put([answer(row) for row in rows])
    size = writer.partial.stat().st_size
    header = len(expected.splitlines(keepends=True)[0])
    os.truncate(writer.partial, max(header, size - lost))
    assert write(stem, units).read_bytes() == expected


def test_lines_after_damage_are_written_again(tmp_path, expected):
    with AnswersWriter(tmp_path / "x", HEADER, range(N)) as writer:
        writer.put([answer(row) for row in range(6)])
    lines = writer.partial.read_bytes().splitlines(keepends=True)
    for damage in (b"\x00\xff\n", b'{"row":1}\n', lines[2].replace(b'"row":1', b'"row":99')):
        writer.partial.write_bytes(b"".join([*lines[:2], damage, *lines[3:]]))
        with AnswersWriter(tmp_path / "x", HEADER, range(N)) as resumed:
            assert resumed.has([0])
            assert not resumed.has([1])
    assert write(tmp_path / "x", [range(6), range(6, N)]).read_bytes() == expected


def test_a_run_that_ended_before_its_manifest_is_resumed(tmp_path, expected):
    write(tmp_path / "x", [range(N)])
    with AnswersWriter(tmp_path / "x", HEADER, range(N)) as writer:
        assert writer.has(range(N))
        assert writer.finish().read_bytes() == expected


def test_another_run_is_refused_unless_forced(tmp_path, expected):
    other = Header(key="other", max_tokens=8, criteria=HEADER.criteria)
    with AnswersWriter(tmp_path / "x", other, range(N)) as writer:
        writer.put([answer(0)])
    differences = '`key` ("k", it was "other")'
    with raises(ArtifactError, "other-run-unfinished", differences=differences):
        write(tmp_path / "x", [range(N)])
    assert write(tmp_path / "x", [range(N)], force=True).read_bytes() == expected
    with raises(ArtifactError, "output-exists"):
        AnswersWriter(tmp_path / "x", other, range(N))
    with AnswersWriter(tmp_path / "x", other, range(N), force=True) as writer:
        assert not writer.has([0])
        writer.discard()
    assert answers_path(tmp_path / "x").read_bytes() == expected


def test_two_runs_do_not_write_the_same_answers(tmp_path):
    with AnswersWriter(tmp_path / "x", HEADER, range(N)):
        with raises(ArtifactError, "output-locked"):
            AnswersWriter(tmp_path / "x", HEADER, range(N), force=True)
    AnswersWriter(tmp_path / "x", HEADER, range(N)).discard()
    assert list(tmp_path.iterdir()) == []


def test_a_header_that_was_torn_is_written_again(tmp_path, expected):
    answers_path(tmp_path / "x").with_suffix(".jsonl.partial").write_bytes(expected[:20])
    assert write(tmp_path / "x", [range(N)]).read_bytes() == expected


def test_a_folder_that_is_a_file_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with raises(ArtifactError, "not-a-folder"):
        AnswersWriter(tmp_path / "file" / "x", HEADER, range(N))


def test_a_forced_run_resumes_its_own_answers(tmp_path):
    with AnswersWriter(tmp_path / "x", HEADER, range(N), force=True) as writer:
        writer.put([answer(3)])
    with AnswersWriter(tmp_path / "x", HEADER, range(N), force=True) as writer:
        assert writer.has([3])
        with pytest.raises(ValueError, match="row 0 has no answer"):
            writer.finish()


def test_kill_9_loses_the_torn_line_only(tmp_path, expected):
    if (child := os.fork()) == 0:
        writer = AnswersWriter(tmp_path / "x", HEADER, range(N))
        writer.put([answer(5), answer(2)])
        with writer.partial.open("ab", buffering=0) as file:
            file.write(b'{"finished":tr')
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    with AnswersWriter(tmp_path / "x", HEADER, range(N)) as writer:
        assert writer.has([2, 5])
    units = [[5, 2], [row for row in range(N) if row not in (2, 5)]]
    assert write(tmp_path / "x", units).read_bytes() == expected


def test_shards_are_joined_and_must_be_of_one_run(tmp_path):
    paths = []
    for name, rows in (("a", range(5)), ("b", range(5, N))):
        with AnswersWriter(tmp_path / name, HEADER, rows) as writer:
            writer.put([answer(row) for row in rows])
            paths.append(writer.finish())
    assert list(read_answers(paths).by_row) == list(range(N))
    other = Header(key="other", max_tokens=8, criteria=HEADER.criteria)
    with AnswersWriter(tmp_path / "c", other, range(0)) as writer:
        paths.append(writer.finish())
    with raises(ArtifactError, "shards-differ"):
        read_answers(paths)


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "x.answers.jsonl"
    with raises(ArtifactError, "file-not-found"):
        read_answers([path])
    for text, code in (("", "wrong-schema"), ("{}\n", "wrong-schema"), ("no\n", "answers-damaged")):
        path.write_text(text)
        with raises(ArtifactError, code, path=str(path)):
            read_answers([path])
    write(tmp_path / "x", [range(N)], force=True)
    path.write_bytes(path.read_bytes()[:-20])
    with raises(ArtifactError, "answers-damaged"):
        list(open_answers(path)[1])
