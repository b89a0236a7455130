"""Prompt sets: labelled texts, and the facts that later stages need about them.

``prompts.json``, schema ``circuit.prompts/1``:

    {"schema", "name", "version", "description", "format": "chat" | "raw", "labels": [...],
     "system", "tools", "question", "stratum", "parameters": how it was made,
     "verdict": what ``dataset check --write`` found,
     "prompts": [{"text", "label", "category", "expected_tool", "expected", "group", "pair",
                  "metadata"}]}

With two labels the second is the positive class. ``label`` is null for a prompt that is shown but
neither fitted nor scored. Prompts of one ``group`` (the template that made them) must not be on
both sides of a split; without a group, prompts of equal text are one. ``pair`` joins two prompts
that differ in the concept only. A text is kept to the character: the space at the end of
"100 - 37 = " is the experiment. The file has no ``run`` block, so equal options give equal bytes.
"""

import hashlib
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from circuit.artifacts.files.atomic import is_written, write_file
from circuit.artifacts.files.documents import (
    document_bytes,
)
from circuit.artifacts.files.records import Record
from circuit.artifacts.prompts.verdict import Verdict
from circuit.errors import DataError
from circuit.values import schemas
from circuit.values.json_values import JsonObject

Rows = NDArray[np.intp]


# One empty dictionary for all prompts: of 50,000 that stay in memory it would be half.
_NOTHING: JsonObject = {}

# Few names are shared by many prompts: one string each.
Name = Annotated[str, AfterValidator(sys.intern)]


@dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Prompt:
    """One text and its annotations: 100 bytes and the text."""

    text: str
    label: Name | None = None
    category: Name | None = None
    expected_tool: Name | None = None
    expected: str | None = None
    group: Name | None = None
    pair: str | None = None
    metadata: Annotated[JsonObject, AfterValidator(lambda given: given or _NOTHING)] = Field(
        default_factory=lambda: _NOTHING
    )

    @model_validator(mode="after")
    def _has_text(self) -> Self:
        if not self.text.strip():
            raise DataError(
                "empty-prompt",
                f"the prompt {self.text!r} is empty",
                hint="give every prompt a text",
                text=self.text,
            )
        if not _is_unicode(self.text):
            raise DataError(
                "not-unicode",
                f"the prompt {self.text!r} is not valid Unicode",
                hint="it holds half of a surrogate pair: repair its encoding",
                text=self.text,
            )
        return self


class PromptSet(Record):
    """Prompts of one format and one list of labels, in an order that every artifact keeps."""

    schema_name: schemas.Prompts = Field(schemas.PROMPTS, alias="schema")
    name: str
    version: str = "1"
    description: str = ""
    format: Literal["chat", "raw"] = "raw"
    labels: tuple[str, ...] = ()
    system: str | None = None
    tools: tuple[JsonObject, ...] | None = None
    question: str | None = None
    stratum: str | None = None
    parameters: JsonObject = Field(default_factory=dict)
    prompts: tuple[Prompt, ...]
    verdict: Verdict | None = Field(None, exclude_if=lambda verdict: verdict is None)

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if len(set(self.labels)) < len(self.labels):
            raise DataError(
                "duplicate-label",
                f"the labels of `{self.name}` are not distinct: {', '.join(self.labels)}",
                hint="name each label once",
                name=self.name,
            )
        if not self.prompts:
            raise DataError(
                "no-prompts",
                f"`{self.name}` holds no prompts",
                hint="a prompt set needs at least one prompt",
                name=self.name,
            )
        for number, prompt in enumerate(self.prompts):
            if prompt.label is not None and prompt.label not in self.labels:
                known = ", ".join(self.labels) or "none"
                raise DataError(
                    "unknown-label",
                    f"prompt {number} of `{self.name}` has the unknown label `{prompt.label}`",
                    hint=f"the labels are: {known}",
                    name=self.name,
                    prompt=number,
                    label=prompt.label,
                )
        return self

    def save(self, path: Path, *, force: bool = False) -> None:
        """Write the set; raise if ``path`` holds something else and ``force`` is not given."""
        write_file(path, document_bytes(self), force=force)

    @property
    def texts(self) -> list[str]:
        """The texts, to the character."""
        return [prompt.text for prompt in self.prompts]

    def subset(self, indices: Iterable[int], name: str | None = None) -> Self:
        """Return the prompts at ``indices``, in that order, as a set of its own."""
        chosen = tuple(self.prompts[int(index)] for index in indices)
        changed = {"prompts": chosen, "name": name or self.name, "verdict": None}
        return self.model_validate({**dict(self), **changed})

    def y(self) -> tuple[Rows, Rows]:
        """Return the indices of the labelled prompts and, for each, its index into ``labels``."""
        labelled = [(i, p.label) for i, p in enumerate(self.prompts) if p.label is not None]
        rows = np.array([i for i, _ in labelled], np.intp)
        return rows, np.array([self.labels.index(label) for _, label in labelled], np.intp)

    def groups(self) -> NDArray[np.str_]:
        """Return one group name per prompt; a prompt without one is in the group of its text."""
        return np.array([group_of(prompt) for prompt in self.prompts])

    def pairs(self) -> Rows:
        """Return the contrast pairs as rows ``(positive, negative)``, shape ``(n_pairs, 2)``.

        Only pairs with exactly one prompt of each of two labels are pairs.
        """
        members: dict[str, dict[str | None, list[int]]] = {}
        for number, prompt in enumerate(self.prompts):
            if prompt.pair is not None:
                members.setdefault(prompt.pair, {}).setdefault(prompt.label, []).append(number)
        if len(self.labels) != 2:
            return np.empty((0, 2), np.intp)
        wanted = (self.labels[1], self.labels[0])
        whole = [m for m in members.values() if set(m) == set(wanted)]
        rows = [
            [m[label][0] for label in wanted] for m in whole if all(len(i) == 1 for i in m.values())
        ]
        return np.array(rows, np.intp).reshape(-1, 2)


def save_all(sets: Mapping[Path, PromptSet], *, force: bool = False) -> None:
    """Write several sets, or none of them if one may not be written."""
    for path, prompts in sets.items():
        is_written(path, document_bytes(prompts), force=force)
    for path, prompts in sets.items():
        prompts.save(path, force=force)


def group_of(prompt: Prompt) -> str:
    """Return the group of a prompt: its own, or that of its text."""
    if prompt.group is not None:
        return prompt.group
    return "text:" + hashlib.sha256(prompt.text.encode()).hexdigest()[:16]


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
