"""The origin of an artifact: everything that decides its bytes, known before the work starts.

Runs of one origin give equal artifacts. It is a manifest without its results. A journal records it,
so that no other run resumes an unfinished archive, and the shards of one archive must share it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from circuit.artifacts.files.documents import plain
from circuit.artifacts.manifest.manifest import FileRef, Manifest, reference
from circuit.values.identity import ModelIdentity, TokenizerIdentity
from circuit.values.json_values import JsonMapping, JsonObject
from circuit.values.version import VERSION


@dataclass(frozen=True)
class Origin:
    """Every option with its defaults, the files that were read, the model and its tokenizer."""

    parameters: JsonMapping
    inputs: tuple[FileRef, ...]
    model: ModelIdentity | None = None
    tokenizer: TokenizerIdentity | None = None
    version: str = VERSION

    @classmethod
    def of(
        cls,
        out: Path,
        *,
        parameters: JsonMapping,
        inputs: Sequence[Path],
        model: ModelIdentity | None = None,
        tokenizer: TokenizerIdentity | None = None,
    ) -> Self:
        """Describe what is about to be written to ``out``."""
        return cls(
            plain(parameters),
            tuple(reference(each, out.parent) for each in inputs),
            model,
            tokenizer,
        )

    @classmethod
    def read(cls, manifest: Manifest) -> Self:
        """Return the origin that a manifest records."""
        return cls(
            manifest.parameters,
            manifest.inputs,
            manifest.model,
            manifest.tokenizer,
            manifest.run.version,
        )

    def covers(self) -> JsonObject:
        """Return it as JSON, each file under its path, to be compared entry by entry."""
        files = {ref.path: ref.sha256 for ref in self.inputs}
        identities = {"model": plain(self.model), "tokenizer": plain(self.tokenizer)}
        return {
            "version": self.version,
            "parameters": self.parameters,
            "inputs": files,
            **identities,
        }
