"""``dataset check``: what would make the results of a prompt set worthless, before a model has run.

Problems: equal texts; a text with two labels; a label without prompts; fewer than two labels;
labels more uneven than 10 : 1; a group that spans labels although its prompts are not pairs; half a
pair; a label with fewer than two groups, which no split can hold out. Warnings: labels more uneven
than 3 : 1; fewer than five groups; few groups of one label each (``rows.warnings``); something on
the surface (length, punctuation, digits, blanks, first word) that tells the labels apart by itself.
In a set of pairs or of the syntactic stratum that may be the very concept. A first word tells a
label only of prompts whose word another group has as well: words that occur once are always
different, and say nothing of the next prompt.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from circuit.artifacts.prompts.prompts import Prompt, PromptSet, group_of
from circuit.stages.rows.warnings import groups_of_one_label
from circuit.values.thresholds import MIN_CLASS_GROUPS

SURFACE: dict[str, Callable[[str], float]] = {
    "characters": len,
    "words": lambda text: len(text.split()),
    "question mark": lambda text: text.rstrip().endswith("?"),
    "other punctuation": lambda text: sum(mark in ".,;:!" for mark in text),
    "digits": lambda text: sum(mark.isdigit() for mark in text),
    "capital first": lambda text: text[:1].isupper(),
    "blank at the end": lambda text: text[-1:].isspace(),
}


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, or that a reader of the results has to know."""

    level: Literal["problem", "warning"]
    message: str


def findings(prompts: PromptSet) -> list[Finding]:
    """Return everything that is wrong with a set."""
    checks = (_duplicates, _balance, _pairs, _groups, _by_group, _tell_apart)
    return [finding for check in checks for finding in check(prompts)]


def surface(prompts: PromptSet) -> dict[str, dict[str, float]]:
    """Return the mean of each surface count for each label that has prompts."""
    return {
        name: {
            label: float(np.mean([measure(t) for t in texts]))
            for label, texts in _by_label(prompts).items()
        }
        for name, measure in SURFACE.items()
    }


def _duplicates(prompts: PromptSet) -> Iterator[Finding]:
    labels: dict[str, list[str | None]] = {}
    for prompt in prompts.prompts:
        labels.setdefault(prompt.text, []).append(prompt.label)
    for text, found in labels.items():
        if len(set(found)) > 1:
            named = " and ".join(f"`{label}`" for label in dict.fromkeys(found))
            yield Finding("problem", f"{text!r} has the labels {named}")
        elif len(found) > 1:
            yield Finding("problem", f"{text!r} occurs {len(found)} times")


def _balance(prompts: PromptSet) -> Iterator[Finding]:
    counts = {label: len(texts) for label, texts in _by_label(prompts).items()}
    for label in prompts.labels:
        if label not in counts:
            yield Finding("problem", f"no prompt has the label `{label}`")
    if len(counts) < 2:
        yield Finding("problem", f"{len(counts)} label has prompts: nothing can be told apart")
        return
    ratio = max(counts.values()) / min(counts.values())
    if ratio > 3:
        most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
        message = f"`{most}` has {counts[most]} prompts, `{least}` has {counts[least]}"
        yield Finding("problem" if ratio > 10 else "warning", message)


def _pairs(prompts: PromptSet) -> Iterator[Finding]:
    whole = _paired(prompts)
    names = Counter(
        p.pair for i, p in enumerate(prompts.prompts) if p.pair is not None and i not in whole
    )
    for name in names:
        yield Finding("problem", f"the pair `{name}` is not one prompt of each label")


def _groups(prompts: PromptSet) -> Iterator[Finding]:
    paired = _paired(prompts)
    members: dict[str, list[tuple[int, Prompt]]] = {}
    for index, prompt in enumerate(prompts.prompts):
        if prompt.label is not None:
            members.setdefault(group_of(prompt), []).append((index, prompt))
    for name, each in members.items():
        labels = {prompt.label for _, prompt in each}
        if len(labels) > 1 and not all(index in paired for index, _ in each):
            yield Finding(
                "problem", f"the group `{name}` spans the labels {_listed(labels)} without pairs"
            )
    for label in _by_label(prompts):
        count = sum(any(prompt.label == label for _, prompt in each) for each in members.values())
        if count < MIN_CLASS_GROUPS:
            level: Literal["problem", "warning"] = "problem" if count < 2 else "warning"
            yield Finding(level, f"`{label}` has prompts of {count} group{'s' * (count > 1)} only")


def _tell_apart(prompts: PromptSet) -> Iterator[Finding]:
    texts = _by_label(prompts)
    if len(texts) < 2:
        return
    for name, measure in SURFACE.items():
        if _disjoint([[measure(text) for text in each] for each in texts.values()]):
            yield Finding("warning", f"the labels can be told apart by `{name}` alone")
    if _first_words_tell(prompts):
        yield Finding("warning", "the labels can be told apart by `first word` alone")


def _first_words_tell(prompts: PromptSet) -> bool:
    """Tell whether first words, which several groups share, separate the labels."""
    groups: dict[str, set[str]] = {}
    words: dict[str, list[str]] = {}
    for prompt in prompts.prompts:
        if prompt.label is not None:
            word = prompt.text.split()[0].lower()
            words.setdefault(prompt.label, []).append(word)
            groups.setdefault(word, set()).add(group_of(prompt))
    if sum(len(set(each)) for each in words.values()) != len(groups):
        return False
    known = [np.mean([len(groups[word]) > 1 for word in each]) > 0.5 for each in words.values()]
    return int(np.sum(known)) >= len(known) - 1


def _by_group(prompts: PromptSet) -> Iterator[Finding]:
    rows, y = prompts.y()
    if len(np.unique(y)) > 1:
        yield from (
            Finding("warning", said) for said in groups_of_one_label(y, prompts.groups()[rows])
        )


def _disjoint(values: Sequence[Sequence[float]]) -> bool:
    """Tell whether the ranges of the classes do not meet."""
    ranges = sorted((min(each), max(each)) for each in values)
    return all(before[1] < after[0] for before, after in pairwise(ranges))


def _paired(prompts: PromptSet) -> set[int]:
    """Return the prompts of whole pairs: one prompt of each label, for any number of labels."""
    members: dict[str, list[int]] = {}
    for index, prompt in enumerate(prompts.prompts):
        if prompt.pair is not None:
            members.setdefault(prompt.pair, []).append(index)
    whole = Counter(prompts.labels)
    return {
        index
        for rows in members.values()
        if Counter(prompts.prompts[row].label for row in rows) == whole
        for index in rows
    }


def _by_label(prompts: PromptSet) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for label in prompts.labels:
        texts = [prompt.text for prompt in prompts.prompts if prompt.label == label]
        if texts:
            found[label] = texts
    return found


def _listed(labels: set[Any]) -> str:
    return ", ".join(f"`{label}`" for label in sorted(labels))
