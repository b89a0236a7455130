"""Contrasts: which rows of an archive a direction leads from and to, the place where it is sought, and how far it carries.

The label gives one contrast; each category, and each tool, one against the others of its kind. Prompts without a tool have
no part in the contrasts of tools: those ask which tool, not whether one is called.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from circuit.artifacts.activations.activations import Activations
from circuit.errors import DataError, UsageError
from circuit.methods.quality.transfer import transfer_matrix
from circuit.stages.rows.questions import (
    Array,
    Note,
    category_question,
    label_question,
    pair_ids,
)
from circuit.stages.rows.warnings import few_groups, tell


@dataclass(frozen=True)
class Contrast:
    """One direction to fit: rows, and which of them are positive."""

    name: str
    positive_label: str
    negative_label: str
    rows: Array
    y: Array  # 0 or 1
    groups: Array
    pairs: list[int | None] | None = None


def chosen_place(
    activations: Activations, site: str | None, position: str | None
) -> tuple[str, str]:
    """Return the site and position to work at; `resid_post` where there is a choice."""
    if site is None and len(activations.sites) > 1 and "resid_post" not in activations.sites:
        message = f"`{activations.path}` holds more than one site"
        raise UsageError(message, hint=f"choose --site from {', '.join(activations.sites)}")
    if site is None:
        site = "resid_post" if "resid_post" in activations.sites else activations.sites[0]
    activations.layers(site)  # refuses a site that is not there
    if position is None and len(activations.positions) == 1:
        position = activations.positions[0]
    if position not in activations.positions:
        what = "more than one position" if position is None else f"no position `{position}`"
        message = f"`{activations.path}` holds {what}"
        hint = f"choose --position from {', '.join(activations.positions)}"
        raise UsageError(message, hint=hint)
    return site, str(position)


def label_contrast(
    activations: Activations, groups: Array, positive: str | None, negative: str | None
) -> Contrast:
    """Return the contrast of two labels: the two that there are, or those that were chosen."""
    labels = activations.labels
    if positive is None and negative is None:
        if len(labels) > 2:
            message = f"`{activations.path}` has {len(labels)} labels"
            raise UsageError(message, hint=f"choose --positive from {', '.join(labels)}")
        positive, negative = (labels[-1], labels[0]) if len(labels) == 2 else (None, None)
    question = label_question(activations, groups, positive=positive, negative=negative)
    low, high = question.names
    pairs = pair_ids(activations, question.rows)
    return Contrast(
        f"{high}_vs_{low}", high, low, question.rows, question.y, question.groups, pairs
    )


def one_against_rest(
    activations: Activations, groups: Array, field: str, folds: int, note: Note
) -> list[Contrast]:
    """One contrast for each category, or tool."""
    question = category_question(activations, groups, note, field=field)
    kind = "tool" if field == "expected_tool" else "category"
    if question is None:
        message = f"`{activations.path}` has prompts of fewer than two {kind} classes"
        hint = f"leave --per-{kind} out; each needs prompts from at least 2 groups (templates)"
        raise DataError(message, hint=hint)
    tell(question.name, few_groups(question, folds), note)
    rest = "other tools" if kind == "tool" else "other categories"
    return [
        Contrast(
            f"{kind}:{name}",
            name,
            rest,
            question.rows,
            (question.y == i).astype(np.intp),
            question.groups,
        )
        for i, name in enumerate(question.names)
    ]


def in_pair_order(contrast: Contrast, *, paired: bool) -> tuple[Array, Array]:
    """Row numbers of the two classes; the members of a pair stand at the same place."""
    positive, negative = np.flatnonzero(contrast.y == 1), np.flatnonzero(contrast.y == 0)
    if not paired or contrast.pairs is None:
        return positive, negative
    number = np.array(contrast.pairs, dtype=np.intp)
    return positive[np.argsort(number[positive])], negative[np.argsort(number[negative])]


def transfer(
    activations: Activations, main: Contrast, rows: Array, method: str, folds: int, seed: int
) -> dict[str, Any] | None:
    """Fit the main contrast on the prompts of one category, score it on another's; None under two categories.

    A category of positive prompts only stands against all negative ones; one of negative prompts only has no part of its own.
    ``rows`` (n, d) are those of the contrast.
    """
    categories = [activations.prompts[row].category for row in main.rows]
    parts = _parts(categories, main.y, main.groups)
    if len(parts) < 2:
        return None
    found = transfer_matrix(method, rows, main.y, main.groups, parts, folds=folds, seed=seed)
    return found.as_dict()


def _parts(categories: list[str | None], y: Array, groups: Array) -> dict[str, Array]:
    """Rows of each category that has both classes in two groups and more."""
    parts = {}
    for name in dict.fromkeys(category for category in categories if category is not None):
        member = np.array([category == name for category in categories])
        if (y[member] == 1).all():
            member |= y == 0
        if min(len(np.unique(groups[member & (y == c)])) for c in (0, 1)) > 1:
            parts[name] = np.flatnonzero(member)
    return parts
