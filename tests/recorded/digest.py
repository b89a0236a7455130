"""What is compared of a command's outcome: exit code, JSON document and files, in few bytes.

JSON documents keep their keys; their ``run`` blocks, paths of this machine and digests of files are
left out. Numbers are rounded to five significant digits, long texts become a hash, and a list of
more than ``SHORT`` items becomes columns: for each path inside its items the count, and the norm,
first and last of its numbers or the hash of its texts. Archives are a SHA-256 and, since the last
bits differ between processors, the dtype, shape, norm and first values of each tensor. Of other
files only the name is kept.
"""

import csv
import hashlib
import io
import json
import math
import re
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

SHORT = 3
SHORT_TEXT = 24
# Two runs differ in them: of their values nothing is kept.
VOLATILE = {"run", "seconds", "working", "made by"}
# What users give and nothing computes: kept as one hash.
OPAQUE = {"tools", "slots", "metadata"}
DIGEST = re.compile(r"\b[0-9a-f]{12,64}\b")
DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?", "BF16": "<u2",
}  # fmt: skip


def number(value: float) -> float | int | str:
    """Round to five significant digits; integers that JSON keeps as such stay exact."""
    if isinstance(value, int):
        return value
    if not math.isfinite(value):
        return str(value)
    return float(f"{value:.5g}")


def hashed(text: str) -> str:
    """Return eight hexadecimal digits that stand for a text."""
    return "#" + hashlib.sha256(text.encode()).hexdigest()[:8]


def whole(value: Any) -> str:
    """Return one hash for a JSON value."""
    return hashed(json.dumps(value, sort_keys=True, ensure_ascii=False))


class Digester:
    """Digests files and documents; ``places`` are folders of this machine and their stand-ins."""

    def __init__(self, places: dict[str, str]) -> None:
        self.places = places

    def text(self, value: str) -> str:
        """Return a text without paths and digests; a long one is its start and a hash."""
        for path, name in self.places.items():
            value = value.replace(path, name)
        value = DIGEST.sub("<digest>", value)
        return value if len(value) <= SHORT_TEXT else value[:8] + hashed(value)

    def value(self, value: Any) -> Any:
        """Return the digest of a JSON value."""
        if isinstance(value, dict):
            return {key: self.under(key, inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.value(v) for v in value] if len(value) <= SHORT else self.columns(value)
        if isinstance(value, str):
            return self.text(value)
        return value if value is None or isinstance(value, bool) else number(value)

    def under(self, key: str, value: Any) -> Any:
        """Return the digest of what a document has under a key."""
        if key in VOLATILE:
            return "varies"
        return whole(value) if key in OPAQUE and value else self.value(value)

    def columns(self, items: list[Any]) -> dict[str, Any]:
        """Return how many items there are and a summary of each path inside them."""
        leaves: dict[str, list[Any]] = defaultdict(list)
        for item in items:
            for path, leaf in paths(item):
                leaves[path].append(leaf)
        found: dict[str, Any] = {"n": len(items)}
        for path, values in leaves.items():
            numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
            others = [v for v in values if not isinstance(v, int | float) or isinstance(v, bool)]
            if numbers:
                found[path] = summary(np.array(numbers, float))
            if others and len(set(map(repr, others))) == 1:
                found[path + "="] = [len(others), self.value(others[0])]
            elif others:
                texts = [self.text(v) if isinstance(v, str) else repr(v) for v in others]
                found[path + "="] = [len(others), hashed("\n".join(texts))]
        return found

    def file(self, path: Path) -> Any:
        """Return the digest of a file, by the end of its name."""
        kind = path.suffix
        if kind in (".safetensors", ".npz", ".gguf"):
            return {"sha256": file_hash(path), "tensors": dict(tensors(path))}
        if kind == ".json" or path.name.endswith(".index.json"):
            return self.value(json.loads(path.read_text()))
        if kind == ".jsonl":
            return self.value([json.loads(line) for line in path.read_text().splitlines()])
        if kind == ".csv":
            rows = csv.reader(io.StringIO(path.read_text()))
            return self.value([[parsed(cell) for cell in row] for row in rows])
        return True


def outline(value: Any) -> Any:
    """Return the keys of a document about a machine, without what they hold."""
    if isinstance(value, dict):
        return {key: outline(inner) for key, inner in value.items()}
    return "varies"


def paths(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the path and the value of every leaf."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            if key in VOLATILE:
                yield f"{path}.{key}", "varies"
            elif key in OPAQUE and inner:
                yield f"{path}.{key}", whole(inner)
            else:
                yield from paths(inner, f"{path}.{key}")
    elif isinstance(value, list) and value:
        for inner in value:
            yield from paths(inner, f"{path}[]")
    else:
        yield path, value


def summary(values: np.ndarray) -> list[Any]:
    """Return the count, the norm, the first and the last of numbers."""
    norm = float(np.sqrt(np.sum(values**2)))
    return [len(values), *(number(float(v)) for v in (norm, values[0], values[-1]))]


def parsed(cell: str) -> float | str:
    """Return the number that a cell of a table holds, or the cell."""
    try:
        return float(cell)
    except ValueError:
        return cell


def file_hash(path: Path) -> str:
    """Return the start of the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def tensors(path: Path) -> Iterator[tuple[str, list[Any]]]:
    """Yield the name of each tensor of an archive with dtype, shape, norm and first values."""
    for name, dtype, array in sorted(arrays(path), key=lambda each: each[0]):
        if array.dtype.kind in "US":
            yield name, [dtype, list(array.shape), hashed(str(array.tolist()))]
        else:
            flat = array.astype(float).ravel()
            norm = float(np.sqrt(np.sum(flat**2)))
            yield name, [dtype, list(array.shape), *map(number, [norm, *flat[:2].tolist()])]


def arrays(path: Path) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield the name, dtype and values of each tensor of an archive."""
    if path.suffix == ".npz" and zipfile.is_zipfile(path):
        with np.load(path, allow_pickle=False) as archive:
            for name in archive.files:
                yield name, str(archive[name].dtype), archive[name]
    elif path.suffix == ".gguf":
        from gguf import GGUFReader

        for tensor in GGUFReader(path).tensors:
            yield tensor.name, tensor.tensor_type.name, np.asarray(tensor.data)
    else:
        yield from safetensors(path)


def safetensors(path: Path) -> Iterator[tuple[str, str, np.ndarray]]:
    """Read a safetensors file without a library, so that bfloat16 is no exception."""
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    for name, entry in json.loads(content[8:start]).items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        raw = np.frombuffer(content[start + begin : start + end], DTYPES[entry["dtype"]])
        if entry["dtype"] == "BF16":
            raw = (raw.astype("<u4") << 16).view("<f4")
        yield name, entry["dtype"], raw.reshape(entry["shape"])
