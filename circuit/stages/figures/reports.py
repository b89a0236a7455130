"""``visualize --report``: the figures of an artifact's document, each with its numbers.

A battery of probes gives ``stratigraphy.png`` and ``probes.png``, steering ``dose_response.png``, a
sweep that and ``frontier.png``.
"""

import time
from pathlib import Path
from typing import Any

from circuit.artifacts.files.documents import read_json, schema_of
from circuit.artifacts.manifest.manifest import (
    Run,
    check_outputs,
    read_manifest,
    reusable,
    write_manifest,
)
from circuit.errors import ArtifactError, DataError
from circuit.stages.documents import document_of
from circuit.stages.figures.archive import Picture
from circuit.stages.figures.visualize import described_picture, write_picture
from circuit.values import schemas

DRAWN = (schemas.PROBES, schemas.STEERING, schemas.SWEEP)


def visualize_report(
    report: Path, out: Path, *, force: bool = False
) -> tuple[dict[str, Any], bool]:
    """Draw a report into the folder ``out``; return the results, and whether they existed."""
    started = time.perf_counter()
    schema = schema_of(read_json(report))
    if schema not in DRAWN:
        holds = f"`{schema}`" if schema else "no circuit document"
        message = f"`{report}` holds {holds}, which is not drawn"
        hint = f"give a document of {' or '.join(DRAWN)}"
        raise ArtifactError("not-drawable", message, hint=hint, schema=schema)
    manifest = read_manifest(report, schema)
    check_outputs(report, manifest)
    about: dict[str, Any] = {
        "schema": schemas.PLOTS,
        "parameters": {"report": True},
        "inputs": [report],
    }
    target = out / "plots.json"
    existing = reusable(target, **about, force=force)
    if existing is not None:
        return existing.results, True
    figures = document_of(manifest, report).figures()
    if not figures:
        message = f"`{report}` has nothing to draw: its answers were not judged by a criterion"
        hint = "circuit steer --compare … --criterion … counts them"
        raise DataError("nothing-to-draw", message, hint=hint)
    pictures = [Picture(f.name, f.png(), f.caption, dict(f.numbers)) for f in figures]
    results = {"figures": [described_picture(picture) for picture in pictures]}
    written = [path for picture in pictures for path in write_picture(picture, out, force)]
    write_manifest(
        target,
        **about,
        outputs=written,
        results=results,
        model=manifest.model,
        run=Run.since(started),
        force=force,
    )
    return results, False
