"""Activations: what a model computed for a prompt set, one array per site, layer and position.

``x.safetensors`` holds the arrays (``circuit.artifacts.activations.contents`` has their names and
shapes). ``x.json`` is the manifest, schema ``circuit.activations/2``; its results hold the prompts,
so that later stages need no other file. An archive in shards
(``circuit.artifacts.activations.shards``) has its manifest in the same place and is read as one.

Opening checks the schema, the digests, that the manifest belongs to the archive, and the shapes;
reading an array checks that it is finite. Where a position chose several tokens of a prompt,
``read`` returns their mean, and ``ragged`` each of them.
"""

from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from circuit.artifacts.activations.contents import (
    TOKEN_IDS,
    Contents,
    indices_name,
    is_offsets,
    offsets_name,
    tensor_name,
)
from circuit.artifacts.activations.joined_archive import JoinedArchive
from circuit.artifacts.activations.shard_index import read_shards, refuse_unjoined
from circuit.artifacts.archive.archive import Archive, Floats
from circuit.artifacts.archive.ragged import Offsets, means, split
from circuit.artifacts.files.documents import validated
from circuit.artifacts.files.paths import archive_path, index_path, manifest_path
from circuit.artifacts.manifest.manifest import (
    Manifest,
    check_described,
    check_outputs,
    read_manifest,
)
from circuit.artifacts.prompts.prompts import Prompt, PromptSet, Rows
from circuit.errors import ArtifactError, UsageError
from circuit.values import schemas

Tokens = NDArray[np.int32]


