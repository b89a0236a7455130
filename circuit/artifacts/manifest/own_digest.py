"""The digest of a manifest's own content: ``run.content_sha256``, by which an edit is noticed.

It is the SHA-256 of the canonical text of everything but ``run``: the digest by which later
artifacts name the manifest (``manifest.digest``). Manifests written before it existed have none,
and are read.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from circuit.artifacts.files.documents import as_object, canonical_chunks
from circuit.errors import ArtifactError


def content_digest(content: Mapping[str, object]) -> str:
    """Return the digest of a manifest's content, which may hold models."""
    sha256 = hashlib.sha256()
    for chunk in canonical_chunks({key: value for key, value in content.items() if key != "run"}):
        sha256.update(chunk)
    return sha256.hexdigest()


def check_own_digest(document: Mapping[str, object], path: Path) -> None:
    """Raise ``ArtifactError`` if the content of a parsed manifest is not what its digest says."""
    recorded = as_object(document.get("run")).get("content_sha256")
    if recorded is not None and recorded != content_digest(document):
        raise ArtifactError(
            "manifest-edited",
            f"`{path}` was changed after it was written: its content has another digest",
            hint="restore it, or write it again with --force",
            path=str(path),
        )
