"""Template files: sentences with slots, from which prompt sets are drawn.

``datasets/*.json``, schema ``circuit.templates/1``:

    {"schema", "name", "version", "description", "made", "question", "stratum", "format",
     "labels", "system", "verdict": what ``dataset check --write`` found, see ``verdict``,
     "tools": a file, its path relative to this one,
     "slots": {"city": ["Oslo", ...], "a": {"range": [50, 99]}},
     "items": [
       {"category", "label", "expected_tool", "edge", "templates": ["... {city}?"], "slots",
        "expected"},
       {"category", "templates_pairs": [{"positive": "{a} + {b} = ", "negative": "{a} + {b} ="}],
        "expected": {"add": ["a", "b"]}},
       {"category", "contrasts": [{<label>: "sing {x}", <label>: "sell {x}"}]}]}

A slot in braces is filled in; ``{{`` and ``}}`` are literal braces. A range includes both ends. The
slots of an item take precedence over those of the file. An item has ``templates``,
``templates_pairs`` or ``contrasts``. The members of a pair are filled with the same values, and the
positive one has the second label; a contrast is the same for any number of labels. Each template,
pair or contrast is a group of prompts, unless the item names one ``group`` for all of them.
``expected`` is a template, or a sum, difference or product of two slots that hold integers. An
``edge`` item may have the label null: it has no right answer.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from circuit.artifacts.files.documents import read_document, read_json, validated
from circuit.artifacts.files.records import Record
from circuit.artifacts.manifest.manifest import FileRef, digest
from circuit.artifacts.prompts.builtin import recorded_path
from circuit.artifacts.prompts.verdict import Verdict
from circuit.errors import ArtifactError, DataError
from circuit.values import schemas
from circuit.values.json_values import JsonObject

_BRACES = re.compile(r"\{\{|\}\}|\{(\w+)\}|[{}]")

Value = str | int


Computed = Annotated[
    dict[Literal["add", "sub", "mul"], tuple[str, str]], Field(min_length=1, max_length=1)
]


class Range(Record):
    """The integers from the first to the last, both included."""

    range: tuple[int, int]


class PairTemplate(Record):
    """Two sentences that differ in the concept only."""

    positive: str
    negative: str


class Item(Record):
    """Templates that share a category and a label."""

    category: str = Field(min_length=1)
    label: str | None = None
    expected_tool: str | None = None
    edge: bool = False
    templates: tuple[str, ...] = ()
    templates_pairs: tuple[PairTemplate, ...] = ()
    contrasts: tuple[dict[str, str], ...] = ()
    group: str | None = None
    slots: dict[str, tuple[Value, ...] | Range] = Field(default_factory=dict)
    expected: str | Computed | None = None

    @model_validator(mode="after")
    def _has_one_kind(self) -> Self:
        if sum(map(bool, (self.templates, self.templates_pairs, self.contrasts))) != 1:
            kinds = "either `templates` or `templates_pairs` or `contrasts`"
            raise DataError(
                "item-kinds",
                f"an item of `{self.category}` needs {kinds}",
                hint="split it into two items, or add templates",
                category=self.category,
            )
        if self.templates and self.label is None and not self.edge:
            raise DataError(
                "item-without-label",
                f"an item of `{self.category}` has no label",
                hint="give it one of the labels, or mark it as `edge`",
                category=self.category,
            )
        return self

    def sentences(self) -> list[tuple[str, ...]]:
        """Return each template as a tuple: one sentence, a pair, or one sentence for each label."""
        return [
            *((text,) for text in self.templates),
            *((p.positive, p.negative) for p in self.templates_pairs),
            *(tuple(contrast.values()) for contrast in self.contrasts),
        ]


class Templates(Record):
    """The content of a template file."""

    schema_name: schemas.Templates = Field(alias="schema")
    name: str = Field(min_length=1)
    version: str = "1"
    description: str = ""
    made: str = ""
    question: str | None = None
    stratum: str | None = None
    format: Literal["chat", "raw"]
    labels: tuple[str, ...] = Field(min_length=1)
    system: str | None = None
    tools: str | None = None
    verdict: Verdict | None = None
    slots: dict[str, tuple[Value, ...] | Range] = Field(default_factory=dict)
    items: tuple[Item, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        for item in self.items:
            if item.label is not None and item.label not in self.labels:
                raise DataError(
                    "unknown-label",
                    f"an item of `{item.category}` has the unknown label `{item.label}`",
                    hint=f"the labels are: {', '.join(self.labels)}",
                    category=item.category,
                    label=item.label,
                )
            if item.templates_pairs and len(self.labels) != 2:
                raise DataError(
                    "two-labels-expected",
                    f"`{item.category}` has pairs, but `{self.name}` has {len(self.labels)} labels",
                    hint="pairs need exactly two labels",
                    category=item.category,
                    count=len(self.labels),
                )
            if any(set(contrast) != set(self.labels) for contrast in item.contrasts):
                raise DataError(
                    "contrast-labels",
                    f"a contrast of `{item.category}` does not have one sentence for each label",
                    hint=f"the labels are: {', '.join(self.labels)}",
                    category=item.category,
                )
            for sentences in item.sentences():
                self.values(item, sentences)
        return self

    def values(
        self, item: Item, sentences: tuple[str, ...]
    ) -> dict[str, tuple[Value, ...] | range]:
        """Return the slots that a template and its ``expected`` use, each with its values."""
        used = {name for text in (*sentences, *_expected_texts(item)) for name in slot_names(text)}
        found = {}
        for name in sorted(used):
            slot = item.slots.get(name, self.slots.get(name))
            if slot is None or not (values := _values(slot)):
                problem = "has no values" if slot is not None else "is not defined"
                raise DataError(
                    "slot-without-values",
                    f"the slot `{name}` of `{sentences[0]}` {problem}",
                    hint="list its values under `slots`",
                    slot=name,
                    template=sentences[0],
                )
            found[name] = values
        return found


@dataclass(frozen=True)
class TemplateSet:
    """A template file with the tools that it names, ready to be expanded."""

    path: Path
    templates: Templates
    tools: tuple[JsonObject, ...] | None

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read and check a template file and the tools beside it."""
        templates = validated(Templates, read_document(path, schemas.TEMPLATES), path)
        tools = None if templates.tools is None else _read_tools(path.parent / templates.tools)
        return cls(path, templates, tools)

    @property
    def has_tools(self) -> bool:
        """Whether prompts are counted per expected tool."""
        return any(item.expected_tool for item in self.templates.items)

    def sources(self, folder: Path | None = None) -> dict[str, FileRef]:
        """Refer from ``folder`` to the files that the set is drawn from.

        A built-in one is ``builtin:<path>``; without a folder any other is its bare name.
        """
        files = {"template": self.path}
        if self.templates.tools is not None:
            files["tools"] = self.path.parent / self.templates.tools
        return {
            key: FileRef(path=recorded_path(file, folder), sha256=digest(file))
            for key, file in files.items()
        }


