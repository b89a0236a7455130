"""The shards of an archive, read as one archive.

Rows follow each other in the order of the shards. Offsets count from the first row of their shard,
so those of a shard are shifted by the rows before it. Its first offset repeats the last one of the
shard before, and is left out.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from circuit.artifacts.activations.contents import is_offsets
from circuit.artifacts.archive.archive import Archive, Floats, Integers
from circuit.errors import ArtifactError
from circuit.values.json_values import JsonObject


class JoinedArchive:
    """Archives of the same arrays, one behind the other; ``path`` is that of their index."""

    def __init__(self, path: Path, parts: Sequence[Archive]) -> None:
        self.path, self.parts = path, list(parts)
        first, *others = self.parts
        self.metadata: JsonObject = first.metadata
        for part in others:
            if _kinds(part) != _kinds(first):
                raise ArtifactError(
                    "shards-differ",
                    f"`{part.path}` does not hold the arrays that `{first.path}` holds",
                    hint="collect both again, with the same options",
                    path=str(part.path),
                    other=str(first.path),
                )

    @property
    def names(self) -> list[str]:
        """The names of the arrays, sorted."""
        return self.parts[0].names

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of one array."""
        rows = sum(part.shape(name)[0] for part in self.parts)
        rows -= is_offsets(name) * (len(self.parts) - 1)
        return (rows, *self.parts[0].shape(name)[1:])

    def dtype(self, name: str) -> str:
        """Return the type in which one array is stored."""
        return self.parts[0].dtype(name)

    def read(self, name: str) -> Floats:
        """Read one array as float32."""
        return self.rows(name, 0, self.shape(name)[0])

    def rows(self, name: str, first: int, end: int) -> Floats:
        """Read the rows ``first:end`` of one array as float32."""
        out = np.empty((end - first, *self.shape(name)[1:]), np.float32)
        done = 0
        for part, start, length in self._spans(name, first, end):
            part.read_into(out[done : done + length].reshape(-1), name, start)
            done += length
        return out

    def integers(self, name: str) -> Integers:
        """Read one array of integers."""
        found = [part.integers(name) for part in self.parts]
        if not is_offsets(name):
            return np.concatenate(found)
        ends = np.cumsum([0, *(part[-1] for part in found)])
        moved = [part[1:] + end for part, end in zip(found, ends, strict=False)]
        return np.concatenate([found[0][:1], *moved])

    def _spans(self, name: str, first: int, end: int) -> Iterator[tuple[Archive, int, int]]:
        """Yield each shard that holds some of the rows, with the first of them and their number."""
        before = 0
        for part in self.parts:
            length = part.shape(name)[0]
            start, stop = max(first - before, 0), min(end - before, length)
            if start < stop:
                yield part, start, stop - start
            before += length


def _kinds(archive: Archive) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {name: (archive.dtype(name), archive.shape(name)[1:]) for name in archive.names}
