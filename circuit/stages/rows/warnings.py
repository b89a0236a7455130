"""Warnings about the rows that a label or a probe uses: noted in the run, and kept in the results.

    few groups            under ``MIN_GROUPS`` groups, or ``MIN_CLASS_GROUPS`` of a class, nothing
                          supports a claim; a class has fewer groups than there are folds
    class imbalance       one class has ``IMBALANCED`` times the rows of another: the AUROC is no
                          surer than the smaller class makes it, and accuracy says nothing
    groups of one label   few groups, each of one label: whatever else these groups differ in
                          separates the labels as well
    equal rows            all prompts have the same activations, so nothing can be decoded
    many classes          fewer permutations, so that cost does not grow with their square

Rows that leave nothing to measure (one class, a class within one group, NaN) are refused where they
are read.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from circuit.methods.arrays import Array
from circuit.methods.probes.question import most_permutations
from circuit.methods.uncertainty.splits import groups_per_class
from circuit.stages.rows.labelled_rows import LabelledRows
from circuit.stages.run import Note
from circuit.values.thresholds import MIN_CLASS_GROUPS, MIN_CONTROLS, MIN_GROUPS

IMBALANCED = 10
FEW_GROUPS_OF_ONE_LABEL = 2 * MIN_GROUPS
SAME = 1e-6  # of the largest entry of a feature: rounding
_NO_CLAIM = "nothing here supports a claim, whatever the intervals say"


def row_warnings(rows: LabelledRows, folds: int) -> list[str]:
    """Return every warning about ``rows``."""
    return [
        *few_groups(rows, folds),
        *class_imbalance(rows.names, rows.y),
        *groups_of_one_label(rows.y, rows.groups),
        *many_classes(len(rows.names)),
    ]


def note_each(subject: str, warnings: Iterable[str], note: Note) -> None:
    """Note each warning under the name of what it is about."""
    for text in warnings:
        note(f"{subject}: {text}")


def few_groups(rows: LabelledRows, folds: int) -> Iterator[str]:
    """Warn of too few groups to claim anything, or fewer than folds."""
    counts = groups_per_class(rows.y, rows.groups)
    fewest = min(counts, key=lambda i: counts[i])
    least, name = counts[fewest], rows.names[fewest]
    yield from too_few_groups(rows.n_groups)
    if least < MIN_CLASS_GROUPS and rows.n_groups >= MIN_GROUPS:
        yield (
            f"only {least} groups of prompts hold `{name}`; under {MIN_CLASS_GROUPS} groups of a "
            f"class {_NO_CLAIM}"
        )
    if least < folds:
        yield (
            f"`{name}` comes from {least} groups of prompts, so there are {least} folds instead of "
            f"{folds}"
        )


def too_few_groups(n_groups: int) -> Iterator[str]:
    """Warn of fewer groups in all than a claim needs."""
    if n_groups < MIN_GROUPS:
        yield f"only {n_groups} groups of prompts; under {MIN_GROUPS} groups {_NO_CLAIM}"


def too_few_controls(*numbers: int) -> Iterator[str]:
    """Warn, before a run, of fewer control directions of a kind than a claim needs."""
    few = min((n for n in numbers if n), default=MIN_CONTROLS)
    if few < MIN_CONTROLS:
        yield (
            f"with {few} control directions no p is below {1 / (few + 1):.3f}, so no effect can be "
            f"shown: {MIN_CONTROLS} of a kind are needed"
        )


def many_classes(n_classes: int) -> Iterator[str]:
    """Warn of fewer permutations, each of which ranks the rows once per class."""
    if (most := most_permutations(n_classes)) is not None:
        least = 1 / (most + 1)
        yield f"{n_classes} classes: {most} permutations at most, so no p is below {least:.3f}"


def class_imbalance(names: Sequence[str], y: Array) -> Iterator[str]:
    """Warn where one class of ``y`` (n,) has at least ``IMBALANCED`` times the rows of another."""
    counts = [int(np.sum(y == i)) for i in range(len(names))]
    few, many = int(np.argmin(counts)), int(np.argmax(counts))
    if counts[few] and counts[many] >= IMBALANCED * counts[few]:
        yield (
            f"{counts[few]} prompts of `{names[few]}` against {counts[many]} of `{names[many]}`; "
            f"the scores are no surer than {counts[few]} prompts make them"
        )


def groups_of_one_label(y: Array, groups: Array) -> Iterator[str]:
    """Warn where few groups, and more prompts than groups, have one label each."""
    pairs = {*zip(groups.tolist(), y.tolist(), strict=True)}
    n_groups = len(np.unique(groups))
    if len(pairs) == n_groups < min(FEW_GROUPS_OF_ONE_LABEL, len(y)):
        yield (
            f"each of the {n_groups} groups has one label, so that whatever else these groups "
            f"differ in separates the labels as well, and there are {n_groups} independent rows, "
            f"not {len(y)}"
        )


def all_equal_rows(rows: Array) -> bool:
    """Say whether all rows (n, d) are the same up to rounding."""
    low, high = rows.min(axis=0), rows.max(axis=0)
    return bool((high - low <= SAME * np.maximum(np.abs(low), np.abs(high))).all())


def equal_rows_text(place: str, n: int) -> str:
    """Say that all of ``n`` prompts have the same activations at ``place``."""
    return f"{place}: all {n} prompts have the same activations, so nothing can be decoded there"