class Activations:
    """An archive of activations with its manifest and its prompts, read array by array."""

    def __init__(
        self, path: Path, manifest: Manifest, contents: Contents, archive: Archive | JoinedArchive
    ) -> None:
        self.path = path
        self.manifest = manifest
        self.archive = archive
        self.contents = contents
        self.prompt_set: PromptSet = contents.prompts
        self.positions = list(contents.positions)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open ``x.json``, ``x.safetensors``, its index, or the stem ``x``."""
        source = manifest_path(path)
        refuse_unjoined(source)
        manifest = read_manifest(source, schemas.ACTIVATIONS)
        check_outputs(source, manifest)
        contents = validated(Contents, manifest.results, source)
        # Once is enough to hold 50,000 prompts.
        del manifest.results["prompts"]
        opened = cls(source, manifest, contents, open_archive(source, manifest))
        opened._check_shapes()
        return opened

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
        """The sites, in the order in which they were requested."""
        return list(self.contents.layers)

    def layers(self, site: str) -> list[int]:
        """Return the layers at which ``site`` was collected."""
        self._require(site)
        return list(self.contents.layers[site])

    def shape(self, site: str) -> tuple[int, ...]:
        """Return the shape of what ``site`` has for one token, such as ``(n_heads, head_dim)``."""
        self._require(site)
        return self.contents.shapes[site]

    def width(self, site: str) -> int:
        """Return the length of a row: the product of the shape."""
        self._require(site)
        return self.contents.width(site)

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

    def read(self, site: str, layer: int, position: str | None = None) -> Floats:
        """Read ``(n_prompts, width)`` float32; ``position`` may be left out when there is only one.

        Several rows of a prompt are averaged.
        """
        if site == "attn_pattern":
            raise UsageError(
                "site-not-applicable",
                "the rows of `attn_pattern` are keys, so their mean has no meaning",
                hint="choose another site; in Python, Activations.ragged reads the rows",
                site="attn_pattern",
            )
        name = self._name(site, layer, position)
        if not self.is_ragged(site, position):
            return self.archive.read(name)
        offsets = self._offsets(offsets_name(site, self._position(position)))
        return means(
            lambda first, end: self.archive.rows(name, first, end), offsets, self.width(site)
        )

    def ragged(self, site: str, layer: int, position: str | None = None) -> tuple[Floats, Offsets]:
        """Read all rows ``(n_rows, width)``, and the offsets at which each prompt begins.

        The rows of prompt ``i`` are ``offsets[i]:offsets[i + 1]``.
        """
        values = self.archive.read(self._name(site, layer, position))
        if not self.is_ragged(site, position):
            return values, np.arange(len(values) + 1, dtype=np.int64)
        return values, self._offsets(offsets_name(site, self._position(position)))

    def is_ragged(self, site: str, position: str | None = None) -> bool:
        """Return whether a prompt can have several rows."""
        return offsets_name(site, self._position(position)) in self.archive.names

    def token_ids(self) -> list[Tokens]:
        """Read the token ids of each prompt."""
        return self._lists(TOKEN_IDS, "its prompts are not in it as tokens")

    def indices(self, position: str | None = None) -> list[Tokens]:
        """Read which tokens of each prompt a position chose; a mean over all tokens has none."""
        chosen = self._position(position)
        return self._lists(indices_name(chosen), f"the position `{chosen}` is of no single tokens")

    def y(self) -> tuple[Rows, Rows]:
        """Return the labelled rows and the class number of each (an index into ``labels``)."""
        return self.prompt_set.y()

    def groups(self) -> NDArray[np.str_]:
        """Return one group name per row."""
        return self.prompt_set.groups()

    def pairs(self) -> Rows:
        """Return the contrast pairs as rows ``(positive, negative)``, shape ``(n_pairs, 2)``."""
        return self.prompt_set.pairs()

    def _require(self, site: str) -> None:
        if site not in self.contents.layers:
            raise UsageError(
                "site-not-in-archive",
                f"`{self.path}` holds no site `{site}`",
                hint=f"it holds {', '.join(self.sites)}",
                path=str(self.path),
                site=site,
            )

    def _name(self, site: str, layer: int, position: str | None) -> str:
        if layer not in self.layers(site):
            available = ", ".join(map(str, self.layers(site)))
            raise UsageError(
                "layer-not-in-archive",
                f"`{self.path}` holds no layer {layer} of `{site}`",
                hint=f"it holds layers {available}",
                path=str(self.path),
                site=site,
                layer=layer,
            )
        return tensor_name(site, layer, self._position(position), self.positions)

    def _position(self, position: str | None) -> str:
        if position is None and len(self.positions) == 1:
            return self.positions[0]
        if position not in self.positions:
            which = f"no position `{position}`" if position else "more than one position"
            raise UsageError(
                "position-not-in-archive",
                f"`{self.path}` holds {which}",
                hint=f"choose one of {', '.join(self.positions)}",
                path=str(self.path),
                position=position,
            )
        return str(position)

    def _lists(self, name: str, why_not: str) -> list[Tokens]:
        if name not in self.archive.names:
            raise UsageError(
                "array-not-in-archive",
                f"`{self.path}` holds no `{name}`: {why_not}",
                hint="collect the activations again with what is missing",
                path=str(self.path),
                array=name,
            )
        values = self.archive.integers(name).astype(np.int32, copy=False)
        return split(values, self._offsets(offsets_name(name)))

    def _offsets(self, name: str) -> Offsets:
        offsets = self.archive.integers(name).astype(np.int64, copy=False)
        whole = offsets.shape == (len(self.prompt_set.prompts) + 1,) and offsets[0] == 0
        if not whole or (np.diff(offsets) < 0).any():
            raise ArtifactError(
                "archive-inconsistent",
                f"`{name}` in `{self.archive.path}` does not divide its rows among the prompts",
                hint="collect the activations again",
                path=str(self.archive.path),
                array=name,
            )
        return offsets

    def _check_shapes(self) -> None:
        rows = len(self.prompt_set.prompts)
        lengths = {
            name: int(self._offsets(name)[-1]) for name in self.archive.names if is_offsets(name)
        }
        for name, (site, position) in self.contents.tensors().items():
            expected = (lengths.get(offsets_name(site, position), rows), self.contents.width(site))
            if (shape := self.archive.shape(name)) != expected:
                raise ArtifactError(
                    "archive-inconsistent",
                    f"`{name}` in `{self.archive.path}` has shape {shape}, not {expected}",
                    hint="collect the activations again",
                    path=str(self.archive.path),
                    array=name,
                    shape=shape,
                    expected=expected,
                )


def open_archive(source: Path, manifest: Manifest) -> Archive | JoinedArchive:
    """Open the archive that a manifest describes: one file, or the shards that its index lists."""
    index = index_path(source)
    if any(output.path == index.name for output in manifest.outputs):
        shards = read_shards(index)
        check_described(source, manifest, shards)
        return JoinedArchive(index, [Archive(path) for path in shards])
    check_described(source, manifest, [archive_path(source)])
    return Archive(archive_path(source))
