"""Tables of prompts: JSON, JSONL, CSV and TSV files as rows of named values.

``.json`` is a list of objects or texts, or an object with such a list under ``prompts``; its other
keys are kept. ``.jsonl`` has one object or text per line. ``.csv`` and ``.tsv`` have a header line.
Values keep their spaces; an empty cell of a CSV file is no value. An error names the number of its
line. ``write_csv`` writes what ``read_table`` reads.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, field_validator

from circuit.artifacts.files.atomic import write_file
from circuit.artifacts.files.documents import read_bytes, read_json, validated
from circuit.errors import ArtifactError
from circuit.values.json_values import JsonMapping, parse_json

Row = JsonMapping


@dataclass(frozen=True)
class Table:
    """Rows, and the keys of the file that apply to all of them."""

    rows: tuple[Row, ...]
    about: JsonMapping = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        """The names that occur in any row, in order of appearance."""
        return list(dict.fromkeys(name for row in self.rows for name in row))


class TableKeys(BaseModel):
    """The keys of a file that say what its rows' labels and texts mean."""

    label_names: dict[str, str | int] = {}
    contrastive_pairs: list[dict[str, object]] = []
    labels: list[str] = []

    @field_validator("label_names", mode="before")
    @classmethod
    def _numbered(cls, names: object) -> object:
        """Read a list as the names of 0, 1, …, as data sets of the hub have them."""
        return {str(k): name for k, name in enumerate(names)} if isinstance(names, list) else names


def keys_of(table: Table, path: Path) -> TableKeys:
    """Return the keys of a table; raise ``ArtifactError`` for one of another type."""
    given = {name: table.about.get(name) for name in TableKeys.model_fields}
    return validated(TableKeys, {k: v for k, v in given.items() if v is not None}, path)


def read_table(path: Path) -> Table:
    """Read rows from the format that the suffix of ``path`` names."""
    readers = {".json": _from_json, ".jsonl": _from_jsonl, ".csv": _from_csv, ".tsv": _from_csv}
    if path.suffix.lower() not in readers:
        raise ArtifactError(
            "not-a-table",
            f"`{path}` is not a table of prompts",
            hint=f"its name must end in {', '.join(readers)}",
            path=str(path),
        )
    return readers[path.suffix.lower()](path)


# Spreadsheets run a cell that begins with one of the first six.
_RUN = ("=", "+", "-", "@", "\t", "\r", "'")


def write_csv(path: Path, rows: Sequence[Row], *, force: bool = False) -> None:
    """Write rows with the same names under a header line; None is an empty cell.

    A text that a spreadsheet would run as a formula, or that begins with an apostrophe, gets an
    apostrophe in front, so that taking one away from every such cell gives the texts back.
    """
    lines = [_line(rows[0]), *(_line([_inert(row[name]) for name in rows[0]]) for row in rows)]
    write_file(path, "".join(lines).encode(), force=force)


def _line(cells: Iterable[object]) -> str:
    """Return a line that ends in a line feed; a lone carriage return in a cell is quoted, too."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue().removesuffix("\r\n") + "\n"


def _inert(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_RUN) else value


def _from_json(path: Path) -> Table:
    document = read_json(path)
    about = document if isinstance(document, dict) else {"prompts": document}
    prompts = about.get("prompts")
    if not isinstance(prompts, list):
        raise ArtifactError(
            "no-prompts",
            f"`{path}` holds no list of prompts",
            hint="write a list, or an object with a list `prompts`",
            path=str(path),
        )
    rows = tuple(_row(value, path, f"prompt {number}") for number, value in enumerate(prompts))
    return Table(rows, {key: value for key, value in about.items() if key != "prompts"})


def _from_jsonl(path: Path) -> Table:
    rows = []
    # Only line feeds end a line: texts may hold other separators that splitlines() knows.
    for number, line in enumerate(_text(path).split("\n"), 1):
        if line.strip():
            try:
                rows.append(_row(parse_json(line), path, f"line {number}"))
            except ValueError as error:
                raise ArtifactError(
                    "not-json",
                    f"line {number} of `{path}` is not JSON: {error}",
                    hint="write one JSON object per line",
                    path=str(path),
                    line=number,
                ) from error
    return Table(tuple(rows))


def _from_csv(path: Path) -> Table:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    csv.field_size_limit(2**31 - 1)  # the default of 131,072 is shorter than some prompts
    reader = csv.DictReader(io.StringIO(_text(path), newline=""), delimiter=delimiter, strict=True)
    rows = []
    try:
        _refuse_twins(reader.fieldnames or (), path)
        for row in reader:
            if None in row or None in row.values():
                raise ArtifactError(
                    "not-csv",
                    f"line {reader.line_num} of `{path}` has more or fewer cells than the header",
                    hint="put cells that hold a comma or a line break in quotes",
                    path=str(path),
                    line=reader.line_num,
                )
            rows.append({name: value for name, value in row.items() if value != ""})
    except csv.Error as error:
        raise ArtifactError(
            "not-csv",
            f"line {reader.line_num + 1} of `{path}` is not CSV: {error}",
            hint="check the quotes of this line",
            path=str(path),
            line=reader.line_num + 1,
        ) from error
    return Table(tuple(rows))


def _refuse_twins(columns: Sequence[str], path: Path) -> None:
    """Raise for two columns of one name: the reader would keep the last without a warning."""
    for column in columns:
        if columns.count(column) > 1:
            raise ArtifactError(
                "duplicate-column",
                f"`{path}` has more than one column `{column}`",
                hint="give each column its own name",
                path=str(path),
                column=column,
            )


def _row(value: object, path: Path, where: str) -> Row:
    row = {"text": value} if isinstance(value, str) else value
    if not isinstance(row, dict):
        raise ArtifactError(
            "not-a-row",
            f"{where} of `{path}` is neither an object nor a text",
            hint='write {"text": ..., "label": ...}',
            path=str(path),
            where=where,
        )
    return {name: each for name, each in row.items() if each is not None}


def _text(path: Path) -> str:
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ArtifactError(
            "not-utf8", f"`{path}` is not UTF-8: {error}", hint="save it as UTF-8", path=str(path)
        ) from error
