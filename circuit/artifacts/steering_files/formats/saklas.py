"""saklas: one vector per block in a safetensors file, with a JSON sidecar of the same name.

Arrays are named ``layer_{b}``, float32, b counted from 0 and the vector added to the output of
block b. saklas multiplies the contribution of a block into the length of its vector. It accepts a
file only with a sidecar of its sixth format: ``format_version``, ``saklas_version``, ``method``,
``tensor_sha256`` (of the whole safetensors file) and ``provenance``. Circuit also reads older
sidecars, and files without one.

Circuit writes the method ``profile``, and its record in the header's ``circuit.record``, which
saklas ignores.

Source: https://github.com/a9lim/saklas (core/profile.py; its format only).
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from circuit.artifacts.archive.archive import Archive, archive_bytes
from circuit.artifacts.directions.block_vectors import (
    RECORD_KEY,
    block_lengths,
    by_block,
    pack_directions,
    record_in_header,
    unpack_directions,
)
from circuit.artifacts.directions.direction import Direction
from circuit.artifacts.files.atomic import is_written, write_file
from circuit.artifacts.files.documents import canonical_json, document_bytes, read_json
from circuit.artifacts.files.paths import manifest_path
from circuit.artifacts.manifest.manifest import digest
from circuit.artifacts.steering_files.formats import WriteResult
from circuit.errors import ArtifactError
from circuit.values.json_values import JsonObject
from circuit.values.version import VERSION

NAME, SUFFIX, SEVERAL = "saklas", ".safetensors", True
CONVENTION = "`layer_3` is added to the output of block 3, blocks counted from 0"
_FORMAT_VERSION = 6
_ARRAY = re.compile(r"layer_(\d+)")


def recognises(path: Path) -> bool:
    """Return whether every array is named as saklas names it."""
    names = Archive(path).names
    return bool(names) and all(_ARRAY.fullmatch(name) for name in names)


def beside(path: Path) -> list[Path]:
    """Return the sidecar, where there is one."""
    sidecar = manifest_path(path)
    return [sidecar] if sidecar.is_file() else []


def read(path: Path) -> list[Direction]:
    """Read the vector of each block, and the sidecar's facts about how it was made."""
    archive = Archive(path)
    matches = {name: _ARRAY.fullmatch(name) for name in archive.names}
    vectors = {int(m[1]): archive.read(name) for name, m in matches.items() if m is not None}
    said = _sidecar(path)
    method = said.get("method")
    return unpack_directions(
        path,
        vectors,
        record_in_header(archive),
        method=str(method) if method else None,
        extra={"saklas": said} if said else {},
    )


def write(
    path: Path,
    directions: Sequence[Direction],
    *,
    length: float | None = None,
    force: bool = False,
) -> WriteResult:
    """Write the vector of each block, and the sidecar."""
    vectors, record = pack_directions(by_block(directions), length)
    arrays = {f"layer_{block}": vector for block, vector in vectors.items()}
    content = archive_bytes(arrays, {RECORD_KEY: canonical_json(record)})
    sidecar = {
        "format_version": _FORMAT_VERSION,
        "saklas_version": f"circuit {VERSION}",
        "method": "profile",
        "tensor_sha256": hashlib.sha256(content).hexdigest(),
        "provenance": {},
    }
    is_written(manifest_path(path), document_bytes(sidecar), force=force)
    write_file(path, content, force=force)
    write_file(manifest_path(path), document_bytes(sidecar), force=force)
    return WriteResult(block_lengths(record), notes=(f"`{manifest_path(path)}` belongs to it",))


def _sidecar(path: Path) -> JsonObject:
    if not beside(path):
        return {}
    said = read_json(manifest_path(path))
    if not isinstance(said, dict):
        said = {}
    if said.get("tensor_sha256") not in (None, digest(path)):
        raise ArtifactError(
            "sidecar-of-other-file",
            f"`{manifest_path(path)}` is of another file than `{path}`",
            hint="copy both files again, or remove the JSON file",
            path=str(path),
            sidecar=str(manifest_path(path)),
        )
    return said
