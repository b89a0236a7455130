"""The metadata and tensors of a GGUF file, checked as they are read: the file is foreign input."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from circuit.errors import CircuitError, ModelError

if TYPE_CHECKING:
    from gguf import GGUFReader, ReaderField, ReaderTensor

Value = TypeVar("Value")
Numbers = npt.NDArray[np.float32]
_STEERING = ("controlvector", "steeringvector")
_ROWS = 2**22  # numbers that are dequantised at once


@dataclass(frozen=True, eq=False)
class Contents:
    """All parts of one model: the metadata of the first, the tensors of all, by name."""

    path: Path
    fields: "Mapping[str, ReaderField]"
    tensors: "Mapping[str, ReaderTensor]"
    _values: dict[str, object] = field(default_factory=dict)

    @property
    def architecture(self) -> str:
        """The family, as llama.cpp names it."""
        return self.text("general.architecture")

    def kinds(self) -> dict[str, int]:
        """Return how many tensors are stored in each kind of quantisation."""
        found = Counter(tensor.tensor_type.name for tensor in self.tensors.values())
        return dict(sorted(found.items()))

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape, rows first."""
        return tuple(int(n) for n in reversed(self.tensors[name].shape))

    def read(self, name: str) -> Numbers:
        """Return a tensor as float32, dequantised as the gguf package does it, block by block."""
        from gguf.quants import dequantize

        tensor, shape = self.tensors[name], self.shape(name)
        stored = tensor.data.reshape(-1, tensor.data.shape[-1])
        out = np.empty((len(stored), shape[-1]), np.float32)
        step = max(1, _ROWS // shape[-1])
        for first in range(0, len(stored), step):
            part = slice(first, first + step)
            out[part] = dequantize(np.ascontiguousarray(stored[part]), tensor.tensor_type)
        return out.reshape(shape)

    def has(self, key: str) -> bool:
        """Say whether the metadata have this key."""
        return key in self.fields

    def text(self, key: str, default: str | None = None) -> str:
        """Return a text of the metadata."""
        return self._one(key, str, default)

    def flag(self, key: str, default: bool | None = None) -> bool:
        """Return a truth value of the metadata."""
        return self._one(key, bool, default)

    def integer(self, key: str, default: int | None = None) -> int:
        """Return a whole number of the metadata."""
        return self._one(key, int, default)

    def number(self, key: str, default: float | None = None) -> float:
        """Return a number of the metadata; an infinite one is refused."""
        found = self._value(key, default)
        number = float(found) if isinstance(found, (int, float)) else np.nan
        if isinstance(found, bool) or not np.isfinite(number):
            raise self._wrong(key, "a finite number")
        return number

    def texts(self, key: str) -> list[str]:
        """Return a list of texts of the metadata."""
        return self._many(key, str, "a list of texts")

    def numbers(self, key: str) -> list[float]:
        """Return a list of numbers of the metadata."""
        return [float(number) for number in self._many(key, (int, float), "a list of numbers")]

    def flags(self, key: str) -> list[bool]:
        """Return a list of truth values of the metadata."""
        return self._many(key, bool, "a list of truth values")

    def is_list(self, key: str) -> bool:
        """Say whether a value of the metadata is a list."""
        return isinstance(self._value(key, None), list)

    def _one(self, key: str, kind: type[Value], default: Value | None) -> Value:
        found = self._value(key, default)
        if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
            raise self._wrong(key, {str: "a text", bool: "true or false"}.get(kind, "an integer"))
        return found

    def _many(
        self, key: str, kind: type[Value] | tuple[type[Value], ...], named: str
    ) -> list[Value]:
        found = self._value(key, None)
        if not isinstance(found, list) or not all(isinstance(each, kind) for each in found):
            raise self._wrong(key, named)
        return found

    def _value(self, key: str, default: object) -> object:
        if key in self.fields:
            if key not in self._values:  # a vocabulary takes seconds to read
                with reading(self.path):
                    self._values[key] = self.fields[key].contents()
            return self._values[key]
        if default is None:
            raise ModelError(
                "gguf-key-missing",
                f"`{self.path}` has no `{key}`",
                hint="convert the model again with a current llama.cpp",
                path=str(self.path),
                key=key,
            )
        return default

    def _wrong(self, key: str, wanted: str) -> ModelError:
        return ModelError(
            "gguf-key-unreadable",
            f"`{key}` of `{self.path}` is not {wanted}",
            hint="convert the model again with a current llama.cpp",
            path=str(self.path),
            key=key,
        )


def open_contents(files: Sequence[Path]) -> Contents:
    """Map the files into memory and read their metadata; no tensor is read.

    Raises ``ModelError`` for a file that is cut off, is not a model, or has tensors of a
    quantisation that the gguf package cannot undo.
    """
    readers = [_reader(path) for path in files]
    tensors: dict[str, ReaderTensor] = {}
    for path, reader in zip(files, readers, strict=True):
        for tensor in reader.tensors:
            if tensor.name in tensors:
                raise _damaged(path, f"it has the tensor `{tensor.name}` twice")
            tensors[tensor.name] = tensor
    contents = Contents(files[0], readers[0].fields, tensors)
    _check_model(contents)
    _check_kinds(contents)
    _check_parts(contents, len(files))
    return contents


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever the reading of a file raises into one sentence about the file."""
    try:
        with np.errstate(all="ignore"):
            yield
    except CircuitError:
        raise
    except OSError as error:
        raise ModelError(
            "read-failed",
            f"`{path}` cannot be read: {error.strerror or error}",
            hint="check the file and its permissions",
            path=str(path),
        ) from error
    except EOFError as error:
        raise _damaged(path, "it ends too early") from error
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise _damaged(path, reason) from error


def _damaged(path: Path, reason: str) -> ModelError:
    return ModelError(
        "gguf-damaged",
        f"`{path}` is not a whole GGUF file: {reason}",
        hint="download it again",
        path=str(path),
    )


def _reader(path: Path) -> "GGUFReader":
    from gguf import GGUFReader

    class Reader(GGUFReader):
        """Raise at the end of the file, where the package reads on; name an unknown kind."""

        def _get(
            self,
            offset: int,
            dtype: npt.DTypeLike,
            count: int = 1,
            override_order: Literal["I", "S", "<"] | None = None,
        ) -> npt.NDArray[np.generic]:
            found = super()._get(offset, dtype, count, override_order)
            if len(found) < count:
                raise EOFError
            return found

        def _build_tensors(self, start_offs: int, fields: "list[ReaderField]") -> None:
            for each in fields:
                _check_kind(path, each)
            super()._build_tensors(start_offs, fields)

    with reading(path):
        return Reader(path)


def _check_kind(path: Path, tensor: "ReaderField") -> None:
    from gguf import GGMLQuantizationType

    kind = int(tensor.parts[4][0])
    if kind not in {known.value for known in GGMLQuantizationType}:
        raise _unknown_kind(path, f"number {kind}", tensor.name)


def _check_kinds(contents: Contents) -> None:
    """Refuse kinds that the gguf package cannot undo, before anything is written."""
    from gguf import GGML_QUANT_SIZES
    from gguf.quants import dequantize

    first = {tensor.tensor_type: name for name, tensor in contents.tensors.items()}
    for kind, name in first.items():
        block = np.zeros((1, GGML_QUANT_SIZES[kind][1]), np.uint8)
        try:
            dequantize(block, kind)
        except NotImplementedError as error:
            raise _unknown_kind(contents.path, kind.name, name) from error


def _unknown_kind(path: Path, kind: str, tensor: str) -> ModelError:
    return ModelError(
        "quantisation-unknown",
        f"`{tensor}` of `{path}` is stored in an unknown quantisation ({kind})",
        hint="use a file in another quantisation, such as Q8_0, Q4_K_M or F16",
        path=str(path),
        tensor=tensor,
        quantisation=kind,
    )


def _check_model(contents: Contents) -> None:
    if contents.architecture in _STEERING:
        raise ModelError(
            "not-a-model",
            f"`{contents.path}` holds steering vectors, not a model",
            hint="give the model with -m and this file with -d",
            path=str(contents.path),
        )
    kind = contents.text("general.type", "model")
    if kind != "model":
        raise ModelError(
            "not-a-model",
            f"`{contents.path}` is a GGUF file of the type `{kind}`, not a model",
            hint="give the file of the model itself",
            path=str(contents.path),
            type=kind,
        )


def _check_parts(contents: Contents, n_files: int) -> None:
    count = contents.integer("split.count", 1)
    if count not in (0, n_files):
        raise ModelError(
            "gguf-part-missing",
            f"`{contents.path}` is one of {count} parts, and the others are not found by its name",
            hint="name the parts NAME-00001-of-0000N.gguf, as llama.cpp does",
            path=str(contents.path),
            missing=[],
        )
