"""The requests of ``circuit export`` and ``circuit import``."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from circuit.stages.options import LAYERS, REVISION, ArchiveOutputOptions
from circuit.values.requests import argument, group, option


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """Write directions for other programs, or for circuit in another format.

    A GGUF control vector is what llama.cpp and repeng take. circuit reads every format that it
    writes; what it wrote is read back to the bit.

    Examples:
      circuit export directions.safetensors -o tool.gguf
      circuit export directions.safetensors -o tool.safetensors --format steering-lite --scale unit
      circuit export directions.safetensors -o tool.npz --layer 3
    """

    COMMAND: ClassVar[str] = "circuit.stages.exchange.export:EXPORT"

    file: Path = argument(help="Steering file, of circuit or another program.")
    output: Path = option("--output", "-o", help="The file to write.")
    format_name: str | None = option(
        "--format",
        help="gguf, npz, json, svec, steering-lite or saklas.",
        default=None,
        shown_default="as -o ends",
    )
    name: str | None = option(
        "--name",
        help="One direction of the file.",
        default=None,
        shown_default="the recommended one",
    )
    layers: str | None = option(
        "--layers",
        "--layer",
        help=LAYERS,
        default=None,
        shown_default="all that the format takes",
    )
    scale: str | None = option(
        "--scale",
        help="Length of the vectors: natural (distance of the class means), unit, or a number.",
        default=None,
        shown_default="natural",
    )
    force: bool = option("--force", help="Replace output that exists.", default=False)


@dataclass(frozen=True, kw_only=True)
class ImportRequest:
    """Keep a steering file of another program as an archive with a manifest.

    GGUF control vectors, npz, json, .svec, and the safetensors of steering-lite and saklas; pickles
    are never loaded. `circuit steer -d` takes the same files without this. Here the model is
    checked (its weights are not read), and the origin of the vectors is recorded.

    Examples:
      circuit import computation.gguf -o control -m tiny
      circuit import computation.npz -o pair --model-id tiny
    """

    COMMAND: ClassVar[str] = "circuit.stages.exchange.import_file:IMPORT"

    file: Path = argument(help="Steering file of another program.")
    output: ArchiveOutputOptions = group(ArchiveOutputOptions)
    model: str | None = option(
        "--model",
        "-m",
        help="The model that it is for: its width and depth must fit.",
        default=None,
    )
    model_id: str | None = option(
        "--model-id", help="The model's id, when it is not at hand.", default=None
    )
    layer_offset: int = option(
        "--layer-offset", help="Added to the layers' numbers in the file.", default=0
    )
    revision: str | None = option("--revision", help=REVISION, default=None)
