"""``dataset``: draw a prompt set from templates, and count what is in one.

``create`` writes ``prompts.json`` (``circuit.prompts/1``). A set with tools is sized by prompts per tool and without a tool;
any other by prompts per class, or pairs. A size that does not apply to the set is a ``UsageError``.
"""

from collections import Counter
from pathlib import Path
from typing import Any

from circuit.artifacts.files.documents import plain
from circuit.artifacts.files.paths import refuse_input
from circuit.artifacts.prompts.builtin import (
    builtin_concepts,
    builtin_probes,
    builtin_sets,
    find_set,
    given_set,
)
from circuit.artifacts.prompts.expansion import expand
from circuit.artifacts.prompts.prompts import PromptSet
from circuit.artifacts.prompts.read import read_prompts
from circuit.artifacts.prompts.templates import TemplateSet
from circuit.errors import UsageError


def create(
    output: Path,
    *,
    set_name: str = "tool_calling",
    per_tool: int | None = None,
    no_tool: int | None = None,
    size: int | None = None,
    edge_cases: bool = True,
    seed: int = 42,
    force: bool = False,
) -> PromptSet:
    """Draw ``set_name`` (a built-in set or a template file) and write it to ``output``."""
    source = find_set(set_name)
    refuse_input(output, [source])
    templates = TemplateSet.load(source)
    given = {"--per-tool": per_tool, "--no-tool": no_tool, "--size": size}
    _require_applicable(
        set_name, given, ["--per-tool", "--no-tool"] if templates.has_tools else ["--size"]
    )
    prompts = expand(
        templates,
        per_tool=per_tool,
        no_tool=no_tool,
        size=size,
        edge_cases=edge_cases,
        seed=seed,
        folder=output.parent,
    )
    prompts.save(output, force=force)
    return prompts


def builtin() -> list[dict[str, Any]]:
    """Describe each built-in set, concept and probe."""
    kinds = {"set": builtin_sets(), "concept": builtin_concepts(), "probe": builtin_probes()}
    return [
        _described(name, kind, TemplateSet.load(path))
        for kind, known in kinds.items()
        for name, path in known.items()
    ]


def load(path: Path) -> PromptSet:
    """Read a prompt set, or expand a template file or a built-in set."""
    return read_prompts(given_set(path))


def summary(prompts: PromptSet) -> dict[str, Any]:
    """Count the prompts of a set by label, category and expected tool."""
    each = prompts.prompts
    return {
        "name": prompts.name,
        "version": prompts.version,
        "format": prompts.format,
        "prompts": len(each),
        "labels": {name: sum(p.label == name for p in each) for name in prompts.labels},
        "unlabelled": sum(p.label is None for p in each),
        "categories": _counted([p.category for p in each]),
        "tools": _counted([p.expected_tool for p in each]),
        "groups": len(set(prompts.groups().tolist())),
        "pairs": len(prompts.pairs()),
    }


def sample(prompts: PromptSet, count: int) -> list[dict[str, Any]]:
    """Return ``count`` prompts at even distances, so that every part of the set is shown."""
    total = len(prompts.prompts)
    shown = min(count, total)
    return [plain(prompts.prompts[i * total // shown]) for i in range(shown)]


def _counted(values: list[str | None]) -> dict[str, int]:
    return dict(sorted(Counter(value for value in values if value is not None).items()))


def _described(name: str, kind: str, templates: TemplateSet) -> dict[str, Any]:
    about = templates.templates
    return {
        "name": name,
        "kind": kind,
        "version": about.version,
        "description": about.description,
        "format": about.format,
        "labels": list(about.labels),
        "templates": sum(len(item.sentences()) for item in about.items),
        "tools": len(templates.tools or ()),
        "paired": not any(item.templates for item in about.items),
    }


def _require_applicable(set_name: str, given: dict[str, int | None], applicable: list[str]) -> None:
    for option, value in given.items():
        if value is not None and option not in applicable:
            message = f"{option} does not apply to the set `{set_name}`"
            raise UsageError(message, hint=f"its size is given by {' and '.join(applicable)}")
