"""Sections of artifacts whose commands do not present documents yet; gone when all do."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from circuit.present import document as present
from circuit.stages.figures.archive import Picture


@dataclass(frozen=True)
class Finding:
    """A sentence about ``subject``, the word that its evidence allows, and its strength (0 to 2)."""

    subject: str
    word: str
    strength: int
    text: str


@dataclass(frozen=True)
class Table:
    """Numbers in rows; ``prose``: cells are text that wraps; ``folded``: shown when opened."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    prose: bool = False
    folded: bool = False


@dataclass(frozen=True)
class Section:
    """What one artifact contributes to a report."""

    lead: str
    findings: Sequence[Finding]
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    checklist: Sequence[tuple[str, bool, str]] = field(default_factory=tuple)

    def document(self) -> present.Document:
        """Return the section as a document."""
        parts: list[present.Part] = [present.Text([self.lead])]
        parts += [
            present.Finding(
                subject=each.subject,
                verdict=each.word,
                strength=each.strength,
                sentence=each.text,
            )
            for each in self.findings
        ]
        parts += [
            present.Figure(
                name=each.name,
                png=lambda image=each.image: image,  # type: ignore[misc]
                caption=each.caption,
                numbers=each.numbers,
            )
            for each in self.pictures
        ]
        parts += [present.Table(**vars(each)) for each in self.tables]
        if self.checklist:
            controls = [present.Control(*each) for each in self.checklist]
            parts.append(present.Controls(controls))
        return present.Document("", parts)
