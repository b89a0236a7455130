"""Answers: what a model went on to write after each prompt, beside the archive of its activations.

``x.answers.jsonl``, schema ``circuit.answers/1``: a header, then one line of canonical JSON per prompt, by row.

    {"criteria": ["function_call"], "key": digest of the run, "max_tokens": 32, "schema": "circuit.answers/1"}
    {"finished": true, "n_tokens": 17, "row": 0, "text": "<tool_call>…", "verdicts": {"function_call": "get_weather"}}

``finished`` says that the model ended the answer itself. A verdict is whether the text meets the criterion, and of
a tool call the name of the tool where it can be read. ``measures``, where there are any, are numbers about the text.

Answers are appended to ``x.answers.jsonl.partial`` in whatever order they come, each unit of rows in one write.
After ``kill -9`` the writer goes on from the lines that are whole. ``finish`` puts them in the order of
the rows, so that the bytes do not depend on the order or on interruptions. In memory there is the place of each line only.
"""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from circuit.artifacts.files.atomic import (
    explained,
    refuse_overwrite,
    remove_temporaries,
    replace_file,
)
from circuit.artifacts.files.documents import canonical_json, readable, schema_of, validated
from circuit.artifacts.files.locks import lock
from circuit.artifacts.files.paths import manifest_path
from circuit.artifacts.files.writer import Closing
from circuit.artifacts.manifest.manifest import Record
from circuit.errors import ArtifactError
from circuit.values import schemas

SUFFIX = ".answers.jsonl"


class Answer(Record):
    """What the model wrote after the prompt of one row, and what was made of it."""

    row: int
    text: str
    n_tokens: int
    finished: bool
    verdicts: dict[str, bool | str]
    measures: dict[str, bool | float | None] = Field(
        default_factory=dict, exclude_if=lambda measures: not measures
    )


class Header(Record):
    """What was asked for; ``key`` tells runs apart that differ in anything else."""

    schema_name: str = Field(schemas.ANSWERS, alias="schema")
    key: str
    max_tokens: int
    criteria: tuple[str, ...]


@dataclass(frozen=True)
class Answers:
    """The answers of an archive, by row."""

    header: Header
    by_row: Mapping[int, Answer]


class AnswersWriter(Closing):
    """Answers in the making, of one process at a time: ``put`` them unit by unit, then ``finish``.

    ``rows`` are the rows that there will be. Leaving the context keeps what was put, for the same
    command to go on with; ``discard`` removes it. With ``force`` another run's answers are replaced.
    """

    def __init__(self, stem: Path, header: Header, rows: range, *, force: bool = False) -> None:
        self.path, self.rows = answers_path(stem), rows
        self.partial = self.path.with_name(self.path.name + ".partial")
        self._header = _line(header)
        self._starts = np.full(len(rows), -1, dtype=np.int64)
        self._lengths = np.zeros(len(rows), dtype=np.int64)
        with explained(self.path):
            self.partial.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.fdopen(lock(self.partial, self.path), "r+b")
        try:
            remove_temporaries(self.path)
            with explained(self.path):
                self._begin(force=force)
            self._read()
        except BaseException:
            self._file.close()
            raise

    def has(self, rows: Iterable[int]) -> bool:
        """Say whether every one of ``rows`` was put, now or by a run that was interrupted."""
        return all(self._starts[self.rows.index(int(row))] >= 0 for row in rows)

    def put(self, answers: Sequence[Answer]) -> None:
        """Append the answers of one unit and force them to the disk."""
        lines = [_line(answer) for answer in answers]
        with explained(self.path):
            end = self._file.seek(0, os.SEEK_END)
            self._file.write(b"".join(lines))
            self._file.flush()
            os.fsync(self._file.fileno())
        for answer, line in zip(answers, lines, strict=True):
            self._note(answer.row, end, len(line))
            end += len(line)

    def finish(self) -> Path:
        """Write every answer in the order of the rows, under the final name."""
        if not self.has(self.rows):
            missing = self.rows[int(np.flatnonzero(self._starts < 0)[0])]
            message = f"row {missing} has no answer"
            raise ValueError(message)
        replace_file(self.path, self._in_order())
        self.discard()
        return self.path

    def discard(self) -> None:
        """Remove what was put so far."""
        self.partial.unlink(missing_ok=True)
        self._file.close()

    def close(self) -> None:
        """Let go of the file, so that the same command can go on with it."""
        self._file.close()

    def _begin(self, *, force: bool) -> None:
        """Find what an earlier run left, or write the header; refuse what another run left."""
        begun = self._file.readline()
        if begun == self._header:
            return
        if begun.endswith(b"\n") and not force:
            message = f"`{self.partial}` is what an interrupted run with other options left"
            hint = "repeat that command, choose another name, or discard it with --force"
            raise ArtifactError(message, hint=hint)
        self._file.seek(0)
        self._file.truncate()
        if not force and self.path.exists():
            self._take_up()  # the run ended before it wrote its manifest
        else:
            self._file.write(self._header)

    def _take_up(self) -> None:
        with self.path.open("rb") as whole:
            if whole.readline() != self._header:
                self.discard()
                refuse_overwrite(self.path, force=False)
            whole.seek(0)
            shutil.copyfileobj(whole, self._file)

    def _read(self) -> None:
        """Note every whole line; whatever follows the first one that is not is cut off."""
        end = len(self._header)
        self._file.flush()
        self._file.seek(end)
        for line in self._file:
            answer = _parsed(line)
            if answer is None or answer.row not in self.rows:
                break
            self._note(answer.row, end, len(line))
            end += len(line)
        with explained(self.path):
            self._file.truncate(end)

    def _note(self, row: int, start: int, length: int) -> None:
        index = self.rows.index(row)
        self._starts[index], self._lengths[index] = start, length

    def _in_order(self) -> Iterator[bytes]:
        yield self._header
        for length, start in zip(self._lengths.tolist(), self._starts.tolist(), strict=True):
            yield os.pread(self._file.fileno(), length, start)


def read_answers(paths: Sequence[Path]) -> Answers:
    """Read the answers of an archive; a sharded one has a file per shard."""
    headers, by_row = set(), {}
    for path in paths:
        header, answers = open_answers(path)
        headers.add(header)
        by_row.update({answer.row: answer for answer in answers})
    if len(headers) != 1:
        message = f"`{paths[0]}` and its other shards are not of one run"
        raise ArtifactError(message, hint="collect all shards with the same options")
    return Answers(headers.pop(), by_row)


def open_answers(path: Path) -> tuple[Header, Iterator[Answer]]:
    """Return the header of a file of answers, and its answers one by one."""
    lines = _lines(path)
    header = next(lines, None)
    if schema_of(header) != schemas.ANSWERS:
        message = f"`{path}` does not hold answers"
        raise ArtifactError(message, hint="collect again with --generate")
    return validated(Header, header, path), (validated(Answer, line, path) for line in lines)


def _lines(path: Path) -> Iterator[Any]:
    with readable(path), path.open("rb") as file:
        for line in file:
            try:
                yield json.loads(line)
            except ValueError as error:
                message = f"`{path}` is damaged"
                raise ArtifactError(message, hint="collect again with --generate") from error


def answers_path(stem: Path) -> Path:
    """Return ``x.answers.jsonl`` for ``x.json``, ``x.safetensors`` and the stem ``x``."""
    manifest = manifest_path(stem)
    return manifest.with_name(manifest.name.removesuffix(".json") + SUFFIX)


def _line(record: Record) -> bytes:
    return canonical_json(record).encode() + b"\n"


def _parsed(line: bytes) -> Answer | None:
    try:
        return Answer.model_validate_json(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
