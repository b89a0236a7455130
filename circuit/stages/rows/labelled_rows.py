"""Labelled rows of an archive: which rows, the class of each, and which rows are held out together.

A probe or a direction answers a labelling: ``label`` is that of the prompt set, ``category`` and
``expected_tool`` are those of the labelled prompts. Prompts without a label are shown in pictures,
never fitted or scored. Groups are those of the prompts, joined where two prompts have the same text
or the same activations at the deepest layer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from circuit.artifacts.activations.activations import Activations
from circuit.errors import DataError, UsageError
from circuit.methods.arrays import Array
from circuit.methods.uncertainty.splits import groups_per_class, merge_identical
from circuit.stages.run import Note, silent


@dataclass(frozen=True)
class ClassSize:
    """How many rows a class has, and in how many groups."""

    name: str
    n: int
    n_groups: int


@dataclass(frozen=True)
class LabelledRows:
    """Rows of an archive, the class of each, and the names of the classes."""

    name: str
    rows: Array  # (n,) indices into the archive
    y: Array  # (n,) index into names
    names: list[str]
    groups: Array  # (n,) group numbers

    @property
    def n_groups(self) -> int:
        """The number of groups."""
        return len(np.unique(self.groups))

    def class_sizes(self) -> list[ClassSize]:
        """Count the rows and groups of each class."""
        counts = groups_per_class(self.y, self.groups)
        return [
            ClassSize(name, int(np.sum(self.y == i)), counts[i])
            for i, name in enumerate(self.names)
        ]


def joined_groups(activations: Activations, site: str, position: str, note: Note = silent) -> Array:
    """Return the group number of every prompt, repeated prompts joined; note how many there are."""
    deepest = activations.read(site, activations.layers(site)[-1], position)
    keys: list[list[str] | Array] = [activations.prompt_set.texts]
    if mostly_distinct(deepest):
        keys.append(deepest)
    groups, repeats = merge_identical(activations.groups(), *keys)
    if repeats:
        note(repetition_text(repeats, len(groups)))
    return groups


def repetition_text(repeats: int, n: int) -> str:
    """Say how many of ``n`` prompts repeat another."""
    return f"{repeats} of {n} prompts repeat another one; they share its group"


def mostly_distinct(rows: Array) -> bool:
    """Say whether equal rows (n, d) are repeated prompts.

    Where most rows are equal the site does not depend on the prompt (an embedding, say).
    """
    return len(np.unique(rows, axis=0)) > len(rows) // 2


def rows_by_label(
    activations: Activations,
    groups: Array,
    *,
    positive: str | None = None,
    negative: str | None = None,
) -> LabelledRows:
    """Label rows by the prompts' label.

    ``positive`` and ``negative`` choose two of several labels (``negative`` None: all others).
    Raises ``DataError`` for rows that have fewer than two classes of two groups each.
    """
    rows, y = activations.y()
    if not len(rows):
        message = f"`{activations.path}` holds no labelled prompts"
        hint = "label them before collecting: circuit dataset import"
        raise DataError("no-labels", message, hint=hint, path=str(activations.path))
    if positive is None and negative is None:
        present = np.unique(y)
        names = [activations.labels[i] for i in present]
        labelled = LabelledRows("label", rows, np.searchsorted(present, y), names, groups[rows])
    else:
        labelled = _two_labels(activations, groups, positive, negative)
    _check_classes(labelled)
    return labelled


def _two_labels(
    activations: Activations, groups: Array, positive: str | None, negative: str | None
) -> LabelledRows:
    labels = activations.labels
    _check_labels(activations, positive, negative)
    rows, y = activations.y()
    of = {name: y == labels.index(name) for name in (positive, negative) if name is not None}
    is_positive = of[positive] if positive is not None else ~of[str(negative)]
    is_negative = of[negative] if negative is not None else ~of[str(positive)]
    chosen = is_positive | is_negative
    others = [name for name in labels if name not in of]
    rest = others[0] if len(others) == 1 else "rest"
    return LabelledRows(
        "label",
        rows[chosen],
        is_positive[chosen].astype(np.intp),
        [negative or rest, positive or rest],
        groups[rows[chosen]],
    )


def _check_labels(activations: Activations, positive: str | None, negative: str | None) -> None:
    listed = ", ".join(activations.labels)
    for label in (positive, negative):
        if label is not None and label not in activations.labels:
            message = f"`{activations.path}` has no label `{label}`"
            hint = f"its labels are {listed}"
            raise UsageError("unknown-label", message, hint=hint, label=label)
    if positive == negative:
        message = f"`{positive}` cannot be both the positive and the negative label"
        raise UsageError("equal-labels", message, hint=f"the labels are {listed}", label=positive)


def _check_classes(labelled: LabelledRows) -> None:
    if len(labelled.names) < 2 or len(np.unique(labelled.y)) < 2:
        present = labelled.names[int(labelled.y[0])] if len(labelled.y) else "none"
        message = f"all {len(labelled.rows)} labelled prompts have the label `{present}`"
        raise DataError("one-class", message, hint="two classes are needed", label=present)
    for i, name in enumerate(labelled.names):
        if len(np.unique(labelled.groups[labelled.y == i])) < 2:
            message = f"label `{name}` occurs in one group only, so none of it can be held out"
            hint = "each label needs prompts of at least 2 groups (templates)"
            raise DataError("class-of-one-group", message, hint=hint, label=name)


def rows_by_category(
    activations: Activations, groups: Array, note: Note = silent, *, field: str = "category"
) -> LabelledRows | None:
    """Label the labelled prompts by ``category`` or ``expected_tool``; None under two classes.

    Classes that occur in one group only cannot be held out: they are left out, and noted.
    """
    rows, _ = activations.y()
    values = [getattr(activations.prompts[row], field) for row in rows]
    kept, lonely = _several_groups(values, groups[rows])
    if lonely:
        note(f"left out, with prompts of one group only: {field} {', '.join(lonely)}")
    if len(kept) < 2:
        return None
    inside = np.array([value in kept for value in values])
    y = np.array([kept.index(value) for value in values if value in kept], dtype=np.intp)
    return LabelledRows(field, rows[inside], y, kept, groups[rows[inside]])


def _several_groups(values: Sequence[str | None], groups: Array) -> tuple[list[str], list[str]]:
    """Return the classes of two groups and more, in order of appearance, and the others."""
    found = list(dict.fromkeys(value for value in values if value is not None))
    members = {
        name: {g for v, g in zip(values, groups, strict=True) if v == name} for name in found
    }
    kept = [name for name in found if len(members[name]) > 1]
    return kept, [name for name in found if name not in kept]


def same_partition(a: LabelledRows, b: LabelledRows) -> bool:
    """Say whether two labellings divide the same rows in the same way."""
    if len(a.rows) != len(b.rows) or (a.rows != b.rows).any():
        return False
    return len({*zip(a.y.tolist(), b.y.tolist(), strict=True)}) == len(a.names) == len(b.names)


def pair_ids(activations: Activations, rows: Array) -> list[int | None]:
    """Return the pair number of each of ``rows``, or None for a prompt without a partner."""
    number: dict[int, int] = {}
    for k, members in enumerate(activations.pairs()):
        number.update(dict.fromkeys((int(row) for row in members), k))
    return [number.get(int(row)) for row in rows]


def permutation_units(activations: Activations, labelled: LabelledRows) -> list[str]:
    """Return the unit within which labels are permuted: the pair of a prompt, else its group."""
    pairs = pair_ids(activations, labelled.rows)
    return [
        f"group {group}" if pair is None else f"pair {pair}"
        for pair, group in zip(pairs, labelled.groups.tolist(), strict=True)
    ]
