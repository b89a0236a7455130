"""What is asked of an archive's rows: which rows, which classes, which groups must stay together.

A *question* is a labelling that a probe or a direction can answer. ``label`` is that of the prompt set; ``category`` is
the category among the labelled prompts. Prompts without a label are shown in pictures, never fitted or scored. Groups
are those of the prompts, joined where two prompts have the same text or the same activations at the deepest layer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from circuit.artifacts.activations.activations import Activations
from circuit.errors import DataError, UsageError
from circuit.methods.uncertainty.splits import groups_per_class, merge_identical

Note = Callable[[str], None]
Array = NDArray[Any]


@dataclass(frozen=True)
class Question:
    """Rows of the archive, the class of each, and the names of the classes."""

    name: str
    rows: Array  # (n,) indices into the archive
    y: Array  # (n,) index into names
    names: list[str]
    groups: Array  # (n,) group numbers

    def describe(self) -> dict[str, Any]:
        """Counts, for a file."""
        counts = groups_per_class(self.y, self.groups)
        return {
            "n": len(self.rows),
            "n_groups": len(np.unique(self.groups)),
            "classes": [
                {"name": name, "n": int(np.sum(self.y == i)), "n_groups": counts[i]}
                for i, name in enumerate(self.names)
            ],
        }


def silent(text: str) -> None:
    """Take a note and drop it."""


def joined_groups(activations: Activations, site: str, position: str, note: Note = silent) -> Array:
    """Return the group number of every prompt, repeated prompts joined, and say how many there are."""
    deepest = activations.read(site, activations.layers(site)[-1], position)
    keys: list[Any] = [activations.prompt_set.texts]
    if distinct_rows(deepest):
        keys.append(deepest)
    groups, repeats = merge_identical(activations.groups(), *keys)
    if repeats:
        note(repetition(repeats, len(groups)))
    return groups


def repetition(repeats: int, n: int) -> str:
    """Say how many of ``n`` prompts repeat another."""
    return f"{repeats} of {n} prompts repeat another one; they share its group"


def distinct_rows(rows: Array) -> bool:
    """Say whether equal rows (n, d) are repetitions, and not a site that is blind to the prompt (an embedding, say)."""
    return len(np.unique(rows, axis=0)) > len(rows) // 2


def label_question(
    activations: Activations,
    groups: Array,
    *,
    positive: str | None = None,
    negative: str | None = None,
) -> Question:
    """Ask for the label; ``positive`` and ``negative`` choose two of several (``negative`` None: all others)."""
    rows, y = activations.y()
    if not len(rows):
        message = f"`{activations.path}` holds no labelled prompts"
        raise DataError(message, hint="label them before collecting: circuit dataset import")
    if positive is None and negative is None:
        present = np.unique(y)
        names = [activations.labels[i] for i in present]
        question = Question("label", rows, np.searchsorted(present, y), names, groups[rows])
    else:
        question = _contrast(activations, groups, rows, y, positive, negative)
    _check_classes(question)
    return question


def _contrast(
    activations: Activations,
    groups: Array,
    rows: Array,
    y: Array,
    positive: str | None,
    negative: str | None,
) -> Question:
    labels = activations.labels
    for label in (positive, negative):
        if label is not None and label not in labels:
            message = f"`{activations.path}` has no label `{label}`"
            raise UsageError(message, hint=f"its labels are {', '.join(labels)}")
    if positive == negative:
        message = f"`{positive}` cannot be both the positive and the negative label"
        raise UsageError(message, hint=f"the labels are {', '.join(labels)}")
    of = {name: y == labels.index(name) for name in (positive, negative) if name is not None}
    everything = np.ones(len(y), dtype=bool)
    is_positive = of[positive] if positive is not None else everything & ~of[str(negative)]
    is_negative = of[negative] if negative is not None else everything & ~of[str(positive)]
    keep = is_positive | is_negative
    others = [name for name in labels if name not in of]
    rest = others[0] if len(others) == 1 else "rest"
    return Question(
        "label",
        rows[keep],
        is_positive[keep].astype(np.intp),
        [negative or rest, positive or rest],
        groups[rows[keep]],
    )


def _check_classes(question: Question) -> None:
    if len(question.names) < 2 or len(np.unique(question.y)) < 2:
        present = question.names[int(question.y[0])] if len(question.y) else "none"
        message = f"all {len(question.rows)} labelled prompts have the label `{present}`"
        raise DataError(message, hint="two classes are needed to tell anything apart")
    for i, name in enumerate(question.names):
        if len(np.unique(question.groups[question.y == i])) < 2:
            message = f"label `{name}` occurs in one group only, so none of it can be held out"
            raise DataError(
                message, hint="each label needs prompts of at least 2 groups (templates)"
            )


def category_question(
    activations: Activations, groups: Array, note: Note = silent, *, field: str = "category"
) -> Question | None:
    """Ask for ``category`` or ``expected_tool`` among the labelled prompts; None where there is nothing to ask.

    Classes that occur in one group only cannot be held out: they are left out, and named.
    """
    rows, _ = activations.y()
    values = [getattr(activations.prompts[row], field) for row in rows]
    kept, lonely = _held_out_able(values, groups[rows])
    if lonely:
        note(f"left out, with prompts of one group only: {field} {', '.join(lonely)}")
    if len(kept) < 2:
        return None
    inside = np.array([value in kept for value in values])
    y = np.array([kept.index(value) for value in values if value in kept], dtype=np.intp)
    return Question(field, rows[inside], y, kept, groups[rows[inside]])


def _held_out_able(values: Sequence[str | None], groups: Array) -> tuple[list[str], list[str]]:
    """Classes in order of appearance: those in two groups and more, and the others."""
    found = list(dict.fromkeys(value for value in values if value is not None))
    members = {
        name: {g for v, g in zip(values, groups, strict=True) if v == name} for name in found
    }
    kept = [name for name in found if len(members[name]) > 1]
    return kept, [name for name in found if name not in kept]


def same_partition(a: Question, b: Question) -> bool:
    """Say whether two questions divide the same rows in the same way."""
    if len(a.rows) != len(b.rows) or (a.rows != b.rows).any():
        return False
    return len({*zip(a.y.tolist(), b.y.tolist(), strict=True)}) == len(a.names) == len(b.names)


def pair_ids(activations: Activations, rows: Array) -> list[int | None]:
    """Return the pair number of each of ``rows``, or None for a prompt without a partner."""
    number: dict[int, int] = {}
    for k, members in enumerate(activations.pairs()):
        number.update(dict.fromkeys((int(row) for row in members), k))
    return [number.get(int(row)) for row in rows]


def permutation_units(activations: Activations, question: Question) -> list[str]:
    """Return what labels are permuted within: the pair of a prompt that has a partner, else its group."""
    pairs = pair_ids(activations, question.rows)
    return [
        f"group {group}" if pair is None else f"pair {pair}"
        for pair, group in zip(pairs, question.groups.tolist(), strict=True)
    ]
