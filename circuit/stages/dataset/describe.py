"""``dataset sets | show``: the built-in sets, and the counts and prompts of one set."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from circuit.artifacts.files.documents import plain
from circuit.artifacts.prompts.builtin import (
    builtin_concepts,
    builtin_probes,
    builtin_sets,
    find_file,
)
from circuit.artifacts.prompts.prompts import Prompt, PromptSet
from circuit.artifacts.prompts.read import read_prompts
from circuit.artifacts.prompts.templates import TemplateSet
from circuit.present.document import Cell, Document, Table, Text
from circuit.stages.dataset.request import ListRequest, SetsRequest, ShowRequest
from circuit.stages.run import Command, Job, Plan, without_model

LONGEST = 60  # characters of a text that is shown


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many prompts a set has, by label, category and expected tool."""

    name: str
    version: str
    format: str
    prompts: int
    labels: dict[str, int]
    unlabelled: int
    categories: dict[str, int]
    tools: dict[str, int]
    groups: int
    pairs: int


@dataclass(frozen=True, kw_only=True)
class ShowResult:
    """The counts of a set, and some of its prompts."""

    counts: Counts
    samples: list[Prompt]


@dataclass(frozen=True, kw_only=True)
class BuiltinSet:
    """A set, concept or probe that comes with circuit."""

    name: str
    kind: str
    version: str
    description: str
    format: str
    labels: list[str]
    templates: int
    tools: int
    paired: bool


def count(prompts: PromptSet) -> Counts:
    """Count the prompts of a set."""
    each = prompts.prompts
    return Counts(
        name=prompts.name,
        version=prompts.version,
        format=prompts.format,
        prompts=len(each),
        labels={name: sum(p.label == name for p in each) for name in prompts.labels},
        unlabelled=sum(p.label is None for p in each),
        categories=_counted([p.category for p in each]),
        tools=_counted([p.expected_tool for p in each]),
        groups=len(set(prompts.groups().tolist())),
        pairs=len(prompts.pairs()),
    )


def sample(prompts: PromptSet, n: int) -> list[Prompt]:
    """Return ``n`` prompts at even distances, so that every part of the set is shown."""
    total = len(prompts.prompts)
    shown = min(n, total)
    return [prompts.prompts[i * total // shown] for i in range(shown)]


def builtin() -> list[BuiltinSet]:
    """Describe each built-in set, concept and probe."""
    kinds = {"set": builtin_sets(), "concept": builtin_concepts(), "probe": builtin_probes()}
    return [
        _described(name, kind, TemplateSet.load(path))
        for kind, known in kinds.items()
        for name, path in known.items()
    ]


def _counted(values: list[str | None]) -> dict[str, int]:
    return dict(sorted(Counter(value for value in values if value is not None).items()))


def _described(name: str, kind: str, templates: TemplateSet) -> BuiltinSet:
    about = templates.templates
    return BuiltinSet(
        name=name,
        kind=kind,
        version=about.version,
        description=about.description,
        format=about.format,
        labels=list(about.labels),
        templates=sum(len(item.sentences()) for item in about.items),
        tools=len(templates.tools or ()),
        paired=not any(item.templates for item in about.items),
    )


def counts_text(counts: Counts) -> Text:
    """Lay out the counts of a set, a line each."""
    lines = [f"  Total prompts: {counts.prompts}"]
    lines += _indented("By label:", {**counts.labels, "(no label)": counts.unlabelled})
    lines += _indented("By category:", counts.categories)
    lines += _indented("By tool:", counts.tools)
    lines.append(f"  Groups: {counts.groups}")
    return Text([*lines, f"  Pairs: {counts.pairs}"] if counts.pairs else lines)


def _indented(title: str, counts: Mapping[str, int]) -> list[str]:
    entries = [f"    {name}: {count}" for name, count in counts.items() if count]
    return [f"  {title}", *entries] if entries else []


def plan_show(request: ShowRequest) -> Plan[ShowResult]:
    """Read the set."""
    prompts = read_prompts(find_file(request.file))
    shown = ShowResult(counts=count(prompts), samples=sample(prompts, request.samples))
    job = Job(compute=lambda _: shown)
    return Plan(result=ShowResult, begin=without_model(job))


def present_show(result: ShowResult) -> Document:
    """Show counts, then prompts, a line each."""
    counts = result.counts
    lines = ["", "Sample prompts:", *map(_sample, result.samples)] if result.samples else []
    title = f"Dataset: {counts.name} (v{counts.version})"
    return Document(title, [counts_text(counts), Text(lines)])


def _sample(prompt: Prompt) -> str:
    """Show a prompt in one line; the text in quotes, since its spaces matter."""
    text = prompt.text
    shown = repr(text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}...")
    kind = prompt.expected_tool or prompt.label or "-"
    return f"  [{prompt.category or '-'}] [{kind}]: {shown}"


def _show_data(result: ShowResult) -> dict[str, Any]:
    return {**plain(result.counts), "samples": plain(result.samples)}


def plan_sets(request: SetsRequest | ListRequest) -> Plan[list[BuiltinSet]]:  # noqa: ARG001
    """Read every built-in file."""
    job = Job(compute=lambda _: builtin())
    return Plan(result=list[BuiltinSet], begin=without_model(job))


def present_sets(result: list[BuiltinSet]) -> Document:
    """Show a row for each set, then the descriptions."""
    header = ["set", "kind", "format", "templates", "tools", "labels"]
    rows: list[list[Cell]] = [
        [s.name, s.kind, s.format, s.templates, s.tools, ", ".join(s.labels)] for s in result
    ]
    described = ["", *(f"{s.name}: {s.description}" for s in result)]
    return Document("", [Table(header=header, rows=rows), Text(described)])


SHOW = Command(request=ShowRequest, plan=plan_show, present=present_show, data=_show_data)
SETS = Command[SetsRequest | ListRequest, list[BuiltinSet]](
    request=SetsRequest, plan=plan_sets, present=present_sets
)
