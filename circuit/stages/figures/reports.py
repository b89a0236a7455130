"""``visualize --report``: the figures of an artifact's document.

A battery of probes gives ``stratigraphy`` and ``probes``, steering ``dose_response``, a sweep that
and ``frontier``.
"""

from pathlib import Path

from circuit.artifacts.manifest.manifest import Manifest
from circuit.errors import DataError
from circuit.stages.documents import document_of
from circuit.stages.figures.archive import Picture
from circuit.values import schemas

DRAWN = (schemas.PROBES, schemas.STEERING, schemas.SWEEP)


def report_pictures(manifest: Manifest, report: Path) -> list[Picture]:
    """Draw the figures of the document at ``report``; raises ``DataError`` where it has none."""
    figures = document_of(manifest, report).figures()
    if not figures:
        message = f"`{report}` has nothing to draw: its answers were not judged by a criterion"
        hint = "circuit steer --compare … --criterion … counts them"
        raise DataError("nothing-to-draw", message, hint=hint)
    return [Picture(f.name, f.png(), f.caption, dict(f.numbers)) for f in figures]
