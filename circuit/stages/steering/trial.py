"""How often steered answers meet a criterion, per label, alongside random directions.

The share of a label's prompts whose answer meets the criterion has a Wilson 95 % interval. Each
random direction (uniform on the sphere, same norm, same coefficient) gives one share. ``p`` is
two-sided: the change of the share from the unsteered one against the changes by the random
directions; ``p_any`` is the same over all labels and coefficients
(``methods.uncertainty.p_values``).
``change`` and ``excess`` are the differences from the unsteered and from the random directions'
answers (``methods.uncertainty.against_controls``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from circuit.artifacts.prompts.prompts import PromptSet, group_of
from circuit.methods.arrays import Array
from circuit.methods.text.criteria import satisfies
from circuit.methods.uncertainty.against_controls import acts, against_controls
from circuit.methods.uncertainty.p_values import control_p, family_control_p
from circuit.methods.uncertainty.scores import wilson
from circuit.values.intervals import Interval


@dataclass(frozen=True)
class Answers:
    """The texts generated with one vector, and which of them are loops.

    ``control`` 0 is the direction, others are random controls.
    """

    control: int
    coefficient: float
    outputs: list[str]
    loops: list[bool] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Rate:
    """The share of one label's prompts that met the criterion at one coefficient."""

    label: str
    coefficient: float
    successes: int
    n: int
    n_groups: int
    rate: float
    interval: tuple[float, float]
    controls: list[float]
    change: Interval | None
    excess: Interval | None
    p: float | None
    p_any: float | None

    @property
    def used(self) -> bool:
        """Whether the direction acts: see ``methods.uncertainty.against_controls``."""
        return acts(self.p_any, self.change, self.excess)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """The criterion, how many random directions were tried, and every rate."""

    criterion: str
    n_controls: int
    rates: list[Rate]


def check_criterion(prompts: PromptSet | Sequence[str], criterion: str) -> None:
    """Raise what judging these prompts by ``criterion`` would raise."""
    for expected in _judged(prompts).expected:
        satisfies(criterion, "", expected=expected)


def judge(
    prompts: PromptSet | Sequence[str],
    answers: Sequence[Answers],
    criterion: str,
    controls: int,
) -> Trial:
    """Judge every answer and count by label; in a labelled set only labelled prompts count."""
    judged = _judged(prompts)
    met = {
        (each.control, each.coefficient): np.array(
            [
                satisfies(criterion, each.outputs[row], expected=expected)
                for row, expected in zip(judged.rows, judged.expected, strict=True)
            ]
        )
        for each in answers
    }
    coefficients = sorted({coefficient for _, coefficient in met})
    rates = [
        _rate(label, c, judged, met, controls)
        for label in dict.fromkeys(judged.labels.tolist())
        for c in coefficients
    ]
    return Trial(criterion=criterion, n_controls=controls, rates=_with_family_p(rates))


def _with_family_p(rates: Sequence[Rate]) -> list[Rate]:
    """Add the p over all labels and coefficients that have controls."""
    bases = {rate.label: rate.rate for rate in rates if rate.coefficient == 0}
    tested = [rate for rate in rates if rate.controls and rate.label in bases]
    if not tested:
        return list(rates)
    base = np.array([bases[rate.label] for rate in tested])
    observed = np.array([rate.rate for rate in tested]) - base
    controls = np.array([rate.controls for rate in tested]).T - base
    found = family_control_p(observed, controls)
    p_any = {id(rate): p for rate, p in zip(tested, found, strict=True)}
    return [replace(rate, p_any=p_any.get(id(rate))) for rate in rates]


@dataclass(frozen=True)
class _JudgedPrompts:
    """The prompts that count: their rows, labels, groups and expected texts."""

    rows: list[int]
    labels: Array
    groups: Array
    expected: list[str | None]


def _judged(prompts: PromptSet | Sequence[str]) -> _JudgedPrompts:
    if not isinstance(prompts, PromptSet):
        n = len(prompts)
        return _JudgedPrompts(list(range(n)), np.array(["all"] * n), np.array(prompts), [None] * n)
    labelled = [row for row, prompt in enumerate(prompts.prompts) if prompt.label is not None]
    rows = labelled or list(range(len(prompts.prompts)))
    chosen = [prompts.prompts[row] for row in rows]
    labels = [prompt.label or "all" for prompt in chosen]
    groups = [group_of(prompt) for prompt in chosen]
    expected = [prompt.expected for prompt in chosen]
    return _JudgedPrompts(rows, np.array(labels), np.array(groups), expected)


def _rate(
    label: str,
    coefficient: float,
    judged: _JudgedPrompts,
    met: Mapping[tuple[int, float], Array],
    controls: int,
) -> Rate:
    rows = judged.labels == label
    own, groups = met[0, coefficient][rows], judged.groups[rows]
    drawn = [i for i in range(1, controls + 1) if (i, coefficient) in met]
    by_control = np.array([met[i, coefficient][rows] for i in drawn]).reshape(len(drawn), len(own))
    others = by_control.mean(axis=1).tolist()
    rate, change, excess, p = float(own.mean()), None, None, None
    if (0, 0.0) in met and coefficient != 0:
        unsteered = met[0, 0.0][rows]
        found = against_controls(own, unsteered, by_control, groups)
        if found is not None:
            change = found.change.as_triple()
            excess = None if found.excess is None else found.excess.as_triple()
        p = control_p(rate - unsteered.mean(), np.array(others) - unsteered.mean())
    return Rate(
        label=label,
        coefficient=coefficient,
        successes=int(own.sum()),
        n=len(own),
        n_groups=len(set(groups.tolist())),
        rate=rate,
        interval=wilson(int(own.sum()), len(own)),
        controls=others,
        change=change,
        excess=excess,
        p=p,
        p_any=None,
    )
