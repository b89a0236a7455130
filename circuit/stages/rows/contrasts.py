"""Contrasts: which rows a direction leads from and to, and at which site and position.

The label gives one contrast; each category, and each tool, one against the others of its kind.
Prompts without a tool are in no contrast of tools: those ask which tool, not whether one is called.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from circuit.artifacts.activations.activations import Activations
from circuit.errors import DataError, UsageError
from circuit.methods.arrays import Array
from circuit.methods.quality.transfer import Transfer, transfer_matrix
from circuit.stages.rows.labelled_rows import pair_ids, rows_by_category, rows_by_label
from circuit.stages.rows.warnings import few_groups, note_each
from circuit.stages.run import Note


class Place(NamedTuple):
    """A site and a position."""

    site: str
    position: str


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

    @property
    def names(self) -> list[str]:
        """The names of class 0 and class 1."""
        return [self.negative_label, self.positive_label]


def chosen_place(activations: Activations, site: str | None, position: str | None) -> Place:
    """Return the site and position to work at; ``resid_post`` where there is a choice of sites."""
    sites = activations.sites
    if site is None and len(sites) > 1 and "resid_post" not in sites:
        message = f"`{activations.path}` holds more than one site"
        hint = f"choose --site from {', '.join(sites)}"
        raise UsageError("ambiguous-site", message, hint=hint, sites=sites)
    if site is None:
        site = "resid_post" if "resid_post" in sites else sites[0]
    activations.layers(site)  # refuses an unknown site
    if position is None and len(activations.positions) == 1:
        position = activations.positions[0]
    hint = f"choose --position from {', '.join(activations.positions)}"
    if position is None:
        message = f"`{activations.path}` holds more than one position"
        raise UsageError("ambiguous-position", message, hint=hint, positions=activations.positions)
    check_position(activations, position, hint=hint)
    return Place(site, position)


def check_position(activations: Activations, position: str, *, hint: str = "") -> None:
    """Raise ``UsageError`` for a position that the archive does not hold."""
    if position not in activations.positions:
        message = f"`{activations.path}` holds no position `{position}`"
        hint = hint or f"it holds {', '.join(activations.positions)}"
        raise UsageError("position-not-in-archive", message, hint=hint, position=position)


def label_contrast(
    activations: Activations, groups: Array, positive: str | None, negative: str | None
) -> Contrast:
    """Return the contrast of two labels: the archive's two, or those that were chosen."""
    labels = activations.labels
    if positive is None and negative is None:
        if len(labels) > 2:
            message = f"`{activations.path}` has {len(labels)} labels"
            hint = f"choose --positive from {', '.join(labels)}"
            raise UsageError("ambiguous-labels", message, hint=hint, labels=labels)
        positive, negative = (labels[-1], labels[0]) if len(labels) == 2 else (None, None)
    labelled = rows_by_label(activations, groups, positive=positive, negative=negative)
    low, high = labelled.names
    pairs = pair_ids(activations, labelled.rows)
    return Contrast(
        name=f"{high}_vs_{low}",
        positive_label=high,
        negative_label=low,
        rows=labelled.rows,
        y=labelled.y,
        groups=labelled.groups,
        pairs=pairs,
    )


def one_against_rest(
    activations: Activations, groups: Array, field: str, folds: int, note: Note
) -> list[Contrast]:
    """Return one contrast for each category (``field`` category) or tool (``expected_tool``)."""
    labelled = rows_by_category(activations, groups, note, field=field)
    kind = "tool" if field == "expected_tool" else "category"
    if labelled is None:
        message = f"`{activations.path}` has prompts of fewer than two {kind} classes"
        hint = f"leave --per-{kind} out; each needs prompts from at least 2 groups (templates)"
        raise DataError("too-few-classes", message, hint=hint, field=field)
    note_each(labelled.name, few_groups(labelled, folds), note)
    return [
        Contrast(
            name=f"{kind}:{name}",
            positive_label=name,
            negative_label="other tools" if kind == "tool" else "other categories",
            rows=labelled.rows,
            y=(labelled.y == i).astype(np.intp),
            groups=labelled.groups,
        )
        for i, name in enumerate(labelled.names)
    ]


def in_pair_order(contrast: Contrast, *, paired: bool) -> tuple[Array, Array]:
    """Return the row numbers of both classes; the members of a pair stand at the same place."""
    positive, negative = np.flatnonzero(contrast.y == 1), np.flatnonzero(contrast.y == 0)
    if not paired or contrast.pairs is None:
        return positive, negative
    number = np.array(contrast.pairs, dtype=np.intp)
    return positive[np.argsort(number[positive])], negative[np.argsort(number[negative])]


def transfer_between_categories(
    activations: Activations, main: Contrast, rows: Array, method: str, *, folds: int, seed: int
) -> Transfer | None:
    """Fit the main contrast on the prompts of one category and score it on another's.

    None under two categories. A category of positive prompts only is set against all negative ones;
    one of negative prompts only is left out. ``rows`` (n, d) are those of the contrast.
    """
    categories = [activations.prompts[row].category for row in main.rows]
    parts = _parts(categories, main.y, main.groups)
    if len(parts) < 2:
        return None
    return transfer_matrix(method, rows, main.y, main.groups, parts, folds=folds, seed=seed)


def _parts(categories: list[str | None], y: Array, groups: Array) -> dict[str, Array]:
    """Return the rows of each category that has both classes in two groups and more."""
    parts = {}
    for name in dict.fromkeys(category for category in categories if category is not None):
        member = np.array([category == name for category in categories])
        if (y[member] == 1).all():
            member |= y == 0
        if min(len(np.unique(groups[member & (y == c)])) for c in (0, 1)) > 1:
            parts[name] = np.flatnonzero(member)
    return parts
