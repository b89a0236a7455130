"""``report``: the artifacts of a run as one HTML file that opens with what was found.

Reads ``probes.json``, ``analysis.json``, ``directions.json``, ``steering.json`` (any number of
each, told apart by their schema) and the pictures that a ``plots.json`` lists. Each artifact
contributes the document that its command presents (``stages.documents``); the page joins their
findings in one table (``contents``). Nothing is estimated here, and equal artifacts give equal
bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from circuit.artifacts.files.atomic import write_file
from circuit.errors import UsageError
from circuit.present.document import Document, Estimate, Finding, Notice
from circuit.stages.report.contents import report_page
from circuit.stages.report.request import ReportRequest
from circuit.stages.report.sources import Source, read_sources, warnings_about
from circuit.stages.run import Command, Job, Plan, Result, without_model


@dataclass(frozen=True, kw_only=True)
class ReportFinding:
    """A finding of one artifact, ``source``; ``score`` is (value, low, high)."""

    source: str
    subject: str
    verdict: str
    strength: int
    sentence: str
    measure: str
    score: tuple[float | None, float | None, float | None] | None
    baselines: dict[str, float | None]
    n: int | None
    n_groups: int | None
    layer: int | None
    chance: float | None

    @classmethod
    def of(cls, found: Finding, source: str) -> "ReportFinding":
        """Make one of a document's finding."""
        score = found.score
        values = {key: value for key, value in vars(found).items() if key != "scale"}
        values["score"] = None if score is None else (score.value, score.low, score.high)
        return cls(**{**values, "baselines": dict(found.baselines)}, source=source)

    def finding(self) -> Finding:
        """Return it as a part of a document."""
        values = {key: value for key, value in vars(self).items() if key != "source"}
        score = None if self.score is None else Estimate.of(self.score)
        return Finding(**{**values, "score": score})


@dataclass(frozen=True, kw_only=True)
class ReportResult(Result):
    """The findings of a report, its warnings, and the artifacts that it is made of."""

    COMMAND: ClassVar[str] = "circuit.stages.report.report:REPORT"

    output: Path
    findings: list[ReportFinding]
    warnings: list[str]
    inputs: list[str]


def plan(request: ReportRequest) -> Plan[ReportResult]:
    """Read the artifacts."""
    out = request.output
    if out.suffix not in {".html", ".htm"}:
        message = f"`{out}` is not the name of an HTML file"
        hint = "a report is one page: -o report.html"
        raise UsageError("not-an-html-file", message, hint=hint, path=str(out))
    sources = read_sources(request.paths)
    warnings = warnings_about(sources)

    result = ReportResult(
        output=out,
        findings=_findings(sources),
        warnings=warnings,
        inputs=[str(source.path) for source in sources],
    )
    job = Job(
        compute=lambda _: result,
        write=lambda _, record: write_file(out, report_page(sources, warnings), force=record.force),
    )
    return Plan(
        result=ReportResult,
        begin=without_model(job),
        inputs=[source.path for source in sources],
        output=out,
        force=request.force,
    )


def _findings(sources: Sequence[Source]) -> list[ReportFinding]:
    return [
        ReportFinding.of(found, source.path.name)
        for source in sources
        for found in source.document.findings()
    ]


def present(result: ReportResult) -> Document:
    """Show the findings as one table."""
    found = [each.finding() for each in result.findings]
    return Document("", [*map(Notice, result.warnings), *found])


REPORT = Command(request=ReportRequest, plan=plan, present=present, result=ReportResult)
