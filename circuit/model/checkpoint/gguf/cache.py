"""The checkpoint folder of a GGUF file, in the cache: ``gguf/<SHA-256 of the file>-<reading>``.

Weights are written a shard at a time, so that memory holds a few tensors, into a folder with the
ending ``.partial``, under a lock: a second process waits, and a killed run is resumed after
its last whole shard. The folder gets its name when everything in it is on the disk, so a folder
of that name is whole.

All weights have one dtype: float16 or bfloat16 where it holds every number of the file exactly,
float32 otherwise, as for every quantised file.
"""

import contextlib
import fcntl
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import mlx.core as mx
import numpy as np

from circuit.errors import ModelError
from circuit.model.checkpoint.gguf.contents import Contents, Numbers, open_contents
from circuit.model.checkpoint.gguf.families import (
    Config,
    Family,
    config_of,
    family_of,
    restored,
    sources_of,
)
from circuit.model.checkpoint.gguf.files import ABOUT, digest_of, gguf_digest
from circuit.model.checkpoint.gguf.tokenizer import GgufTokenizer, tokenizer_of
from circuit.model.machine.runtime import cache_folder
from circuit.values.json_values import parse_json

READING = 1  # of this code: raised when the same file becomes another checkpoint
_SHARD = 2**28  # bytes
_FLOATS = {"F32", "F16", "BF16"}


@dataclass(frozen=True)
class GgufAbout:
    """What was read of a GGUF file; kept in its checkpoint folder as ``gguf.json``."""

    files: list[str]
    sha256: str
    family: str
    name: str | None
    basename: str | None
    quantisation: dict[str, int]
    n_tensors: int
    tokenizer: str
    chat_template: bool
    context_length: int
    dtype: str
    n_bytes: int


@dataclass(frozen=True, eq=False)
class _Plan:
    """Everything that is known before a weight is read; ``shards`` list the parameters."""

    contents: Contents
    family: Family
    config: Config
    sources: Mapping[str, str]
    tokenizer: GgufTokenizer
    dtype: str
    shards: Sequence[Sequence[str]]

    def shard_name(self, number: int) -> str:
        return f"model-{number + 1:05}-of-{len(self.shards):05}.safetensors"

    def n_bytes(self) -> int:
        """Return the size of all weights."""
        return sum(map(self.size, self.sources))

    def size(self, parameter: str) -> int:
        """Return the bytes of one parameter."""
        width = 4 if self.dtype == "float32" else 2
        return width * int(np.prod(self.contents.shape(self.sources[parameter])))

    def read(self, parameter: str) -> Numbers:
        return restored(self.contents, self.family, self.sources[parameter], self.config)


def checkpoint_of(files: Sequence[Path]) -> Path:
    """Return the checkpoint folder of a model as GGUF; write it if the cache does not have it.

    Raises ``ModelError`` for a file that cannot be read as a model, and for a cache that cannot be
    written.
    """
    with _cache_errors(files[0]):
        digest = digest_of(files)
        folder = cache_folder() / "gguf" / f"{digest}-{READING}"
        if folder.is_dir():
            return folder
        plan = _plan(open_contents(files))
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            if not folder.is_dir():
                _write(plan, folder, [path.name for path in files], digest)
    return folder


def about_gguf(folder: Path) -> GgufAbout | None:
    """Return what was read of the GGUF file behind a checkpoint folder; None for another folder."""
    if gguf_digest(folder) is None:
        return None
    return GgufAbout(**parse_json((folder / ABOUT).read_text(encoding="utf-8")))


def _plan(contents: Contents) -> _Plan:
    """Read everything but the weights, so that whatever is refused is refused first."""
    family, config = family_of(contents), config_of(contents)
    sources = sources_of(contents, config)
    tokenizer = tokenizer_of(contents)
    rows, known = config["vocab_size"], tokenizer.tokenizer.get_vocab_size()
    assert isinstance(rows, int)
    if known > rows:
        raise ModelError(
            "vocabulary-mismatch",
            f"`{contents.path}` has {known} tokens, but embeddings of {rows}",
            hint="convert the model again with a current llama.cpp",
            path=str(contents.path),
            n_tokens=known,
            n_rows=rows,
        )
    plan = _Plan(contents, family, config, sources, tokenizer, "float32", ())
    plan = _Plan(contents, family, config, sources, tokenizer, _dtype(plan), ())
    shards: list[list[str]] = [[]]
    filled = 0
    for parameter in sources:
        if shards[-1] and filled + plan.size(parameter) > _SHARD:
            shards.append([])
            filled = 0
        shards[-1].append(parameter)
        filled += plan.size(parameter)
    return _Plan(contents, family, config, sources, tokenizer, plan.dtype, shards)


