"""The order of a report's page: findings, the meaning of their words, figures and tables, what was controlled, provenance."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from circuit.artifacts.manifest.manifest import Manifest, digest
from circuit.stages.report.page import (
    Finding,
    Html,
    Section,
    Table,
    element,
    figure,
    finding,
    page,
    table,
)

MOST = 4  # findings of nothing that stand among the others
LONGEST = 300  # characters of a parameter that are shown
WORDS = (
    (
        "readable",
        "a direction or probe scores held-out prompts above chance: interval above it, permutation p over all layers at most 0.05, 10 groups or more, 5 of each class",
    ),
    (
        "decodable",
        "readable, and above every baseline that was run (of the text, the embedding and random weights; the finding names them)",
    ),
    (
        "p",
        "a permutation test of the AUROC of a ridge probe on the same folds and rows, not of the AUROC that is printed beside it",
    ),
    ("selective", "decodable, and above a control task of random labels too"),
    (
        "tokens, surface",
        "readable, but not shown to be more than the token's embedding, or the text itself, gives away",
    ),
    (
        "emerges",
        "the first decodable layer above every baseline, and the next two as well; above: the paired difference has a lower bound, for all layers at once, over 0",
    ),
    (
        "used",
        "an intervention along the direction changes behaviour more than random directions of the same norm",
    ),
    (
        "not shown",
        "the data are compatible with nothing being there; that is not evidence that there is nothing",
    ),
)


@dataclass(frozen=True)
class Source:
    """An artifact that is reported, and what it contributes."""

    path: Path
    manifest: Manifest
    title: str
    section: Section
    missing: Sequence[str] = ()  # files that it describes and that are gone

    @property
    def model(self) -> str | None:
        """The model that it is about."""
        return None if self.manifest.model is None else self.manifest.model.id


def laid_out(sources: Sequence[Source], warnings: Sequence[str]) -> bytes:
    """Return the whole page; ``warnings`` stand above everything."""
    models = list(dict.fromkeys(source.model for source in sources if source.model))
    title = f"Report on {', '.join(models) or 'an unnamed model'}"
    body = [element("h1", title)]
    body += [element("p", text, class_="warning") for text in warnings]
    body += [*_found(sources), *_meanings()]
    for source in sources:
        body += _shown(source)
    return page(title, [*body, *_controlled(sources), *_provenance(sources)])


def _found(sources: Sequence[Source]) -> list[Html]:
    """The findings, which come first, strongest first within an artifact."""
    parts = [element("h2", "What was found, and how sure it is")]
    for source in (source for source in sources if source.section.findings):
        parts.append(element("p", source.section.lead, class_="lead"))
        parts += _listed(source.section.findings)
    note = (
        "Every AUROC is held out by group (chance 0.5), with a 95 % interval over groups. That something can be read does not say that "
        "the model uses it; only an intervention can."
    )
    return [*parts, element("p", note, class_="small")]


def _listed(findings: Sequence[Finding]) -> list[Html]:
    """Findings as a list; where many show nothing, these are folded under their number."""
    shown = sorted(findings, key=lambda found: -found.strength)
    nothing = [found for found in shown if not found.strength]
    if len(nothing) <= MOST:
        return [element("ul", *map(finding, shown), class_="findings")]
    summary = element("summary", f"{len(nothing)} of which nothing, or not enough, is shown")
    folded = element("ul", *map(finding, nothing), class_="findings")
    found = element("ul", *map(finding, shown[: -len(nothing)]), class_="findings")
    return [*([found] if len(shown) > len(nothing) else []), element("details", summary, folded)]


def _meanings() -> list[Html]:
    rows = [element("li", element("strong", word), f": {text}") for word, text in WORDS]
    summary = element("summary", "What the words mean")
    return [element("details", summary, element("ul", *rows))]


def _shown(source: Source) -> list[Html]:
    """The figures and tables of an artifact."""
    section = source.section
    if not section.pictures and not section.tables:
        return []
    heading = element("h2", f"{source.title} ({source.path.name})")
    return [heading, *map(figure, section.pictures), *map(table, section.tables)]


def _controlled(sources: Sequence[Source]) -> list[Html]:
    shown = [source for source in sources if source.section.checklist]
    parts = [element("h2", "What was controlled, and what was not")] if shown else []
    for source in shown:
        rows = [
            ["✓ yes" if done else "✗ no", item, detail]
            for item, done, detail in source.section.checklist
        ]
        header = ["controlled", "item", "how far"]
        parts.append(table(Table(source.path.name, header, rows, prose=True)))
    return parts


def _provenance(sources: Sequence[Source]) -> list[Html]:
    names = " ".join(source.path.name for source in sources)
    check = element("code", f"circuit verify {names}")
    parts = [
        element("h2", "Where the numbers come from"),
        element("p", "To check that every file is still what it says: ", check, class_="small"),
    ]
    tables = [
        Table(s.path.name, ["what", "value"], _facts(s), prose=True, folded=True) for s in sources
    ]
    return [*parts, *map(table, tables)]


def _facts(source: Source) -> list[list[str]]:
    """Schema, digests, model, parameters and run of an artifact."""
    manifest = source.manifest
    facts = [["schema", manifest.schema_name], ["sha256", digest(source.path)]]
    facts += [[f"read: {ref.path}", ref.sha256] for ref in manifest.inputs]
    facts += [[f"written: {ref.path}", ref.sha256] for ref in manifest.outputs]
    for name, identity in (("model", manifest.model), ("tokenizer", manifest.tokenizer)):
        known = {} if identity is None else vars(identity)
        facts += [[f"{name}: {key}", _short(value)] for key, value in known.items() if value]
    facts += [[key, _short(value)] for key, value in manifest.parameters.items()]
    run = manifest.run
    return [*facts, ["command", run.command], ["made", f"{run.created}, circuit {run.version}"]]


def _short(value: Any) -> str:
    """A parameter as JSON; a long one (prompts, tools) by its beginning and its length."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text)} characters)"
