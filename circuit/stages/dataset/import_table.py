"""``dataset import``: make a prompt set of a JSON, JSONL, CSV or TSV file.

Columns named ``text``, ``label``, ``category``, ``group``, ``pair``, ``expected_tool`` and
``expected`` (or as the options say) are understood, the others become metadata. Labels are names;
integers are looked up in the file's ``label_names``. A file without labels but with expected tools
is labelled ``tool`` / ``no_tool``. ``contrastive_pairs`` of the file become pairs. The labels'
order is that of ``--labels``, else of the file, else numeric or alphabetic: with two, the second is
positive.
"""

from pathlib import Path
from typing import Any

from circuit.artifacts.files.documents import read_json, schema_of, validated
from circuit.artifacts.manifest.manifest import reference
from circuit.artifacts.prompts.prompts import PromptSet
from circuit.artifacts.prompts.tables import Row, Table, TableKeys, keys_of, read_table
from circuit.errors import ArtifactError, DataError, UsageError
from circuit.present.document import Document, Notice, Part
from circuit.stages.dataset.create import PromptSetResult, data, plan_writing
from circuit.stages.dataset.describe import counts_text
from circuit.stages.dataset.request import ImportRequest
from circuit.stages.run import Command, Plan
from circuit.values import schemas

FIELDS = ("text", "label", "category", "group", "pair", "expected_tool", "expected")
PLAIN = (str, int, float, bool)
ABOUT = ("name", "version", "description", "format", "system", "tools", "question", "stratum")


def import_prompts(request: ImportRequest) -> PromptSet:
    """Read a table and return its prompt set."""
    path, columns = request.file, request.columns
    _refuse_templates(path)
    table = read_table(path)
    rows = _renamed(table, columns, path)
    about = keys_of(table, path)
    rows, order = _labelled([*rows, *_pair_rows(about, rows)], about)
    kept = {key: table.about[key] for key in ABOUT if table.about.get(key) is not None}
    own = {"name": request.name, "format": request.prompt_format}
    labels = request.labels and [label.strip() for label in request.labels.split(",")]
    document = {
        "name": path.stem,
        "format": "raw",
        **kept,
        **{key: value for key, value in own.items() if value},
        "labels": labels or order,
        "parameters": {
            "source": reference(path, request.output.output.parent).model_dump(),
            "columns": columns,
            "drop_duplicates": request.drop_duplicates,
        },
        "prompts": [_prompt(row) for row in _distinct(rows, path, drop=request.drop_duplicates)],
    }
    return validated(PromptSet, document, path)


def plan(request: ImportRequest) -> Plan[PromptSetResult]:
    """Read the table."""
    return plan_writing(import_prompts(request), request.output, source=request.file)


def present(result: PromptSetResult) -> Document:
    """Show the counts, and of two classes which is the positive one."""
    labels = list(result.counts.labels)
    said = f"The positive class is `{labels[-1]}`; --labels changes that."
    parts: list[Part] = [counts_text(result.counts)]
    if len(labels) == 2:
        parts.append(Notice(said))
    return Document("Dataset Summary:", parts)


def _refuse_templates(path: Path) -> None:
    if path.suffix == ".json" and schema_of(read_json(path)) == schemas.TEMPLATES:
        message = f"`{path}` is a template file"
        raise ArtifactError(
            "is-a-template-file",
            message,
            hint=f"draw prompts from it with `circuit dataset create --set {path}`",
        )


def _renamed(table: Table, columns: dict[str, str], path: Path) -> list[dict[str, Any]]:
    present = ", ".join(table.columns) or "none"
    for field, column in columns.items():
        if column not in table.columns:
            message = f"`{path}` has no column `{column}` for the {field}"
            raise UsageError(
                "unknown-column", message, hint=f"its columns are: {present}", column=column
            )
    text = columns.get("text", "text")
    lacking = [number for number, row in enumerate(table.rows) if text not in row]
    if lacking or not table.rows:
        message = (
            f"row {lacking[0]} of `{path}` has no `{text}`" if lacking else f"`{path}` has no rows"
        )
        raise DataError(
            "no-text-column",
            message,
            hint=f"--text-column names the column of the prompts; there are: {present}",
        )
    for number, row in enumerate(table.rows):
        _check_types(row, columns, number, path)
    names = {column: field for field, column in columns.items()}
    # A column that an option replaces keeps its values as metadata, under its own name.
    replaced = {field: f"{field}_column" for field in columns if field not in names}
    return [
        {names.get(k, replaced.get(k, k)): value for k, value in row.items()} for row in table.rows
    ]


