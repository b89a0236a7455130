"""JSON documents: the text that is hashed, the text that is written, and how they are read.

Canonical JSON has sorted keys, no spaces, UTF-8 and finite numbers, so equal values have equal
bytes. A file keeps the order of its fields and is indented, for people and for ``diff``.

Every document names its kind in the key ``schema``, such as ``circuit.prompts/1``. A missing file,
text that is not JSON, another schema, and a field of the wrong type are each an ``ArtifactError``.
"""

import json
import math
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import fields, is_dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from circuit.errors import ArtifactError, DataError, reason_of
from circuit.values import schemas
from circuit.values.json_values import Json, JsonObject, parse_json

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

# By default pydantic writes NaN as null; here a NaN has to reach json.dumps, which refuses it.
_ANYTHING: TypeAdapter[Any] = TypeAdapter(Any, config=ConfigDict(ser_json_inf_nan="constants"))

_IMPORT = "`circuit dataset import` reads prompts from other JSON, JSONL and CSV files"


def plain(value: Any) -> Any:
    """Reduce models, dataclasses, paths, tuples and numpy values to JSON values.

    An infinite number, such as the end of an interval that nothing bounds, becomes null.
    """
    reduced = _ANYTHING.dump_python(value, mode="json", by_alias=True, fallback=_from_numpy)
    return _bounded(reduced)


def _bounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _bounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_bounded(each) for each in value]
    return None if isinstance(value, float) and math.isinf(value) else value


def canonical_json(value: object) -> str:
    """Return the text of ``value`` in digests and in archive headers."""
    return json.dumps(
        plain(value), sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")
    )


def document_bytes(value: object) -> bytes:
    """Return the bytes of a document in a file: indented, in the order of its fields."""
    return b"".join(document_chunks(value))


def document_chunks(value: object) -> Iterator[bytes]:
    """Yield the bytes of ``document_bytes`` in parts; models are reduced when they are reached."""
    encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, indent=2, default=one_level)
    parts = encoder.iterencode(one_level(value))
    while text := "".join(islice(parts, 8192)):
        yield text.encode()
    yield b"\n"


def canonical_chunks(value: object) -> Iterator[bytes]:
    """Yield the bytes of ``canonical_json`` in parts; models are reduced when they are reached."""
    encoder = json.JSONEncoder(
        sort_keys=True,
        ensure_ascii=False,
        allow_nan=False,
        separators=(",", ":"),
        default=one_level,
    )
    parts = encoder.iterencode(value)
    while text := "".join(islice(parts, 8192)):
        yield text.encode()


def read_json(path: Path) -> Json:
    """Parse a JSON file; NaN and Infinity, which are not JSON, are refused."""
    try:
        text = read_bytes(path).decode("utf-8-sig")
        document: Json = parse_json(text)
    except ValueError as error:
        table = path.suffix in {".csv", ".tsv", ".jsonl"}
        raise ArtifactError(
            "not-json",
            f"`{path}` is not JSON: {reason_of(error)}",
            hint=_IMPORT if table else "the file is damaged or of another kind",
            path=str(path),
        ) from error
    return document


def read_document(path: Path, schema: str) -> JsonObject:
    """Parse a JSON file whose ``schema`` must be ``schema``."""
    return require_schema(read_json(path), schema, path)


def require_schema(document: object, schema: str, path: Path) -> JsonObject:
    """Return a parsed document if its schema is ``schema``."""
    found = schema_of(document)
    if not isinstance(document, dict) or found != schema:
        holds = f"`{found}`, not" if found else "no circuit document, and not"
        raise ArtifactError(
            "wrong-schema",
            f"`{path}` holds {holds} `{schema}`",
            hint=_hint_for(found),
            path=str(path),
            schema=found,
            expected=schema,
        )
    return dict(document)


def as_object(document: object) -> JsonObject:
    """Return a parsed document if it is a JSON object, and an empty object otherwise."""
    return document if isinstance(document, dict) else {}


def schema_of(document: object) -> str | None:
    """Return the schema that a parsed document names."""
    found = as_object(document).get("schema")
    return found if isinstance(found, str) else None


