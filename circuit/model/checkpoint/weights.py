"""The weights of a checkpoint on disk, read one tensor at a time.

Shards are read as ``model.safetensors.index.json`` or the file names say. A weight that mlx-lm
packed (``x.weight`` of integers beside ``x.scales``) is unpacked; bfloat16 and float16 are widened
to float32.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from circuit.errors import ModelError, reason_of
from circuit.model.checkpoint.files import Config, find_folder, normalised, read_config
from circuit.model.checkpoint.identity import (
    config_digest,
    snapshot_revision,
    weight_files,
    weights_digest,
)

Array = npt.NDArray[np.float32]
NUMBERS = 2**23  # of one piece: 32 MB


@dataclass(frozen=True)
class Packing:
    """How mlx-lm packs a weight: settings of ``mx.dequantize``."""

    group_size: int
    bits: int
    mode: str = "affine"


@dataclass(frozen=True, eq=False)
class Tensor:
    """One tensor: its unpacked shape, how it is stored, and where."""

    name: str
    shape: tuple[int, ...]
    stored: str
    file: Path
    packing: Packing | None = None


@dataclass(frozen=True, eq=False)
class Weights:
    """All tensors of a checkpoint, by name, in the order of its files."""

    id: str
    folder: Path
    config: Config
    tensors: Mapping[str, Tensor]

    def fingerprint(self) -> dict[str, str | None]:
        """Return the commit, if known, and the digests of configuration and weight files."""
        return {
            "id": self.id,
            "revision": snapshot_revision(self.folder),
            "config_sha256": config_digest(self.config),
            "weights_sha256": weights_digest(self.folder, None),
        }

    def read(self, name: str) -> mx.array:
        """Return one tensor, unpacked; it is read from the disk when it is evaluated."""
        tensor = self.tensors[name]
        stored = tensors_in(tensor.file)
        if tensor.packing is None:
            return stored[name]
        stem = name.removesuffix(".weight")
        return mx.dequantize(
            stored[name],
            stored[f"{stem}.scales"],
            stored.get(f"{stem}.biases"),
            **vars(tensor.packing),
        )


def open_weights(model_id: str, revision: str | None = None) -> Weights:
    """List the tensors of a checkpoint without reading them; raise ``ModelError`` without any."""
    folder = find_folder(model_id, revision)
    config = normalised(read_config(folder))
    files = weight_files(folder)
    if not files:
        raise ModelError(
            "weights-missing",
            f"`{folder}` has no safetensors files",
            hint="weights are read from safetensors only: convert them",
            folder=str(folder),
        )
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors |= _listed(file, tensors_in(file), config)
    return Weights(model_id, folder, config, tensors)


def pieces(a: mx.array, b: mx.array) -> Iterator[tuple[Array, Array]]:
    """Yield two tensors of one shape as flat float32 pieces of at most ``NUMBERS`` or one row."""
    a, b = (x.reshape(x.shape[0] if x.ndim else 1, -1) for x in (a, b))
    rows = max(1, NUMBERS // max(1, a.shape[1]))
    for first in range(0, a.shape[0], rows):
        yield _numbers(a[first : first + rows]), _numbers(b[first : first + rows])


def matrix(a: mx.array) -> Array:
    """Return a tensor as float32 (rows, columns)."""
    return np.array(a.astype(mx.float32))


def _numbers(part: mx.array) -> Array:
    return matrix(part).ravel()


def tensors_in(file: Path) -> dict[str, mx.array]:
    """Return the tensors of one file as they are stored, unread until they are evaluated."""
    try:
        found: dict[str, mx.array] = mx.load(str(file))  # type: ignore[assignment]
    except (RuntimeError, ValueError) as error:
        reason = reason_of(error)
        raise ModelError(
            "read-failed",
            f"`{file}` cannot be read: {reason}",
            hint="download it again, or convert it with mlx_lm",
            path=str(file),
        ) from error
    return found


def _listed(file: Path, stored: Mapping[str, mx.array], config: Config) -> dict[str, Tensor]:
    """Describe the tensors of a file; scales and biases belong to the weights that they unpack."""
    packed = {name for name in stored if _is_packed(name, stored)}
    belong = {
        f"{n.removesuffix('.weight')}.{part}" for n in packed for part in ("scales", "biases")
    }
    found = {}
    for name, array in stored.items():
        if name in packed:
            packing = _packing(name, config)
            shape = (*array.shape[:-1], array.shape[-1] * 32 // packing.bits)
            kind = f"{packing.bits}-bit"
            found[name] = Tensor(name, tuple(shape), kind, file, packing)
        elif name not in belong:
            kind = str(array.dtype).removeprefix("mlx.core.")
            found[name] = Tensor(name, tuple(array.shape), kind, file)
    return found


def _is_packed(name: str, stored: Mapping[str, mx.array]) -> bool:
    stem = name.removesuffix(".weight")
    return name != stem and stored[name].dtype == mx.uint32 and f"{stem}.scales" in stored


def _packing(name: str, config: Config) -> Packing:
    """Return how mlx-lm packed a weight: the model's settings, or those of this module."""
    settings = config.get("quantization") or config.get("quantization_config") or {}
    own = settings.get(name.removesuffix(".weight"), settings)
    chosen = {**settings, **(own if isinstance(own, dict) else {})}
    if "bits" not in chosen or "group_size" not in chosen:
        raise ModelError(
            "packing-unknown",
            f"`{name}` is packed, but the configuration does not say how",
            hint="its config.json needs `quantization` with bits and group_size",
            tensor=name,
        )
    return Packing(**{key: chosen[key] for key in ("group_size", "bits", "mode") if key in chosen})
