"""Answers: what a model generates after each prompt, in a file beside the archive of activations.

``x.answers.jsonl``, schema ``circuit.answers/1``: a header, then one line of canonical JSON per
prompt, in the order of the rows.

    {"criteria": ["function_call"], "key": digest of the run, "max_tokens": 32, "schema": …}
    {"finished": true, "n_tokens": 17, "row": 0, "text": "<tool_call>…",
     "verdicts": {"function_call": "get_weather"}}

``finished``: the model ended the answer itself. A verdict is whether the text meets the criterion;
for a tool call it is the name of the tool, if it can be read. ``measures``, if any, are numbers
about the text.

Answers are appended to the journal ``x.answers.jsonl.partial`` in the order in which they come, the
rows of a batch in one write. After ``kill -9`` the same command resumes from the lines that are
whole. ``finish`` sorts them by row, so that the bytes do not depend on the order or on
interruptions. Memory holds only the place of each line.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from circuit.artifacts.files.atomic import refuse_overwrite, remove_temporaries, replace_file
from circuit.artifacts.files.documents import (
    canonical_json,
    plain,
    read_errors,
    schema_of,
    validated,
)
from circuit.artifacts.files.journal import Journal
from circuit.artifacts.files.paths import manifest_path
from circuit.artifacts.files.records import Record
from circuit.artifacts.files.writer import Writer
from circuit.errors import ArtifactError
from circuit.values import schemas
from circuit.values.json_values import Json, parse_json

SUFFIX = ".answers.jsonl"


class Answer(Record):
    """What the model generated after the prompt of one row, and how it is judged."""

    row: int
    text: str
    n_tokens: int
    finished: bool
    verdicts: dict[str, bool | str]
    measures: dict[str, bool | float | None] = Field(
        default_factory=dict, exclude_if=lambda measures: not measures
    )


class Header(Record):
    """What was asked for; ``key`` is the digest of everything else that decides the answers."""

    schema_name: str = Field(schemas.ANSWERS, alias="schema")
    key: str
    max_tokens: int
    criteria: tuple[str, ...]


@dataclass(frozen=True)
class Answers:
    """The answers of an archive, by row."""

    header: Header
    by_row: Mapping[int, Answer]


class AnswersWriter(Writer):
    """The unfinished answers of one process: ``put`` them batch by batch, then ``finish``.

    ``rows`` are the rows that there will be. Leaving the context keeps what was put, for the same
    command to resume; ``discard`` removes it. With ``force`` another run's answers are replaced.
    """

    def __init__(self, stem: Path, header: Header, rows: range, *, force: bool = False) -> None:
        self.path, self.rows = answers_path(stem), rows
        self.partial = self.path.with_name(self.path.name + ".partial")
        self._header = _line(header)
        self._starts = np.full(len(rows), -1, dtype=np.int64)
        self._lengths = np.zeros(len(rows), dtype=np.int64)
        self._journal = Journal(self.partial, self.path, self._row_of)
        try:
            remove_temporaries(self.path)
            covers = plain(header)
            if not self._journal.resume(covers, force=force):
                self._start(force=force)
            for entry in self._journal.resume(covers, force=force):
                self._record(entry.value, entry.start, entry.length)
        except BaseException:
            self._journal.close()
            raise

    def has(self, rows: Iterable[int]) -> bool:
        """Return whether every one of ``rows`` was put, now or by a run that was interrupted."""
        return all(self._starts[self.rows.index(int(row))] >= 0 for row in rows)

    def put(self, answers: Sequence[Answer]) -> None:
        """Append the answers of one batch and force them to the disk."""
        lines = [_line(answer) for answer in answers]
        start = self._journal.append(b"".join(lines))
        self._journal.sync()
        for answer, line in zip(answers, lines, strict=True):
            self._record(answer.row, start, len(line))
            start += len(line)

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
        self._journal.remove()
        self.close()

    def close(self) -> None:
        """Release the file, so that the same command can resume it."""
        self._journal.close()

    def _start(self, *, force: bool) -> None:
        """Begin with the finished file of this run, if it ended before it wrote its manifest."""
        if force or not self.path.exists():
            return self._journal.start()
        with read_errors(self.path), self.path.open("rb") as finished:
            if finished.readline() != self._header:
                self._journal.remove()
                refuse_overwrite(self.path, force=False)
            self._journal.start()
            while block := finished.read(1 << 20):
                self._journal.append(block)
        return None

    def _row_of(self, line: bytes) -> int:
        row = Answer.model_validate_json(line).row
        if row not in self.rows:
            message = f"row {row} is out of range"
            raise ValueError(message)
        return row

    def _record(self, row: int, start: int, length: int) -> None:
        index = self.rows.index(row)
        self._starts[index], self._lengths[index] = start, length

    def _in_order(self) -> Iterator[bytes]:
        yield self._header
        for length, start in zip(self._lengths.tolist(), self._starts.tolist(), strict=True):
            yield self._journal.read(start, length)


def read_answers(paths: Sequence[Path]) -> Answers:
    """Read the answers of an archive; a sharded one has a file per shard."""
    headers, by_row = set(), {}
    for path in paths:
        header, answers = open_answers(path)
        headers.add(header)
        by_row.update({answer.row: answer for answer in answers})
    if len(headers) != 1:
        raise ArtifactError(
            "shards-differ",
            f"`{paths[0]}` and its other shards are not of one run",
            hint="collect all shards with the same options",
            path=str(paths[0]),
        )
    return Answers(headers.pop(), by_row)


def open_answers(path: Path) -> tuple[Header, Iterator[Answer]]:
    """Return the header of a file of answers, and its answers one by one."""
    lines = _lines(path)
    header = next(lines, None)
    if schema_of(header) != schemas.ANSWERS:
        raise ArtifactError(
            "wrong-schema",
            f"`{path}` does not hold answers",
            hint="collect again with --generate",
            path=str(path),
            expected=schemas.ANSWERS,
        )
    return validated(Header, header, path), (validated(Answer, line, path) for line in lines)


def _lines(path: Path) -> Iterator[Json]:
    with read_errors(path), path.open("rb") as file:
        for line in file:
            try:
                yield parse_json(line)
            except ValueError as error:
                raise ArtifactError(
                    "answers-damaged",
                    f"`{path}` is damaged",
                    hint="collect again with --generate",
                    path=str(path),
                ) from error


def answers_path(stem: Path) -> Path:
    """Return ``x.answers.jsonl`` for ``x.json``, ``x.safetensors`` and the stem ``x``."""
    manifest = manifest_path(stem)
    return manifest.with_name(manifest.name.removesuffix(".json") + SUFFIX)


def _line(record: Record) -> bytes:
    return canonical_json(record).encode() + b"\n"
