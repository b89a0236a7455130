"""Activations: what a model computed for a prompt set, one array per site, layer and position.

``x.safetensors`` holds arrays of shape ``(n_prompts, d)``, rows in the order of the prompts, named

    <site>.<layer>                  resid_post.12
    embed                           the embedding has no layer; it is listed as layer 0
    <site>.<layer>@<position>       with more than one position: resid_post.12@last

``x.json`` is the manifest, schema ``circuit.activations/1``. Its results hold the prompts themselves, so that the two
files are enough for everything that follows. Opening checks the schema and the digest and shapes of the archive;
reading an array checks that it is finite.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, Field

from circuit.artifacts.archive import Archive, is_archive
from circuit.artifacts.archive_writer import ArchiveWriter
from circuit.artifacts.atomic import refuse_overwrite, removed_on_failure
from circuit.artifacts.documents import plain, validated
from circuit.artifacts.manifest import (
    Manifest,
    Run,
    check_outputs,
    manifest_path,
    read_manifest,
    write_manifest,
)
from circuit.artifacts.prompts import Prompt, PromptSet, Rows
from circuit.errors import ArtifactError, UsageError

SCHEMA = "circuit.activations/1"


class Contents(BaseModel):
    """The part of the manifest's results that says what the archive holds."""

    n_prompts: int
    d_model: int
    dtype: str
    positions: tuple[str, ...] = Field(min_length=1)
    layers: dict[str, tuple[int, ...]] = Field(min_length=1)
    prompts: PromptSet


