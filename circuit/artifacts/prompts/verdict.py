"""The verdict of ``dataset check``: whether baselines without a model solve a prompt set.

It is stored in the file that it is about:

    "verdict": {"sha256": digest of the content, "clean": true, "bound": 0.6, "n", "n_groups",
                "baselines": {"words": [AUROC, low, high], "word_pairs": …, "surface": …},
                "reasons": []}

``sha256`` is that of the file's canonical JSON without the key ``verdict``. A verdict is *current*
while the content of the file has this digest.
"""

import hashlib
from pathlib import Path

from circuit.artifacts.files.atomic import write_file
from circuit.artifacts.files.documents import (
    as_object,
    canonical_json,
    document_bytes,
    read_json,
    validated,
)
from circuit.artifacts.files.records import Record
from circuit.values.intervals import Interval


class Verdict(Record):
    """The scores of the baselines that use no model, and whether the set is clean."""

    sha256: str
    clean: bool
    bound: float
    n: int
    n_groups: int
    baselines: dict[str, Interval]
    reasons: tuple[str, ...] = ()


def content_digest(document: object) -> str:
    """Return the digest of everything in a document but its verdict."""
    content = {key: value for key, value in as_object(document).items() if key != "verdict"}
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()


def current_verdict(path: Path) -> Verdict | None:
    """Return the verdict in a file, or ``None`` if there is none or the file has changed since."""
    document = as_object(read_json(path))
    found = document.get("verdict")
    verdict = validated(Verdict, found, path) if found is not None else None
    return verdict if verdict and verdict.sha256 == content_digest(document) else None


def write_verdict(path: Path, verdict: Verdict) -> None:
    """Put a verdict into the file that it is about; the rest of the file keeps its content."""
    document = {**as_object(read_json(path)), "verdict": verdict}
    write_file(path, document_bytes(document), force=True)
