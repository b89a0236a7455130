"""Where the arrays of a safetensors file lie, known before the first value is.

    u64 N | header: N bytes of JSON, padded with spaces | the arrays, back to back

The header maps each name to ``{dtype, shape, data_offsets}``. Its one metadata key, ``circuit``,
holds canonical JSON: safetensors writes several keys in random order, which would make equal
archives differ in their bytes. Wide types come first, so that every array is aligned, and then the
order of the names, as in safetensors.

Format: https://huggingface.co/docs/safetensors (header, alignment, no holes).
"""

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

from circuit.artifacts.archive.dtypes import STORED
from circuit.artifacts.files.documents import canonical_json
from circuit.values.json_values import JsonMapping, JsonObject


class Tensor(NamedTuple):
    """An array: the spelling of its type, and its shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Its bytes."""
        return math.prod(self.shape) * STORED[self.dtype].itemsize

    @property
    def stride(self) -> int:
        """The bytes from one row to the next."""
        return math.prod(self.shape[1:]) * STORED[self.dtype].itemsize


@dataclass(frozen=True)
class Layout:
    """The header, each array and its first byte, and the size of the whole file."""

    header: bytes
    tensors: Mapping[str, Tensor]
    starts: Mapping[str, int]
    size: int

    @classmethod
    def of(
        cls,
        tensors: Mapping[str, Tensor],
        metadata: JsonMapping,
        *,
        strings: Mapping[str, str] | None = None,
    ) -> Self:
        """Lay out ``tensors`` after a header that holds ``metadata``.

        ``strings`` replaces the metadata of circuit, for the files of other programs.
        """
        own = {"circuit": canonical_json(metadata)}
        entries: JsonObject = {"__metadata__": own if strings is None else dict(strings)}
        end, begins = 0, {}
        for name in sorted(tensors, key=lambda name: (-STORED[tensors[name].dtype].itemsize, name)):
            dtype, shape = tensors[name]
            begins[name], end = end, end + tensors[name].size
            entries[name] = {
                "dtype": dtype,
                "shape": list(shape),
                "data_offsets": [begins[name], end],
            }
        text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % 8)
        header = struct.pack("<Q", len(text)) + text
        starts = {name: len(header) + begin for name, begin in begins.items()}
        return cls(header, dict(tensors), starts, len(header) + end)
