"""The index of an archive in shards: which file has which prompts.

``x.safetensors.index.json``, schema ``circuit.index/1``:

    {"schema": "circuit.index/1",
     "metadata": {"total_size": bytes of all arrays},
     "files": [{"path": "x-00001-of-00002.safetensors", "rows": [first, end]}]}

Hugging Face's index of the same name maps each tensor to the one file that holds it
(``weight_map``). Here every file holds some rows of every array, because one machine computes a
range of prompts. So the index lists ranges, in the order of the prompts and without gaps.
"""

from pathlib import Path

from pydantic import Field

from circuit.artifacts.files.documents import read_document, validated
from circuit.artifacts.files.paths import manifest_path, shard_path
from circuit.artifacts.files.records import Record
from circuit.errors import ArtifactError
from circuit.values import schemas


class ShardFile(Record):
    """One file, beside the index, and its prompts."""

    path: str
    rows: tuple[int, int]


class IndexMetadata(Record):
    """The bytes of all arrays together."""

    total_size: int


class Index(Record):
    """What the docstring of this module lists."""

    schema_name: schemas.Index = Field(schemas.INDEX, alias="schema")
    metadata: IndexMetadata
    files: tuple[ShardFile, ...] = Field(min_length=1)


def read_shards(path: Path) -> list[Path]:
    """Return the files that the index at ``path`` lists, in the order of their prompts."""
    index = validated(Index, read_document(path, schemas.INDEX), path)
    return [path.parent / file.path for file in index.files]


def refuse_unjoined(source: Path) -> None:
    """Raise ``ArtifactError`` when there are shards, but not their joint manifest ``source``."""
    if source.exists() or not (counts := _counts(source)):
        return
    count = counts[0]
    missing = [n for n in range(1, count + 1) if not shard_path(source, n, count).exists()]
    which = (
        f"shards {', '.join(map(str, missing))} of {count} are missing"
        if missing
        else "they are not joined"
    )
    raise ArtifactError(
        "shards-not-joined",
        f"`{source}` does not exist, only shards: {which}",
        hint="collect the missing shards with --shard; the last one joins them",
        path=str(source),
        missing=missing,
        count=count,
    )


def _counts(source: Path) -> list[int]:
    """Return the numbers of shards into which files in the folder divide the archive."""
    stem = manifest_path(source).stem
    found = [path.stem.rpartition("-of-") for path in source.parent.glob("*-of-*.json")]
    return sorted(
        int(count)
        for rest, _, count in found
        if count.isdigit() and rest[:-6] == stem and rest[-5:].isdigit()
    )