def _dtype(plan: _Plan) -> str:
    """Return the smallest dtype that holds every weight exactly."""
    kinds = {plan.contents.tensors[name].tensor_type.name for name in plan.sources.values()}
    if not kinds <= _FLOATS:
        return "float32"
    held = ["bfloat16", "float16"]
    for parameter in plan.sources:
        numbers = mx.array(plan.read(parameter))
        held = [dtype for dtype in held if _holds(dtype, numbers)]
        if not held:
            return "float32"
    return held[0]


def _holds(dtype: str, numbers: mx.array) -> bool:
    narrow = numbers.astype(getattr(mx, dtype)).astype(mx.float32)
    return bool(mx.array_equal(narrow, numbers).item())


def _write(plan: _Plan, folder: Path, names: list[str], digest: str) -> None:
    partial = folder.with_name(f"{folder.name}.partial")
    partial.mkdir(exist_ok=True)
    _check_space(plan, partial)
    size = f"{plan.n_bytes() / 1e6:.0f} MB of {plan.dtype}"
    sys.stderr.write(f"`{plan.contents.path}` is read, and kept in `{folder.parent}`: {size}\n")
    for number in range(len(plan.shards)):
        _write_shard(plan, partial / plan.shard_name(number), plan.shards[number])
    about = _about(plan, names, digest)
    ids = plan.tokenizer.special_ids()
    quantised = {"format": "gguf", "sha256": digest, "tensors": about.quantisation}
    where = {
        name: plan.shard_name(number) for number, shard in enumerate(plan.shards) for name in shard
    }
    documents = {
        "config.json": {**plan.config, **ids, "dtype": plan.dtype, "gguf": quantised},
        "generation_config.json": ids,
        "tokenizer_config.json": plan.tokenizer.config,
        "model.safetensors.index.json": {
            "metadata": {"total_size": plan.n_bytes()},
            "weight_map": where,
        },
        ABOUT: asdict(about),
    }
    for name, document in documents.items():
        text = json.dumps(document, indent=1, ensure_ascii=False)
        (partial / name).write_text(text, encoding="utf-8")
    plan.tokenizer.tokenizer.save(str(partial / "tokenizer.json"))
    for path in (*(partial / name for name in (*documents, "tokenizer.json")), partial):
        _sync(path)
    partial.rename(folder)
    _sync(folder.parent)


def _write_shard(plan: _Plan, path: Path, parameters: Sequence[str]) -> None:
    """Write one shard; its name, a link to a file named by its SHA-256, is there when it is whole.

    The digest of the weights need not be computed again: see ``identity``.
    """
    if path.exists():
        return
    arrays = {}
    for parameter in parameters:
        arrays[parameter] = mx.array(plan.read(parameter)).astype(getattr(mx, plan.dtype))
        mx.eval(arrays[parameter])
    temporary = path.with_name(f"unfinished-{path.name}")
    mx.save_safetensors(str(temporary), arrays, metadata={"format": "pt"})
    arrays.clear()
    mx.clear_cache()
    _sync(temporary)
    digest = digest_of([temporary])
    temporary.rename(path.with_name(digest))
    path.symlink_to(digest)


def _about(plan: _Plan, names: list[str], digest: str) -> GgufAbout:
    contents = plan.contents
    said = {key: contents.text(f"general.{key}", "") or None for key in ("name", "basename")}
    longest = plan.config["max_position_embeddings"]
    assert isinstance(longest, int)
    return GgufAbout(
        files=names,
        sha256=digest,
        family=contents.architecture,
        name=said["name"],
        basename=said["basename"],
        quantisation=contents.kinds(),
        n_tensors=len(contents.tensors),
        tokenizer=plan.tokenizer.name,
        chat_template="chat_template" in plan.tokenizer.config,
        context_length=longest,
        dtype=plan.dtype,
        n_bytes=plan.n_bytes(),
    )


def _check_space(plan: _Plan, folder: Path) -> None:
    there = sum(path.stat().st_size for path in folder.glob("model-*"))
    needed, free = plan.n_bytes() - there, shutil.disk_usage(folder).free
    if needed > free:
        raise ModelError(
            "no-space-left",
            f"`{plan.contents.path}` needs {needed / 1e9:.1f} GB in `{folder.parent}` "
            f"as a checkpoint, and {free / 1e9:.1f} GB are free",
            hint="free some space, or let CIRCUIT_CACHE name a folder on another disk",
            path=str(folder.parent),
            n_bytes=needed,
        )


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process writes this folder; the kernel frees the lock of a killed one."""
    with (folder.with_name(f"{folder.name}.lock")).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _cache_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = error.filename or cache_folder() / "gguf"
        raise ModelError(
            "cache-not-writable",
            f"`{path}` cannot be kept as a checkpoint: `{where}`: {error.strerror or error}",
            hint="make it writable, or let CIRCUIT_CACHE name another folder",
            path=str(where),
        ) from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
