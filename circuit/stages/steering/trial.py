"""How often steered answers meet a criterion, per label, alongside random directions.

The share of a label's prompts whose answer meets the criterion has a Wilson 95 % interval. Each
random direction (uniform on the sphere, same norm, same coefficient) gives one share. ``p`` is
two-sided: the change of the share from the unsteered one against the changes by the random
directions (``circuit.methods.uncertainty.p_values``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from circuit.artifacts.prompts.prompts import PromptSet, group_of
from circuit.methods.arrays import Array
from circuit.methods.text.criteria import satisfies
from circuit.methods.uncertainty.p_values import control_p
from circuit.methods.uncertainty.scores import wilson


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
    p: float | None


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
    return Trial(criterion=criterion, n_controls=controls, rates=rates)


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
    own = met[0, coefficient][rows]
    others = [
        float(met[i, coefficient][rows].mean())
        for i in range(1, controls + 1)
        if (i, coefficient) in met
    ]
    base = float(met[0, 0.0][rows].mean()) if (0, 0.0) in met else None
    rate = float(own.mean())
    return Rate(
        label=label,
        coefficient=coefficient,
        successes=int(own.sum()),
        n=len(own),
        n_groups=len(set(judged.groups[rows].tolist())),
        rate=rate,
        interval=wilson(int(own.sum()), len(own)),
        controls=others,
        p=None if base is None else control_p(rate - base, np.array(others) - base),
    )
