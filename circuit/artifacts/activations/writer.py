"""Write an archive of activations, or one shard of it, batch by batch; a killed run is resumed.

Memory holds the prompts, the offsets and one bit for each prompt, and nothing else that grows with
their number.

    start        the journal is locked, the file is reserved, token ids and offsets are written
    put, done    rows of a batch; the batch
    finish       archive (renamed), manifest, end of the journal: in this order

A run that ends without ``finish`` leaves ``<archive>.partial`` and ``<archive>.journal`` if it had
finished a batch, and nothing otherwise. The same call then finds the finished batches in
``finished``, and the result is that of an uninterrupted run, to the byte. A call with another
origin is refused; ``force`` starts from nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from circuit.artifacts.activations.activations import Activations
from circuit.artifacts.activations.arrangement import Arrangement, ArrayPlan
from circuit.artifacts.activations.contents import Contents, offsets_name, tensor_name
from circuit.artifacts.archive.archive import Archive, is_archive
from circuit.artifacts.archive.journal import remove_finished_journal, unfinished_run
from circuit.artifacts.archive.resumable import ResumableArchive
from circuit.artifacts.files.atomic import refuse_overwrite, remove_temporaries, write_errors
from circuit.artifacts.files.paths import archive_path, index_path, manifest_path, shard_path
from circuit.artifacts.files.writer import Writer
from circuit.artifacts.manifest.manifest import Manifest, Run, write_manifest
from circuit.artifacts.manifest.origin import Origin
from circuit.artifacts.prompts.prompts import PromptSet
from circuit.values import schemas
from circuit.values.json_values import JsonMapping, JsonObject

_LISTS_AT_ONCE = 4096


@dataclass(frozen=True)
class Shard:
    """Shard ``number`` of ``of``, counted from 1, with the prompts ``rows`` of the joint set."""

    number: int
    of: int
    rows: range


class ActivationsWriter(Writer):
    """An unfinished archive of activations, or a shard of one; used as a context manager.

    With a ``shard`` the ``plan`` and the rows of ``put`` are those of its own prompts; ``prompts``
    is the joint set. ``circumstances`` decide the bytes, too, but are not part of the origin: a
    device, a version.
    """

    def __init__(
        self,
        stem: Path,
        plan: ArrayPlan,
        *,
        prompts: PromptSet,
        origin: Origin,
        shard: Shard | None = None,
        circumstances: JsonMapping | None = None,
        force: bool = False,
    ) -> None:
        self._prompts, self._shard, self._origin, self._force = prompts, shard, origin, force
        self.manifest_path, self._joint = _manifest_of(stem, shard), manifest_path(stem)
        self.path = archive_path(self.manifest_path)
        self._refuse()
        n_prompts = len(prompts.prompts) if shard is None else len(shard.rows)
        arranged = Arrangement.of(n_prompts, plan)
        self._arrays = arranged.arrays
        self._rows = ResumableArchive(
            self.path,
            arranged.layout,
            arranged.row_offsets(),
            {**origin.covers(), **_described(shard, circumstances or {})},
            force=force,
        )
        try:
            # Another process may have finished between the first look and the lock.
            self._refuse()
            remove_temporaries(self.manifest_path)
            self._put_known(arranged)
        except BaseException:
            self._rows.close()
            raise

    @property
    def finished(self) -> set[int]:
        """The batches that are done by now, those of an earlier run among them."""
        return set(self._rows.finished)

    def put(self, site: str, layer: int, position: str, rows: ArrayLike, values: ArrayLike) -> None:
        """Write all rows of some prompts, in their order, to one array: ``(k, width)``."""
        self._rows.put(tensor_name(site, layer, position, self._arrays.positions), rows, values)

    def done(self, batch: int) -> None:
        """Mark what was put since the last call as the whole batch number ``batch``."""
        self._rows.done(batch)

    def finish(
        self,
        *,
        run: Run,
        results: JsonMapping | None = None,
        beside: Sequence[Path] = (),
    ) -> Activations:
        """Give the archive its name, write its manifest, and open what is now complete.

        ``beside`` are other files that the run wrote, which the manifest lists as outputs.
        """
        if self._shard is not None:
            message = f"`{self.path}` is a shard: it ends with finish_shard"
            raise ValueError(message)
        contents = Contents.model_validate({**dict(self._arrays), "prompts": self._prompts})
        manifest = self._finish(
            schemas.ACTIVATIONS, {**(results or {}), **dict(contents)}, run, beside
        )
        del manifest.results["prompts"]
        return Activations(self.manifest_path, manifest, contents, Archive(self.path))

    def finish_shard(
        self,
        *,
        run: Run,
        results: JsonMapping | None = None,
        beside: Sequence[Path] = (),
    ) -> Manifest:
        """Give the shard its name and write its manifest; ``join_shards`` does the rest."""
        if self._shard is None:
            message = f"`{self.path}` is no shard: it ends with finish"
            raise ValueError(message)
        number, rows = self._shard.number, self._shard.rows
        described = {
            "shard": (number, self._shard.of),
            "rows": (rows.start, rows.stop),
            "found": results or {},
        }
        return self._finish(schemas.SHARD, {**dict(self._arrays), **described}, run, beside)

    def close(self) -> None:
        """Release the files, so that the same call can resume."""
        self._rows.close()

    def _finish(
        self, schema: str, results: JsonMapping, run: Run, beside: Sequence[Path]
    ) -> Manifest:
        self._rows.require_complete()
        if self._force:
            # Between the two renames no old manifest must vouch for the new archive.
            for path in (self.manifest_path, self._joint, index_path(self._joint)):
                with write_errors(path):
                    path.unlink(missing_ok=True)
        self._rows.finish(replace=self._force or is_archive(self.path))
        manifest = write_manifest(
            self.manifest_path,
            schema=schema,
            parameters=self._origin.parameters,
            inputs=self._origin.inputs,
            outputs=[self.path, *beside],
            results=results,
            model=self._origin.model,
            tokenizer=self._origin.tokenizer,
            run=run,
            force=self._force,
        )
        self._rows.seal()
        return manifest

    def _refuse(self) -> None:
        """Raise when a file must not be replaced; an archive without a manifest may be."""
        for path in (self.manifest_path, self._joint):
            refuse_overwrite(path, force=self._force)
        if not is_archive(self.path):
            refuse_overwrite(self.path, force=self._force)

    def _put_known(self, arranged: Arrangement) -> None:
        """Write what follows from the prompts: tokens, indices, and all offsets."""
        archive = self._rows.archive
        for key, values in arranged.ragged.items():
            archive.put(offsets_name(*key), values)
        for name, lists in arranged.lists.items():
            offsets = arranged.list_offsets[name]
            archive.put(offsets_name(name), offsets)
            for first in range(0, len(lists), _LISTS_AT_ONCE):
                some = np.concatenate(list(lists[first : first + _LISTS_AT_ONCE]))
                archive.put(name, some, int(offsets[first]))


def unfinished_origin(stem: Path, shard: Shard | None = None) -> JsonObject | None:
    """Return the origin of an unfinished archive, as ``Origin.covers`` spells it, or nothing."""
    return unfinished_run(archive_path(_manifest_of(stem, shard)))


def remove_stale_journal(stem: Path, shard: Shard | None = None) -> None:
    """Remove the journal of a run that was killed when nothing was left to do but this."""
    manifest = _manifest_of(stem, shard)
    remove_finished_journal(archive_path(manifest), manifest)


def _manifest_of(stem: Path, shard: Shard | None) -> Path:
    return manifest_path(stem) if shard is None else shard_path(stem, shard.number, shard.of)


def _described(shard: Shard | None, circumstances: JsonMapping) -> JsonObject:
    part = None if shard is None else {"number": shard.number, "of": shard.of}
    rows = None if shard is None else [shard.rows.start, shard.rows.stop]
    return {"circumstances": dict(circumstances), "shard": part and {**part, "rows": rows}}
