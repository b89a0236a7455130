"""Documents: what a result says, before it is laid out for a terminal, a page or a notebook.

A document is a title and parts. The parts:

    Text        lines of text
    Facts       names and values, such as the model and the number of prompts
    Finding     one answer: subject, verdict, score with its interval, baselines, size, layer,
                and the sentence that says it all
    Table       rows of cells; numbers and estimates keep their values, so that a page can draw them
    Figure      a picture with its caption, drawn when it is asked for
    Notice      a warning, or what few prompts allow to be said
    Controls    what was controlled and what was not, item by item
    Section     parts under a heading

A command makes one document of its result, and nothing else writes text about it. Three renderers
lay documents out: ``present.terminal``, ``present.html`` and ``present.notebook``.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Estimate:
    """A value with the ends of its interval; ``marked`` adds a star.

    ``form`` is a format specification. ``value`` None is an estimate that does not exist; without
    both ends there is no interval.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    form: str = ".2f"
    marked: bool = False

    @classmethod
    def of(
        cls,
        numbers: Sequence[float | None] | None,
        form: str = ".2f",
        *,
        marked: bool = False,
    ) -> "Estimate":
        """Make an estimate of (value, low, high), or of nothing."""
        value, low, high = numbers or (None, None, None)
        return cls(value, low, high, form, marked)

    @classmethod
    def within(
        cls, value: float, interval: tuple[float, float] | None, form: str = ".2f"
    ) -> "Estimate":
        """Make an estimate of a value and the ends of its interval, where there is one."""
        low, high = interval or (None, None)
        return cls(value, low, high, form)


@dataclass(frozen=True)
class Number:
    """A number and how it is written; None is a dash."""

    value: float | None
    form: str = ".3f"


@dataclass(frozen=True)
class Share:
    """A number between 0 and 1 that is also drawn as a bar."""

    value: float
    form: str = ".3f"


Cell: TypeAlias = str | int | Number | Share | Estimate | None


@dataclass(frozen=True)
class Text:
    """Lines of text."""

    lines: Sequence[str]


@dataclass(frozen=True)
class Facts:
    """Names with their values, in order; a name may occur twice."""

    items: Sequence[tuple[str, Cell]]


@dataclass(frozen=True)
class Notice:
    """A warning about the numbers."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One answer to one question.

    ``verdict`` is the word that the evidence allows, ``strength`` its weight: 0 nothing is shown,
    1 something, 2 all that can be. ``score`` is a ``measure``, drawn as a bar
    between the ends of ``scale`` with ``chance`` and the ``baselines`` marked. ``layer`` is where
    the answer emerges.
    """

    subject: str
    verdict: str
    strength: int
    sentence: str
    score: Estimate | None = None
    measure: str = "held-out AUROC"
    baselines: Mapping[str, float | None] = field(default_factory=dict)
    n: int | None = None
    n_groups: int | None = None
    layer: int | None = None
    scale: tuple[float, float] = (0.0, 1.0)
    chance: float | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells in rows under a header.

    ``prose``: cells are sentences that wrap; ``folded``: a page shows it when it is opened.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    note: str = ""
    prose: bool = False
    folded: bool = False

    @classmethod
    def of(
        cls,
        items: Iterable[T],
        columns: Mapping[str, Callable[[T], Cell]],
        *,
        title: str = "",
        note: str = "",
        prose: bool = False,
    ) -> "Table":
        """Make a row of each item; ``columns`` are names and what a cell shows of an item."""
        rows = [[cell(each) for cell in columns.values()] for each in items]
        return cls(header=[*columns], rows=rows, title=title, note=note, prose=prose)


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A picture: its name, how it is drawn (PNG), its caption, and the numbers that are drawn."""

    name: str
    png: Callable[[], bytes]
    caption: str
    numbers: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Control:
    """One thing that a reviewer asks for: its name, whether it was controlled, and how far."""

    item: str
    controlled: bool
    detail: str


@dataclass(frozen=True)
class Controls:
    """What was controlled and what was not."""

    items: Sequence[Control]


@dataclass(frozen=True)
class Section:
    """Parts under a heading."""

    title: str
    parts: Sequence["Part"]


Part: TypeAlias = Text | Facts | Notice | Finding | Table | Figure | Controls | Section
P = TypeVar("P", Text, Facts, Notice, Finding, Table, Figure, Controls)


@dataclass(frozen=True)
class Document:
    """What a result says."""

    title: str
    parts: Sequence[Part]

    def every(self, kind: type[P]) -> list[P]:
        """Return the parts of one kind, of sections too, in order."""
        return [part for part in _flat(self.parts) if isinstance(part, kind)]

    def findings(self) -> list[Finding]:
        """Return the findings, of sections too, in order."""
        return self.every(Finding)

    def figures(self) -> list[Figure]:
        """Return the figures, of sections too, in order."""
        return self.every(Figure)

    def without(self, *kinds: type[Part]) -> "Document":
        """Return the document without the parts of some kinds, and without sections left empty."""
        return Document(self.title, _without(self.parts, kinds))


def _flat(parts: Sequence[Part]) -> list[Part]:
    found: list[Part] = []
    for part in parts:
        found += _flat(part.parts) if isinstance(part, Section) else [part]
    return found


def _without(parts: Sequence[Part], kinds: tuple[type[Part], ...]) -> list[Part]:
    kept: list[Part] = []
    for part in parts:
        if isinstance(part, Section):
            inner = _without(part.parts, kinds)
            kept += [Section(part.title, inner)] if inner else []
        elif not isinstance(part, kinds):
            kept.append(part)
    return kept
