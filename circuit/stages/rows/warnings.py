"""What is wrong with a question's rows, in words: said when it is asked, and kept in the results.

    few groups      under ``MIN_GROUPS``, or ``MIN_CLASS_GROUPS`` of a class, nothing supports a claim; fewer groups of a class than folds
    lopsided        one class has ``LOPSIDED`` times the rows of another. AUROC stays what it is, but is no surer than the smaller class makes
                    it, and accuracy would say nothing
    by group        few groups, each of one label: the label cannot be told from whatever else these groups differ in
    blind           a layer at which all prompts have the same activations tells nothing apart

What leaves nothing to measure (one class, a class within one group, NaN) is refused where the rows are read.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from circuit.methods.uncertainty.splits import groups_per_class
from circuit.stages.rows.questions import Array, Note, Question
from circuit.values.thresholds import MIN_CLASS_GROUPS, MIN_GROUPS

LOPSIDED = 10
FEW_BY_GROUP = 2 * MIN_GROUPS
SAME = 1e-6  # of the largest entry of a feature: rounding


def flags(question: Question, folds: int) -> list[str]:
    """Say what is wrong with the rows of ``question``."""
    return [
        *few_groups(question, folds),
        *lopsided(question.names, question.y),
        *by_group(question.y, question.groups),
    ]


def tell(about: str, texts: Iterable[str], note: Note) -> None:
    """Note each of ``texts`` under the name of the question."""
    for text in texts:
        note(f"{about}: {text}")


def few_groups(question: Question, folds: int) -> Iterator[str]:
    """Say when there are too few groups to claim anything, or fewer than folds."""
    counts = groups_per_class(question.y, question.groups)
    n_groups = len(np.unique(question.groups))
    if n_groups < MIN_GROUPS:
        yield (
            f"only {n_groups} groups of prompts; under {MIN_GROUPS} groups nothing here supports "
            "a claim, whatever the intervals say"
        )
    fewest = min(counts, key=lambda i: counts[i])
    if counts[fewest] < MIN_CLASS_GROUPS and n_groups >= MIN_GROUPS:
        yield (
            f"only {counts[fewest]} groups of prompts hold `{question.names[fewest]}`; under {MIN_CLASS_GROUPS} groups of a class nothing "
            "here supports a claim, whatever the intervals say"
        )
    if counts[fewest] < folds:
        yield (
            f"`{question.names[fewest]}` comes from {counts[fewest]} groups of prompts, so there are "
            f"{counts[fewest]} folds instead of {folds}"
        )


def lopsided(names: Sequence[str], y: Array) -> Iterator[str]:
    """Say when one class ``y`` (n,) has at least ``LOPSIDED`` times the rows of another."""
    counts = [int(np.sum(y == i)) for i in range(len(names))]
    few, many = int(np.argmin(counts)), int(np.argmax(counts))
    if counts[few] and counts[many] >= LOPSIDED * counts[few]:
        yield (
            f"{counts[few]} prompts of `{names[few]}` against {counts[many]} of `{names[many]}`; the scores "
            f"are no surer than {counts[few]} prompts make them"
        )


def by_group(y: Array, groups: Array) -> Iterator[str]:
    """Say when few groups, and more prompts than groups, have one label each."""
    pairs = {*zip(groups.tolist(), y.tolist(), strict=True)}
    n_groups = len(np.unique(groups))
    if len(pairs) == n_groups < min(FEW_BY_GROUP, len(y)):
        yield (
            f"each of the {n_groups} groups has one label, so that whatever else these groups differ in tells the labels apart as well, and "
            f"there are {n_groups} independent rows, not {len(y)}"
        )


def blind(rows: Array) -> bool:
    """Say whether all rows (n, d) are the same up to rounding."""
    low, high = rows.min(axis=0), rows.max(axis=0)
    return bool((high - low <= SAME * np.maximum(np.abs(low), np.abs(high))).all())


def blindness(where: str, n: int) -> str:
    """Say that ``where`` all of ``n`` prompts look alike."""
    return f"{where}: all {n} prompts have the same activations there, so nothing can be told apart"
