"""``dataset create``: draw a prompt set from templates.

Writes ``prompts.json`` (``circuit.prompts/1``). A set with tools is sized by prompts per tool and
without a tool; any other by prompts per class, or pairs. A size that does not apply to the set is a
``UsageError``.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from circuit.artifacts.files.documents import plain
from circuit.artifacts.prompts.builtin import find_set
from circuit.artifacts.prompts.expansion import expand
from circuit.artifacts.prompts.prompts import PromptSet
from circuit.artifacts.prompts.templates import TemplateSet
from circuit.errors import UsageError
from circuit.present.document import Document
from circuit.stages.dataset.describe import Counts, count, counts_text
from circuit.stages.dataset.request import CreateRequest, PromptSetOutput
from circuit.stages.run import Command, Job, Plan, Result, without_model


@dataclass(frozen=True, kw_only=True)
class PromptSetResult(Result):
    """The counts of a prompt set that was written, and where."""

    COMMAND: ClassVar[str] = "circuit.stages.dataset.create:CREATE"

    counts: Counts
    output: Path


def create(request: CreateRequest) -> PromptSet:
    """Draw the set of a request (a built-in one or a template file)."""
    templates = TemplateSet.load(find_set(request.set_name))
    sizes = {
        "--per-tool": request.per_tool,
        "--no-tool": request.no_tool,
        "--size": request.size,
    }
    applicable = ["--per-tool", "--no-tool"] if templates.has_tools else ["--size"]
    for name, value in sizes.items():
        if value is not None and name not in applicable:
            message = f"`{name}` does not apply to the set `{request.set_name}`"
            hint = f"its size is given by {' and '.join(applicable)}"
            raise UsageError("option-not-applicable", message, hint=hint, option=name)
    return expand(
        templates,
        per_tool=request.per_tool,
        no_tool=request.no_tool,
        size=request.size,
        edge_cases=request.edge_cases,
        seed=request.seed.seed,
        folder=request.output.output.parent,
    )


def plan(request: CreateRequest) -> Plan[PromptSetResult]:
    """Draw the set."""
    return plan_writing(create(request), request.output, source=find_set(request.set_name))


def plan_writing(
    prompts: PromptSet, written: PromptSetOutput, *, source: Path
) -> Plan[PromptSetResult]:
    """Return the plan that writes a prompt set made from ``source`` and counts it."""
    output = written.output
    job = Job(
        compute=lambda _: PromptSetResult(counts=count(prompts), output=output),
        write=lambda _, record: prompts.save(output, force=record.force),
    )
    return Plan(
        result=PromptSetResult,
        inputs=[source],
        output=output,
        force=written.force,
        begin=without_model(job),
    )


def present(result: PromptSetResult) -> Document:
    """Show the counts."""
    return Document("Dataset Summary:", [counts_text(result.counts)])


def data(result: PromptSetResult) -> dict[str, Any]:
    """Return the counts and the file."""
    return {**plain(result.counts), "output": str(result.output)}


CREATE = Command(request=CreateRequest, plan=plan, present=present, data=data)