class Activations:
    """An archive of activations with its manifest and its prompts, read array by array."""

    def __init__(
        self, path: Path, manifest: Manifest, contents: Contents, archive: Archive
    ) -> None:
        self.path = path
        self.manifest = manifest
        self.archive = archive
        self.contents = contents
        self.prompt_set = contents.prompts
        self.positions = list(contents.positions)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open ``x.safetensors``, ``x.json`` or the stem ``x``."""
        source = manifest_path(path)
        manifest = read_manifest(source, SCHEMA)
        check_outputs(source, manifest)
        contents = validated(Contents, manifest.results, source)
        opened = cls(source, manifest, contents, Archive(archive_path(path)))
        opened._check_shapes()
        return opened

    @staticmethod
    def create(stem: Path, **shape: Any) -> "ActivationsWriter":
        """Start a new archive: see ``ActivationsWriter``."""
        return ActivationsWriter(stem, **shape)

    @property
    def prompts(self) -> list[Prompt]:
        """The prompts, one per row."""
        return list(self.prompt_set.prompts)

    @property
    def labels(self) -> list[str]:
        """The names of the labels; with two, the second is the positive class."""
        return list(self.prompt_set.labels)

    @property
    def sites(self) -> list[str]:
        """The sites, in the order in which they were asked for."""
        return list(self.contents.layers)

    def layers(self, site: str) -> list[int]:
        """Return the layers at which ``site`` was collected."""
        if site not in self.contents.layers:
            message = f"`{self.path}` holds no site `{site}`"
            raise UsageError(message, hint=f"it holds {', '.join(self.sites)}")
        return list(self.contents.layers[site])

    @property
    def n_layers(self) -> int:
        """The number of blocks of the model, collected or not."""
        model = self.manifest.model
        if model is not None and model.n_layers is not None:
            return model.n_layers
        return 1 + max(layer for layers in self.contents.layers.values() for layer in layers)

    @property
    def d_model(self) -> int:
        """The width of the residual stream."""
        return self.contents.d_model

    def read(self, site: str, layer: int, position: str | None = None) -> NDArray[np.float32]:
        """Read ``(n_prompts, d)`` float32; ``position`` may be left out when there is only one."""
        if layer not in self.layers(site):
            available = ", ".join(map(str, self.layers(site)))
            message = f"`{self.path}` holds no layer {layer} of `{site}`"
            raise UsageError(message, hint=f"it holds layers {available}")
        return self.archive.read(tensor_name(site, layer, self._position(position), self.positions))

    def y(self) -> tuple[Rows, Rows]:
        """Return the labelled rows and the class number of each (an index into ``labels``)."""
        return self.prompt_set.y()

    def groups(self) -> NDArray[np.str_]:
        """Return one group name per row."""
        return self.prompt_set.groups()

    def pairs(self) -> Rows:
        """Return the contrast pairs as rows ``(positive, negative)``, shape ``(n_pairs, 2)``."""
        return self.prompt_set.pairs()

    def _position(self, position: str | None) -> str:
        if position is None and len(self.positions) == 1:
            return self.positions[0]
        if position not in self.positions:
            which = f"no position `{position}`" if position else "more than one position"
            message = f"`{self.path}` holds {which}"
            raise UsageError(message, hint=f"choose one of {', '.join(self.positions)}")
        return str(position)

    def _check_shapes(self) -> None:
        for site, layers in self.contents.layers.items():
            for name in (
                tensor_name(site, at, p, self.positions) for at in layers for p in self.positions
            ):
                shape = self.archive.shape(name)
                if len(shape) != 2 or shape[0] != len(self.prompt_set.prompts):
                    rows = len(self.prompt_set.prompts)
                    message = (
                        f"`{name}` in `{self.archive.path}` has shape {shape} for {rows} prompts"
                    )
                    raise ArtifactError(message, hint="collect the activations again")


class ActivationsWriter:
    """An archive of activations in the making; used as a context manager it leaves nothing on failure.

    ``widths`` gives the width of sites that are not ``d_model`` wide.
    """

    def __init__(
        self,
        stem: Path,
        *,
        prompts: PromptSet,
        sites_layers: Sequence[tuple[str, int]],
        positions: Sequence[str],
        d_model: int,
        dtype: str = "float32",
        widths: Mapping[str, int] | None = None,
        force: bool = False,
    ) -> None:
        self.manifest_path, self.path, self.force = manifest_path(stem), archive_path(stem), force
        refuse_overwrite(self.manifest_path, force=force)
        self.results: dict[str, Any] = {
            "n_prompts": len(prompts.prompts),
            "d_model": d_model,
            "dtype": dtype,
            "positions": list(positions),
            "layers": _layers_by_site(sites_layers),
            "prompts": plain(prompts),
        }
        width = {site: (widths or {}).get(site, d_model) for site, _ in sites_layers}
        shapes = {
            tensor_name(site, layer, position, positions): (len(prompts.prompts), width[site])
            for site, layer in sites_layers
            for position in positions
        }
        # Without a manifest, an archive of ours is what an interrupted run left.
        replace = force or (not self.manifest_path.exists() and is_archive(self.path))
        self._archive = ArchiveWriter(
            self.path, shapes, {"schema": SCHEMA}, dtype=dtype, force=replace
        )

    def put(self, site: str, layer: int, position: str, rows: ArrayLike, values: ArrayLike) -> None:
        """Write ``values`` ``(k, d)`` to ``rows`` ``(k,)`` of one array."""
        self._archive.put(
            tensor_name(site, layer, position, self.results["positions"]), values, rows
        )

    def finish(
        self,
        *,
        parameters: Mapping[str, Any],
        inputs: Sequence[Path],
        run: Run,
        model: Any = None,
        tokenizer: Any = None,
        results: Mapping[str, Any] | None = None,
    ) -> Activations:
        """Write the manifest, after the archive, and open what is now complete."""
        if self.force:
            # Between the two renames an old manifest must not vouch for the new archive.
            self.manifest_path.unlink(missing_ok=True)
        self._archive.finish()
        with removed_on_failure(self.path):
            write_manifest(
                self.manifest_path,
                schema=SCHEMA,
                parameters=parameters,
                inputs=inputs,
                outputs=[self.path],
                results={**(results or {}), **self.results},
                model=model,
                tokenizer=tokenizer,
                run=run,
                force=self.force,
            )
        return Activations.open(self.manifest_path)

    def abort(self) -> None:
        """Leave nothing behind, unless ``finish`` was called."""
        self._archive.abort()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abort()


def archive_path(path: Path) -> Path:
    """Return ``x.safetensors`` for ``x.json``, ``x.safetensors`` and the stem ``x``."""
    return manifest_path(path).with_name(manifest_path(path).name[: -len(".json")] + ".safetensors")


def tensor_name(site: str, layer: int, position: str, positions: Sequence[str]) -> str:
    """Name the array of one site, layer and position of an archive that has ``positions``."""
    name = site if site == "embed" else f"{site}.{layer}"
    return f"{name}@{position}" if len(positions) > 1 else name


def _layers_by_site(sites_layers: Sequence[tuple[str, int]]) -> dict[str, list[int]]:
    layers: dict[str, list[int]] = {}
    for site, layer in sites_layers:
        layers.setdefault(site, []).append(0 if site == "embed" else layer)
    return {site: sorted(set(found)) for site, found in layers.items()}
