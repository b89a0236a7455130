"""Manifests of tests: a document as circuit would have written it, with the digest of its own content."""

import json
from collections.abc import Mapping
from pathlib import Path

from circuit.artifacts.manifest.own_digest import content_digest


def write_signed(path: Path, document: Mapping[str, object]) -> None:
    run = {**document["run"], "content_sha256": content_digest(document)}
    path.write_text(json.dumps({**document, "run": run}))