def _check_types(row: Row, columns: dict[str, str], number: int, path: Path) -> None:
    for field in FIELDS:
        column = columns.get(field, field)
        if column in row and not isinstance(row[column], PLAIN):
            kind = "a list" if isinstance(row[column], list) else "an object"
            message = f"`{column}` of row {number} of `{path}` is {kind}, not a text or a number"
            raise DataError(
                "not-a-text",
                message,
                hint="write each row's text, label and group as a text or a number",
                row=number,
                column=column,
            )


def _pair_rows(about: TableKeys, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mark the rows of the file's contrast pairs, and return those that the rows lack."""
    added = []
    for number, pair in enumerate(about.contrastive_pairs):
        name = str(pair.get("pair_name") or f"pair/{number}")
        for label, side in ((1, "positive"), (0, "negative")):
            if not isinstance(pair.get(side), str):
                message = f"the contrast pair `{name}` has no text `{side}`"
                raise DataError(
                    "incomplete-pair",
                    message,
                    hint="a pair has the texts `positive` and `negative`",
                    pair=name,
                )
            found = [r for r in rows if r["text"] == pair[side] and r.get("pair") in (None, name)]
            row = found[0] if found else {"text": pair[side], "label": label}
            row.update(pair=name, group=row.get("group", name))
            if not found:
                added.append(row)
    return added


def _labelled(
    rows: list[dict[str, Any]], about: TableKeys
) -> tuple[list[dict[str, Any]], list[str]]:
    """Give every row the name of its label, and say in which order the labels come."""
    names = {str(key): str(value) for key, value in about.label_names.items()}
    if not any("label" in row for row in rows) and any("expected_tool" in row for row in rows):
        rows = [{**row, "label": "tool" if "expected_tool" in row else "no_tool"} for row in rows]
        return rows, ["no_tool", "tool"]
    found = dict.fromkeys(_spelled(row["label"]) for row in rows if "label" in row)
    rows = [
        {**row, "label": names.get(_spelled(row["label"]), _spelled(row["label"]))}
        if "label" in row
        else row
        for row in rows
    ]
    if names:
        return rows, list(dict.fromkeys(names[key] for key in sorted(names, key=_sort_key)))
    return rows, about.labels or sorted(found, key=_sort_key)


def _spelled(label: Any) -> str:
    return str(label).lower() if isinstance(label, bool) else str(label)


def _sort_key(label: str) -> tuple[bool, int, str]:
    number = int(label) if label.lstrip("-").isdecimal() else None
    return (number is None, number or 0, label)


def _distinct(rows: list[dict[str, Any]], path: Path, *, drop: bool) -> list[dict[str, Any]]:
    first: dict[tuple[Any, ...], int] = {}
    labels: dict[str, Any] = {}
    kept = []
    for number, row in enumerate(rows):
        text, label = str(row["text"]), row.get("label")
        if labels.setdefault(text, label) != label:
            message = f"{text!r} occurs in `{path}` with two labels, `{labels[text]}` and `{label}`"
            raise DataError(
                "two-labels",
                message,
                hint="a text can have one label: remove one of the rows",
                text=text,
            )
        before = first.setdefault((text, label, row.get("pair")), number)
        if before == number:
            kept.append(row)
        elif not drop:
            message = f"rows {before} and {number} of `{path}` are the same: {text!r}"
            raise DataError(
                "duplicate-rows",
                message,
                hint="--drop-duplicates keeps the first of equal rows",
                rows=(before, number),
            )
    return kept


def _prompt(row: dict[str, Any]) -> dict[str, Any]:
    metadata = {key: value for key, value in row.items() if key not in FIELDS}
    if isinstance(own := metadata.get("metadata"), dict):  # else a column of that name
        metadata = {**{k: v for k, v in metadata.items() if k != "metadata"}, **own}
    return {**{field: str(row[field]) for field in FIELDS if field in row}, "metadata": metadata}


IMPORT = Command(request=ImportRequest, plan=plan, present=present, data=data)
