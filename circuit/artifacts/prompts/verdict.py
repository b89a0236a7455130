"""The verdict of ``dataset check``: whether a set can be solved without understanding it, kept in the file itself.

    "verdict": {"sha256": what was judged, "clean": true, "bound": 0.6, "n", "n_groups",
                "baselines": {"words": [AUROC, low, high], "word_pairs": …, "surface": …}, "reasons": []}

``sha256`` is that of the file's canonical JSON without the key ``verdict``. When the file changes, the verdict is about
something else, and it is not *current*.
"""

import hashlib
from pathlib import Path
from typing import Any

from circuit.artifacts.files.atomic import write_file
from circuit.artifacts.files.documents import canonical_json, read_json, validated, written_json
from circuit.artifacts.manifest.manifest import Record

Interval = tuple[float, float, float]


class Verdict(Record):
    """What the baselines that use no model scored, and what follows from that."""

    sha256: str
    clean: bool
    bound: float
    n: int
    n_groups: int
    baselines: dict[str, Interval]
    reasons: tuple[str, ...] = ()


def judged_content(document: dict[str, Any]) -> str:
    """Return the digest of everything in a document but its verdict."""
    content = {key: value for key, value in document.items() if key != "verdict"}
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()


def current_verdict(path: Path) -> Verdict | None:
    """Return the verdict in a file, or ``None`` when there is none or the file was changed since."""
    document = read_json(path)
    found = document.get("verdict") if isinstance(document, dict) else None
    verdict = validated(Verdict, found, path) if found is not None else None
    return verdict if verdict and verdict.sha256 == judged_content(document) else None


def write_verdict(path: Path, verdict: Verdict) -> None:
    """Put a verdict into the file that it is about; the rest of the file keeps its content."""
    document = {**read_json(path), "verdict": verdict}
    write_file(path, written_json(document), force=True)
