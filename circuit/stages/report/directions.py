"""What a report says of ``directions.json``: its document, as a section of the page."""

from circuit.artifacts.manifest.manifest import Manifest
from circuit.stages.directions.present import present_fitted
from circuit.stages.directions.run import stored
from circuit.stages.report.analysis import section_of
from circuit.stages.report.page import Section


def section(manifest: Manifest) -> Section:
    """Return the section of fitted directions; those of a single pair have no held-out score."""
    return section_of(present_fitted(stored(manifest)))
