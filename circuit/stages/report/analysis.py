"""What a report says of ``analysis.json``: its document, as a section of the page."""

from circuit.artifacts.files.documents import restored
from circuit.artifacts.manifest.manifest import Manifest
from circuit.present.document import Controls, Document, Facts, Notice
from circuit.present.document import Finding as DocumentFinding
from circuit.present.document import Table as DocumentTable
from circuit.present.numbers import written
from circuit.stages.analyze.present import present
from circuit.stages.analyze.results import AnalysisResult
from circuit.stages.figures.archive import Picture
from circuit.stages.report.page import Finding, Section, Table


def section(manifest: Manifest) -> Section:
    """Return the section of an analysis."""
    return section_of(present(restored(AnalysisResult, manifest.results)))


def section_of(document: Document) -> Section:
    """Return a document as a section of the page."""
    facts = [f"{k.strip()}: {written(v)}" for each in document.every(Facts) for k, v in each.items]
    notices = [each.text for each in document.every(Notice)]
    return Section(
        " ".join(["; ".join(facts) + ".", *notices]),
        [
            Finding(each.subject, each.verdict, each.strength, each.sentence)
            for each in document.every(DocumentFinding)
        ],
        [Picture.of(figure) for figure in document.figures()],
        [
            Table(
                title=each.title,
                header=each.header,
                rows=[[written(cell) for cell in row] for row in each.rows],
                note=each.note,
                folded=each.folded,
            )
            for each in document.every(DocumentTable)
        ],
        [
            (control.item, control.controlled, control.detail)
            for each in document.every(Controls)
            for control in each.items
        ],
    )
