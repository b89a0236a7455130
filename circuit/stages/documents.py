"""The document of any artifact: its result is restored, and its command presents it.

``ARTIFACTS`` names the command (``module:NAME``) that writes each schema, in the order of a report.
A command is imported when its artifact is read, so that this file imports no stage.
"""

from pathlib import Path

from circuit.artifacts.manifest.manifest import Manifest
from circuit.errors import ArtifactError
from circuit.present.document import Document
from circuit.stages.run import command_at
from circuit.values import schemas

ARTIFACTS = {
    schemas.PROBES: "circuit.stages.probes.run:RUN",
    schemas.ANALYSIS: "circuit.stages.analyze.run:COMMAND",
    schemas.DIRECTIONS: "circuit.stages.directions.run:COMMAND",
    schemas.STEERING: "circuit.stages.steering.steer:STEER",
    schemas.SWEEP: "circuit.stages.sweep.run:SWEEP",
}


def document_of(manifest: Manifest, path: Path) -> Document:
    """Return the document of the artifact at ``path``."""
    schema = manifest.schema_name
    if schema not in ARTIFACTS:
        message = f"`{path}` holds `{schema}`, which has no document"
        hint = f"give artifacts of {', '.join(ARTIFACTS)}"
        raise ArtifactError("not-presentable", message, hint=hint, schema=schema)
    command = command_at(ARTIFACTS[schema])
    try:
        document = command.present(command.restored(manifest))
    except ArtifactError as error:
        raise error.within(f"`{path}`") from error
    assert document is not None
    return document
