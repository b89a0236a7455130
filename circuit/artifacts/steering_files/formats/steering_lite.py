"""steering-lite: one vector per block in a safetensors file.

Arrays are named ``layer{b}.v``, b counted from 0 and the vector added to the output of block b. The
header's ``cfg`` is the JSON of the method's configuration; its ``coeff``, a calibrated strength, is
read as ``extra["coefficient"]`` and written as 1. Methods that rotate, project or transport have
other arrays, and those of ``sub::module`` act inside a block: both are refused, because they are
not directions.

Circuit writes the configuration of ``mean_diff``, which adds ``coeff`` v, and its record in the
header's ``circuit.record``.

Source: https://github.com/wassname/steering-lite (vector.py, config.py, variants/mean_diff.py).
"""

import json
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
from circuit.artifacts.files.atomic import write_file
from circuit.artifacts.files.documents import canonical_json
from circuit.artifacts.steering_files.formats import WriteResult
from circuit.errors import ArtifactError
from circuit.values.json_values import JsonObject, parse_json

NAME, SUFFIX, SEVERAL = "steering-lite", ".safetensors", True
CONVENTION = "`layer3.v` is added to the output of block 3, blocks counted from 0"
_ARRAY = re.compile(r"layer(\d+)\.v")


def recognises(path: Path) -> bool:
    """Return whether the arrays, or the header, are those of steering-lite."""
    archive = Archive(path)
    named = [re.match(r"layer\d+\.|sub::", name) for name in archive.names]
    return "method" in _configuration(archive) or (bool(named) and all(named))


def read(path: Path) -> list[Direction]:
    """Read the vector of each block."""
    archive = Archive(path)
    cfg = _configuration(archive)
    method = str(cfg["method"]) if "method" in cfg else None
    target = cfg.get("target_submodule") or cfg.get("target") or "residual"
    for name in archive.names:
        if target != "residual" or not _ARRAY.fullmatch(name):
            what = f"acts on `{target}`" if target != "residual" else f"has `{name}`"
            raise ArtifactError(
                "not-a-direction",
                f"method `{method}` of `{path}` {what}, not one vector in the residual stream",
                hint="circuit reads methods that add one vector after a block: mean_diff, pca",
                path=str(path),
                array=name,
                method=method,
            )
    matches = {name: _ARRAY.fullmatch(name) for name in archive.names}
    vectors = {int(m[1]): archive.read(name) for name, m in matches.items() if m is not None}
    extra = {"coefficient": cfg["coeff"]} if isinstance(cfg.get("coeff"), int | float) else {}
    return unpack_directions(path, vectors, record_in_header(archive), method=method, extra=extra)


def write(
    path: Path,
    directions: Sequence[Direction],
    *,
    length: float | None = None,
    force: bool = False,
) -> WriteResult:
    """Write the vector of each block."""
    vectors, record = pack_directions(by_block(directions), length)
    cfg = {
        "method": "mean_diff",
        "layers": list(vectors),
        "target": "residual",
        "target_submodule": None,
        "coeff": 1.0,
        "dtype": "float32",
        "seed": 0,
        "normalize": length == 1,
        "subtract_corpus_mean": False,
    }
    arrays = {f"layer{block}.v": vector for block, vector in vectors.items()}
    strings = {"cfg": json.dumps(cfg), RECORD_KEY: canonical_json(record)}
    write_file(path, archive_bytes(arrays, strings), force=force)
    return WriteResult(block_lengths(record))


def _configuration(archive: Archive) -> JsonObject:
    try:
        cfg = parse_json(archive.strings.get("cfg", "{}"))
    except ValueError:
        return {}
    return cfg if isinstance(cfg, dict) else {}