def slot_names(text: str) -> Iterator[str]:
    """Yield the names of the slots of a template; a stray brace is an error."""
    for match in _BRACES.finditer(text):
        if match[1]:
            yield match[1]
        elif match[0] in "{}":
            raise DataError(
                "stray-brace",
                f"the template `{text}` has a stray brace",
                hint="write {{ and }} for literal braces",
                template=text,
            )


def fill_slots(text: str, values: Mapping[str, Value]) -> str:
    """Fill in the slots of a template."""
    return _BRACES.sub(lambda match: str(values[match[1]]) if match[1] else match[0][0], text)


def _values(slot: tuple[Value, ...] | Range) -> tuple[Value, ...] | range:
    return range(slot.range[0], slot.range[1] + 1) if isinstance(slot, Range) else slot


def _expected_texts(item: Item) -> list[str]:
    if isinstance(item.expected, dict):
        return [f"{{{name}}}" for names in item.expected.values() for name in names]
    return [item.expected] if item.expected else []


def _read_tools(path: Path) -> tuple[JsonObject, ...]:
    tools = read_json(path)
    if not isinstance(tools, list) or not all(
        isinstance(t, dict) and "function" in t for t in tools
    ):
        raise ArtifactError(
            "not-tools",
            f"`{path}` is not a list of tools",
            hint='a tool is {"type": "function", "function": {"name": ...}}',
            path=str(path),
        )
    return tuple(tools)
