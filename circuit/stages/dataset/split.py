"""``dataset split``: divide a prompt set into two parts that share no group, no pair and no text.

Prompts that share any of the three are one *component* and stay together. Components are placed one
by one, the largest first: into the test part when that brings its counts per label and per category
closer to ``test_fraction`` of all, by the sum of squared differences. Ties are in an order that the
seed decides.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from circuit.artifacts.files.documents import plain
from circuit.artifacts.files.paths import refuse_input
from circuit.artifacts.manifest.manifest import digest
from circuit.artifacts.prompts.builtin import find_file, recorded_path
from circuit.artifacts.prompts.prompts import PromptSet, group_of, save_all
from circuit.artifacts.prompts.read import read_prompts
from circuit.errors import DataError, UsageError
from circuit.present.document import Cell, Document, Table
from circuit.stages.dataset.describe import Counts, count
from circuit.stages.dataset.request import SplitRequest
from circuit.stages.run import Command, Job, Plan, Result, Session, without_model


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a divided set, and the file that it is written to."""

    counts: Counts
    output: Path


@dataclass(frozen=True, kw_only=True)
class SplitResult(Result):
    """Both parts."""

    COMMAND: ClassVar[str] = "circuit.stages.dataset.split:SPLIT"

    train: Part
    test: Part


def split(
    path: Path, train: Path, test: Path, *, test_fraction: float = 0.3, seed: int = 42
) -> tuple[PromptSet, PromptSet]:
    """Divide the set at ``path`` into two, each with the digest of the whole."""
    prompts = read_prompts(path)
    chosen = test_rows(prompts, test_fraction, seed)
    rows = {"train": np.flatnonzero(~chosen), "test": np.flatnonzero(chosen)}
    _require_labels(prompts, rows)
    parts = []
    for (part, indices), output in zip(rows.items(), (train, test), strict=True):
        parameters = {
            "source": {"path": recorded_path(path, output.parent), "sha256": digest(path)},
            "part": part,
            "test_fraction": test_fraction,
            "seed": seed,
        }
        subset = prompts.subset(indices, f"{prompts.name}/{part}")
        parts.append(subset.model_copy(update={"parameters": parameters}))
    return parts[0], parts[1]


def plan(request: SplitRequest) -> Plan[SplitResult]:
    """Divide the set."""
    if not 0 < request.test_fraction < 1:
        message = f"`--test-fraction` must lie between 0 and 1, got {request.test_fraction}"
        raise UsageError("out-of-range", message, hint="give a number such as 0.3")
    if request.train.resolve() == request.test.resolve():
        message = f"`--train` and `--test` both name `{request.train}`"
        raise UsageError("output-named-twice", message, hint="give two files")
    path = find_file(request.file)
    for output in (request.train, request.test):
        refuse_input(output, [path])
    train, test = split(
        path,
        request.train,
        request.test,
        test_fraction=request.test_fraction,
        seed=request.seed.seed,
    )
    result = SplitResult(
        train=Part(counts=count(train), output=request.train),
        test=Part(counts=count(test), output=request.test),
    )

    def compute(_: Session) -> SplitResult:
        save_all({request.train: train, request.test: test}, force=request.force)
        return result

    return Plan(result=SplitResult, begin=without_model(Job(compute=compute)))


def present(result: SplitResult) -> Document:
    """Show a row for each part."""
    parts = {"train": result.train, "test": result.test}
    header = ["part", "prompts", "groups", *result.train.counts.labels, "file"]
    rows: list[list[Cell]] = [
        [name, p.counts.prompts, p.counts.groups, *p.counts.labels.values(), str(p.output)]
        for name, p in parts.items()
    ]
    return Document("", [Table(header=header, rows=rows)])


def data(result: SplitResult) -> dict[str, Any]:
    """Return the counts of both parts with their files."""
    parts = {"train": result.train, "test": result.test}
    return {name: {**plain(p.counts), "output": str(p.output)} for name, p in parts.items()}


def test_rows(prompts: PromptSet, fraction: float, seed: int) -> NDArray[np.bool_]:
    """Return which prompts belong to the test part, shape ``(n_prompts,)``."""
    component = components(prompts)
    counts = _counts(prompts, component)
    wanted = fraction * counts.sum(0)
    chosen = np.zeros(len(counts), bool)
    have = np.zeros_like(wanted)
    for index in sorted(range(len(counts)), key=lambda i: (-counts[i].sum(), _hash(seed, i))):
        with_it = have + counts[index]
        if ((with_it - wanted) ** 2).sum() < ((have - wanted) ** 2).sum():
            chosen[index], have = True, with_it
    return chosen[component]


def components(prompts: PromptSet) -> NDArray[np.intp]:
    """Number the sets of prompts that are linked by a group, a pair or a text."""
    parent = list(range(len(prompts.prompts)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    first: dict[tuple[str, str], int] = {}
    for row, prompt in enumerate(prompts.prompts):
        keys = {"group": group_of(prompt), "pair": prompt.pair, "text": prompt.text}
        for kind, key in keys.items():
            if key is not None:
                parent[root(row)] = root(first.setdefault((kind, key), row))
    return np.unique([root(row) for row in range(len(parent))], return_inverse=True)[1]


def _counts(prompts: PromptSet, component: NDArray[np.intp]) -> NDArray[np.float64]:
    """Count labels and categories in components, ``(n_components, n_labels + n_categories)``."""
    keys = [(("label", p.label), ("category", p.category, p.label)) for p in prompts.prompts]
    column = {key: i for i, key in enumerate(dict.fromkeys(k for pair in keys for k in pair))}
    counts = np.zeros((component.max() + 1, len(column)))
    for row, pair in zip(component, keys, strict=True):
        for key in pair:
            counts[row, column[key]] += 1
    return counts


def _require_labels(prompts: PromptSet, rows: dict[str, NDArray[np.intp]]) -> None:
    used = Counter(p.label for p in prompts.prompts if p.label is not None)
    for part, indices in rows.items():
        missing = set(used) - {prompts.prompts[i].label for i in indices}
        if missing or not indices.size:
            label = f"no prompt with the label `{min(missing)}`" if missing else "no prompts"
            message = f"the {part} part of `{prompts.name}` would have {label}"
            hint = (
                "each label needs prompts of at least two groups: add templates, or change "
                "the fraction"
            )
            raise DataError("label-missing-in-part", message, hint=hint, part=part)


def _hash(seed: int, index: int) -> bytes:
    return hashlib.sha256(f"{seed}/{index}".encode()).digest()


SPLIT = Command(request=SplitRequest, plan=plan, present=present, data=data)
