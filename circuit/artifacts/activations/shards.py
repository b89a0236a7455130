"""Join the shards of an archive, once all of them are there.

Each shard is an archive, ``x-00002-of-00004.safetensors``, with a small manifest, schema
``circuit.shard/1``: the origin, its range of prompts and the results of its run, but not the
prompts. It is written by one process, which resumes by its own journal. The process that finishes
last writes the index (``circuit.artifacts.activations.shard_index``) and the manifest ``x.json``,
which equals that of an unsharded archive except for its outputs. Two processes that finish at the
same time wait for each other, and write the same bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from circuit.artifacts.activations.activations import Activations
from circuit.artifacts.activations.contents import Arrays, Contents, ShardContents
from circuit.artifacts.activations.joined_archive import JoinedArchive
from circuit.artifacts.activations.shard_index import Index, IndexMetadata, ShardFile
from circuit.artifacts.archive.archive import Archive
from circuit.artifacts.archive.journal import journal_path
from circuit.artifacts.files.atomic import remove_temporaries, write_file
from circuit.artifacts.files.differences import differences
from circuit.artifacts.files.documents import document_bytes, validated
from circuit.artifacts.files.locks import locked
from circuit.artifacts.files.paths import archive_path, index_path, manifest_path, shard_path
from circuit.artifacts.manifest.manifest import (
    FileRef,
    Manifest,
    Run,
    read_manifest,
    reference,
    write_manifest,
)
from circuit.artifacts.manifest.origin import Origin
from circuit.artifacts.prompts.prompts import PromptSet
from circuit.errors import ArtifactError
from circuit.values import schemas
from circuit.values.json_values import JsonMapping

Results = JsonMapping

_TIMEOUT = 60.0  # seconds


@dataclass(frozen=True)
class JoinResult:
    """The joint archive, or the shards that are missing or of another run."""

    activations: Activations | None = None
    missing: tuple[int, ...] = ()
    others: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Shard:
    manifest: Manifest
    contents: ShardContents
    file: FileRef
    beside: tuple[FileRef, ...]
    archive: Archive


def join_shards(
    stem: Path,
    count: int,
    *,
    prompts: PromptSet,
    origin: Origin,
    combine: Callable[[Sequence[Results]], Results],
    run: Run,
    force: bool = False,
) -> JoinResult:
    """Make one archive of ``count`` shards that were collected from ``origin``, if all are there.

    ``combine`` makes the results of the whole from the results of each shard, in their order.
    """
    paths = {number: shard_path(stem, number, count) for number in range(1, count + 1)}
    found = {number: _read(path) for number, path in paths.items() if path.exists()}
    missing = tuple(number for number in paths if number not in found)
    others = {number: _difference(part, origin) for number, part in found.items()}
    others = {number: difference for number, difference in others.items() if difference}
    if missing or others:
        return JoinResult(missing=missing, others=others)
    parts = list(found.values())
    _require_tiling(stem, parts, len(prompts.prompts))
    results = combine([part.contents.found for part in parts])
    archive = archive_path(stem)
    # An unsharded archive of this name would have the same lock.
    with locked(journal_path(archive), archive, timeout=_TIMEOUT):
        remove_temporaries(index_path(stem))
        remove_temporaries(manifest_path(stem))
        whole = _write(stem, parts, prompts, results=results, run=run, force=force)
        return JoinResult(activations=whole)


def _read(path: Path) -> _Shard:
    manifest = read_manifest(path, schemas.SHARD)
    contents = validated(ShardContents, manifest.results, path)
    file, *beside = manifest.outputs
    return _Shard(manifest, contents, file, tuple(beside), Archive(path.parent / file.path))


def _difference(part: _Shard, origin: Origin) -> str:
    return differences(origin.covers(), Origin.read(part.manifest).covers())


def _require_tiling(stem: Path, parts: Sequence[_Shard], n_prompts: int) -> None:
    """Raise unless the shards hold every prompt once, in their order."""
    edges = [(0, 0), *(part.contents.rows for part in parts), (n_prompts, n_prompts)]
    if any(left[1] != right[0] for left, right in pairwise(edges)):
        ranges = ", ".join(f"{first}:{end}" for first, end in edges[1:-1])
        raise ArtifactError(
            "shards-incomplete",
            f"the shards of `{stem}` do not hold each of {n_prompts} prompts once: {ranges}",
            hint="collect all shards again, with --force",
            stem=str(stem),
            ranges=ranges,
        )


def _write(
    stem: Path,
    parts: Sequence[_Shard],
    prompts: PromptSet,
    *,
    results: Results,
    run: Run,
    force: bool,
) -> Activations:
    manifest, index, first = manifest_path(stem), index_path(stem), parts[0]
    archive = JoinedArchive(index, [part.archive for part in parts])
    files = [ShardFile(path=part.file.path, rows=part.contents.rows) for part in parts]
    total = IndexMetadata(total_size=sum(part.archive.size for part in parts))
    write_file(index, document_bytes(Index(metadata=total, files=tuple(files))), force=True)
    arrays = {name: getattr(first.contents, name) for name in Arrays.model_fields}
    contents = Contents.model_validate(
        {**arrays, "n_prompts": len(prompts.prompts), "prompts": prompts}
    )
    written = write_manifest(
        manifest,
        schema=schemas.ACTIVATIONS,
        parameters=first.manifest.parameters,
        inputs=first.manifest.inputs,
        outputs=[
            reference(index, manifest.parent),
            *(part.file for part in parts),
            *(ref for part in parts for ref in part.beside),
        ],
        results={**results, **dict(contents)},
        model=first.manifest.model,
        tokenizer=first.manifest.tokenizer,
        run=run,
        force=force,
    )
    del written.results["prompts"]
    return Activations(manifest, written, contents, archive)