def validated(model: type[M], document: object, path: Path) -> M:
    """Make a ``model`` of a parsed document.

    Raises ``ArtifactError`` with the field of the file that is wrong and why.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        first, *others = error.errors()
        field = ".".join(str(part) for part in first["loc"]) or "the document"
        more = f" (and {len(others)} more)" if others else ""
        raise ArtifactError(
            "invalid-field",
            f"`{path}` is not valid at `{field}`: {first['msg']}{more}",
            hint="correct this field in the file",
            path=str(path),
            field=field,
        ) from error
    except DataError as error:
        fields = {**error.fields, "path": str(path)}
        message = f"{error.message} (in `{path}`)"
        raise DataError(error.code, message, hint=error.hint, **fields) from error


def try_read(model: type[M], path: Path) -> M | None:
    """Make a ``model`` of a large file; None if ``read_json`` or ``validated`` must raise.

    No dictionaries are made on the way: those of 50,000 prompts are 20 MiB, which Python cannot
    release between the texts that stay.
    """
    text = read_bytes(path)
    if b"NaN" in text or b"Infinity" in text:  # not JSON, and pydantic would take them
        return None
    try:
        return model.model_validate_json(text)
    except (ValidationError, DataError):
        return None


def read_bytes(path: Path) -> bytes:
    """Read a whole file; raise ``ArtifactError`` if it cannot be read."""
    with read_errors(path):
        return path.read_bytes()


@contextmanager
def read_errors(path: Path) -> Iterator[None]:
    """Turn an ``OSError`` in the reading of ``path`` into an ``ArtifactError``.

    A device is refused, because it has no end: a manifest may name ``/dev/zero``.
    """
    try:
        if stat.S_ISCHR(mode := path.stat().st_mode) or stat.S_ISBLK(mode):
            raise not_a_file(path)
        yield
    except FileNotFoundError as error:
        raise ArtifactError(
            "file-not-found",
            f"there is no file `{path}`",
            hint="check the path, or run the stage that writes it",
            path=str(path),
        ) from error
    except OSError as error:
        raise ArtifactError(
            "read-failed",
            f"`{path}` cannot be read: {error.strerror or error}",
            hint="check the path and its permissions",
            path=str(path),
        ) from error


def not_a_file(path: Path) -> ArtifactError:
    """Return the error for a path that is a device, a pipe or a socket."""
    return ArtifactError(
        "not-a-regular-file",
        f"`{path}` is no regular file",
        hint="give the name of a file",
        path=str(path),
    )


def _unbounded(document: object, error: ValidationError) -> object:
    """Return a copy of ``document`` with NaN for each null that stands where a number must."""
    copy = deepcopy(document)
    for each in error.errors():
        if each["type"] == "float_type" and each["input"] is None:
            *path, last = each["loc"]
            holder: Any = copy
            try:
                for part in path:
                    holder = holder[part]
                holder[last] = math.nan
            except (KeyError, IndexError, TypeError):  # the branch of a union is no key
                continue
    return copy


def one_level(value: object) -> object:
    """Reduce a model to a dictionary that may hold models; anything else whole."""
    if isinstance(value, BaseModel):
        named = [(n, field, getattr(value, n)) for n, field in type(value).model_fields.items()]
        return {
            field.alias or name: item
            for name, field, item in named
            if field.exclude_if is None or not field.exclude_if(item)
        }
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return plain(value)


def _from_numpy(value: object) -> object:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    message = f"a {type(value).__name__} is not a JSON value"
    raise TypeError(message)


def _hint_for(found: str | None) -> str:
    if found == schemas.TEMPLATES:
        return "make prompts of it with `circuit dataset create --set FILE -o prompts.json`"
    if found == schemas.SHARD:
        return "this is one shard: give the joint archive, whose name has no number"
    if found is None:
        return _IMPORT
    return "give the file that the command asks for, written by this version of circuit"


def restored(kind: type[T], document: object) -> T:
    """Make a value of ``kind`` (a dataclass, say) from its JSON form, as ``plain`` returns it.

    null where a number must be is one that was infinite: it is read as NaN. Raises
    ``ArtifactError`` if the document does not fit.
    """
    adapter = TypeAdapter(kind)
    try:
        try:
            return adapter.validate_python(document)
        except ValidationError as error:
            return adapter.validate_python(_unbounded(document, error))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the results"
        message = f"the results do not fit this version of circuit at `{where}`: {first['msg']}"
        raise ArtifactError(
            "results-of-another-version", message, hint="run the command again with --force"
        ) from error
