"""Two classes of prompts, their held-out scores at every layer, and the probe that is kept.

The probe is fitted to all prompts: logit(a) = slope · (v · h) + bias. With ``difference`` the bias
is half-way between the class means along v, and the slope is gap / variance, which is exact for two
normal distributions with equal variance.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from circuit.errors import DataError, UsageError
from circuit.methods.arrays import Array
from circuit.methods.directions import fit_direction
from circuit.methods.probes.fitted_probe import fit_probe
from circuit.methods.probes.permutation import family_wise
from circuit.methods.probes.power import power
from circuit.methods.probes.probing import ProbeResult, cross_validated_probe
from circuit.methods.quality.crossfit import Quality, cross_fitted_quality
from circuit.methods.quality.design import design
from circuit.methods.quality.nested import nested_layer_choice
from circuit.methods.uncertainty.splits import group_codes
from circuit.stages.probes.saved import Logit, logits_of
from circuit.stages.rows.prompt_input import PromptInput
from circuit.values.power import Power

METHODS = {"logistic": "logistic", "difference": "mean_diff"}
FOLDS = 5


@dataclass(frozen=True)
class TwoClasses:
    """Prompts of both classes, the positive class a first; a group stays in one fold."""

    texts: list[str]
    y: Array  # (n,) 1 for class a
    groups: list[str]
    labels: tuple[str, str]

    @classmethod
    def of(cls, a: PromptInput, b: PromptInput, labels: tuple[str, str]) -> "TwoClasses":
        """Join two lists; raise for empty or equal labels, and for a prompt in both classes."""
        if not all(label.strip() for label in labels):
            hint = "name the classes with --label-a and --label-b"
            raise UsageError("empty-label", "a label is empty", hint=hint)
        if labels[0] == labels[1]:
            message = f"both classes are called `{labels[0]}`"
            hint = "name them with --label-a and --label-b"
            raise UsageError("equal-labels", message, hint=hint, label=labels[0])
        if both := [text for text in a.texts if text in b.texts]:
            message = f"`{both[0]}` is in both classes"
            hint = "a prompt belongs to one class"
            raise DataError("prompt-in-both-classes", message, hint=hint, prompt=both[0])
        groups = [group for given in (a, b) for group in given.groups]
        y = np.array([1] * len(a.texts) + [0] * len(b.texts))
        return cls([*a.texts, *b.texts], y, groups, labels)

    @property
    def n_groups(self) -> int:
        """The number of groups."""
        return len(set(self.groups))

    @property
    def n_folds(self) -> int:
        """The number of folds."""
        return min(FOLDS, len(self.y))

    @property
    def can_be_scored(self) -> bool:
        """Whether every class has two groups, so that one can be held out."""
        pairs = set(zip(self.y.tolist(), self.groups, strict=True))
        return all(sum(k == label for k, _ in pairs) > 1 for label in (0, 1))

    def means(self, values: Array) -> dict[str, float]:
        """Return the mean of values (n,) in each class."""
        both = zip(self.labels, (1, 0), strict=True)
        return {label: float(values[self.y == k].mean()) for label, k in both}


@dataclass(frozen=True, kw_only=True)
class LayerScore:
    """A layer's held-out AUROC with its interval, its p, and p_any over all layers read."""

    layer: int
    auroc: list[float]
    accuracy: float | None
    p: float | None
    p_any: float | None


@dataclass(frozen=True)
class ChosenLayer:
    """The layer of a probe, how it was chosen, among how many, and the nested score of that."""

    layer: int
    how: str
    among: int = 1
    auroc: list[float] | None = None


def check_method(method: str) -> None:
    """Raise ``UsageError`` for an unknown method."""
    if method not in METHODS:
        message, hint = f"unknown probe method `{method}`", f"use {' or '.join(METHODS)}"
        raise UsageError("unknown-probe-method", message, hint=hint, method=method)


def layer_scores(
    states: Mapping[int, Array], classes: TwoClasses, method: str, seed: int
) -> tuple[list[LayerScore], Power | None]:
    """Cross-validate every layer; folds and permutations are the same at all.

    Returns the scores and the power of the design.
    """
    if not classes.can_be_scored:
        return [], None
    found: dict[int, ProbeResult | Quality] = {}
    y, groups, folds = classes.y, classes.groups, classes.n_folds
    for layer, rows in states.items():
        if method == "logistic":
            found[layer] = cross_validated_probe(rows, y, groups, folds=folds, seed=seed)
        else:
            name = METHODS[method]
            asked = design(y, groups)
            found[layer] = cross_fitted_quality(name, rows, asked, folds=folds, seed=seed)
    together = family_wise({layer: each.null for layer, each in found.items()})
    scores = [
        LayerScore(
            layer=k,
            auroc=each.auroc.as_list(),
            accuracy=each.accuracy if isinstance(each, ProbeResult) else None,
            p=each.null.p,
            p_any=together[k],
        )
        for k, each in found.items()
    ]
    return scores, power(found)


def choose_layer(
    states: Mapping[int, Array],
    classes: TwoClasses,
    scores: Sequence[LayerScore],
    method: str,
    seed: int,
) -> ChosenLayer:
    """Choose the layer that scores best, and score that choice on held-out groups."""
    layers = list(states)
    if len(layers) == 1:
        return ChosenLayer(layers[0], "given")
    if not scores:
        middle = layers[(len(layers) - 1) // 2]
        return ChosenLayer(middle, "the middle one, since nothing can be scored")
    best = max(scores, key=lambda each: (each.auroc[0], -each.layer)).layer
    how = "the best of those read"
    try:
        choice = nested_layer_choice(
            METHODS[method],
            states.items(),
            design(classes.y, classes.groups),
            folds=classes.n_folds,
            seed=seed,
        )
    except DataError:  # a training part has too few groups to choose in
        return ChosenLayer(best, how, len(scores))
    return ChosenLayer(best, how, len(scores), choice.auroc.as_list())


def fit(
    rows: Array, classes: TwoClasses, method: str, *, name: str, seed: int = 0
) -> tuple[Logit, float]:
    """Fit a method to all rows (n, d): the probe's logit and the distance of the class means."""
    positive, negative = rows[classes.y == 1], rows[classes.y == 0]
    if method == "logistic":
        fitted = fit_probe(rows, classes.y, group_codes(classes.groups), seed=seed)
        (logit,) = logits_of(name, [classes.labels[1], classes.labels[0]], fitted)
        if logit.slope:
            means = (part.mean(axis=0, dtype=np.float64) for part in (positive, negative))
            return logit, float(np.linalg.norm(next(means) - next(means)))
    found = fit_direction("mean_diff", positive, negative)
    along = [part.astype(np.float64) @ found.vector for part in (positive, negative)]
    gap = float(along[0].mean() - along[1].mean())
    inside = np.concatenate([part - part.mean() for part in along])
    # One prompt of each class has no spread: then the classes lie ten deviations apart.
    variance = max(float(inside @ inside) / max(len(inside) - 2, 1), (gap / 10) ** 2)
    slope = gap / variance
    middle = float(along[0].mean() + along[1].mean()) / 2
    bias = -slope * middle
    return Logit(name=name, positive=1, vector=found.vector, slope=slope, bias=bias), found.norm
