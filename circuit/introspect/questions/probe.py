"""A linear probe and a direction from two lists of prompts, without the files of the pipeline.

h = ``resid_post`` at the last token of each prompt; class a is the positive one. Methods:

    logistic     L2 logistic regression (``methods.probing``)        difference   mean of a − mean of b

Scores are cross-validated with groups kept together (`x`): stratified folds, a bootstrap interval over groups, permuted
labels (p), and over several layers p_any, the family-wise one. The layer is the one that scores best, which makes its own score
optimistic: the score of *choosing* the layer is nested (``methods.nested``). Under 10 groups nothing is claimed; where a class has one
group nothing can be held out, and there is no score.

What is kept is fitted to all prompts at that layer: logit(a) = slope · (v · h) + bias. Of ``difference`` the bias lies half-way between the
class means along v, and the slope is gap / variance, which is exact for two normal distributions of one variance.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from circuit.errors import DataError, UsageError
from circuit.methods.arrays import Array
from circuit.methods.directions import fit_direction
from circuit.methods.probes.fitted_probe import fit_probe
from circuit.methods.probes.permutation import Null, family_wise
from circuit.methods.probes.probing import cross_validated_probe
from circuit.methods.quality.crossfit import cross_fitted_quality
from circuit.methods.quality.design import design
from circuit.methods.quality.nested import nested_layer_choice
from circuit.methods.uncertainty.splits import group_codes
from circuit.stages.rows.prompt_input import PromptInput
from circuit.stages.rows.prompting import encode
from circuit.values.layers import parse_layers
from circuit.values.prompt_format import PromptFormat
from circuit.values.thresholds import MIN_GROUPS

METHODS = {"logistic": "logistic", "difference": "mean_diff"}
FOLDS = 5


@dataclass(frozen=True)
class Classes:
    """Prompts of both classes, a first, with what keeps them together in a fold."""

    texts: list[str]
    y: Array  # (n,) 1 for class a
    groups: list[str]
    labels: tuple[str, str]

    @property
    def n_groups(self) -> int:
        """How many groups there are."""
        return len(set(self.groups))

    @property
    def can_be_scored(self) -> bool:
        """Say whether every class has two groups, so that one can be held out."""
        return all(
            len({g for g, c in zip(self.groups, self.y, strict=True) if c == k}) > 1 for k in (0, 1)
        )


@dataclass(frozen=True)
class LayerScore:
    """A layer's held-out AUROC with its interval, p, and p_any over all layers that were looked at."""

    layer: int
    auroc: list[float]
    accuracy: float | None
    p: float | None
    p_any: float | None


@dataclass(frozen=True)
class Reading:
    """The probe on a prompt that it was not fitted to; ``seen`` where it was."""

    prompt: str
    projection: float
    probability: float
    label: str
    seen: bool


@dataclass(frozen=True, eq=False)
class Fitted:
    """What is kept: a unit direction to class a, and what makes it a probe."""

    layer: int
    vector: Array
    norm: float
    slope: float
    bias: float


@dataclass(frozen=True)
class Probed:
    """Scores of all layers, the layer that was taken, and readings of the test prompts."""

    method: str
    labels: tuple[str, str]
    n: tuple[int, int]
    n_groups: int
    scores: list[LayerScore]
    layer: int
    how_chosen: str
    choosing: list[float] | None
    claimed: bool | None
    slope: float
    bias: float
    norm: float
    train_projections: dict[str, float]
    tests: list[Reading]

    def as_dict(self) -> dict[str, Any]:
        """Return everything, as JSON holds it."""
        return asdict(self)


def two_classes(a: PromptInput, b: PromptInput, labels: tuple[str, str]) -> Classes:
    """Put two lists of prompts together; raises ``DataError`` for a prompt in both and ``UsageError`` for one label."""
    if labels[0] == labels[1]:
        message = f"both classes are called `{labels[0]}`"
        raise UsageError(message, hint="name them apart with --label-a and --label-b")
    both = [text for text in a.texts if text in b.texts]
    if both:
        message = f"`{both[0]}` is in both classes"
        raise DataError(message, hint="a prompt belongs to one class")
    groups = [group for given in (a, b) for group in given.groups]
    y = np.array([1] * len(a.texts) + [0] * len(b.texts))
    return Classes([*a.texts, *b.texts], y, groups, labels)


def probe(
    model: Any,
    classes: Classes,
    *,
    form: PromptFormat,
    layers: str | None = None,
    method: str = "logistic",
    tests: Sequence[str] = (),
    seed: int = 0,
) -> tuple[Probed, Fitted]:
    """Score every layer, take one, fit it to all prompts and read the test prompts with it."""
    from circuit.model.forward.last_token import last_residuals

    check_method(method)
    at = parse_layers(layers or "all", range(model.n_layers), model.n_layers)
    states = last_residuals(model, encode(model, classes.texts, form), at)
    scores = _scores(states, classes, method, seed) if classes.can_be_scored else []
    layer, how, choosing = _chosen(states, classes, scores, method, seed)
    fitted = fit(states[layer], classes, method, layer, seed)
    best = next((each for each in scores if each.layer == layer), None)
    enough = classes.n_groups >= MIN_GROUPS
    found = Probed(
        method,
        classes.labels,
        (int(classes.y.sum()), int((1 - classes.y).sum())),
        classes.n_groups,
        scores,
        layer,
        how,
        choosing,
        (best.p_any or 1) <= 0.05 if best is not None and enough else None,
        fitted.slope,
        fitted.bias,
        fitted.norm,
        _class_projections(states[layer] @ fitted.vector, classes),
        _read(model, tests, form, fitted, classes),
    )
    return found, fitted


def check_method(method: str) -> None:
    """Raise ``UsageError`` for a method that there is not."""
    if method not in METHODS:
        message = f"there is no probe method `{method}`"
        raise UsageError(message, hint=f"use {' or '.join(METHODS)}")


def _scores(states: dict[int, Array], classes: Classes, method: str, seed: int) -> list[LayerScore]:
    """Cross-validate every layer; folds and permutations are the same at all."""
    folds = min(FOLDS, len(classes.y))
    found: dict[int, tuple[list[float], float | None, Null]] = {}
    for layer, rows in states.items():
        if method == "logistic":
            one = cross_validated_probe(rows, classes.y, classes.groups, folds=folds, seed=seed)
            found[layer] = one.auroc.as_list(), one.accuracy, one.null
        else:
            name = METHODS[method]
            of = design(classes.y, classes.groups)
            two = cross_fitted_quality(name, rows, of, folds=folds, seed=seed)
            found[layer] = two.auroc.as_list(), None, two.null
    together = family_wise({layer: null for layer, (_, _, null) in found.items()})
    return [
        LayerScore(layer, auroc, accuracy, null.p, together[layer])
        for layer, (auroc, accuracy, null) in found.items()
    ]


def _chosen(
    states: dict[int, Array], classes: Classes, scores: Sequence[LayerScore], method: str, seed: int
) -> tuple[int, str, list[float] | None]:
    """Return the layer that is taken, how it was, and the nested score of choosing."""
    layers = list(states)
    if len(layers) == 1:
        return layers[0], "given", None
    if not scores:
        return layers[(len(layers) - 1) // 2], "the middle one, since nothing can be scored", None
    best = max(scores, key=lambda each: (each.auroc[0], -each.layer)).layer
    try:
        folds = min(FOLDS, len(classes.y))
        choice = nested_layer_choice(
            METHODS[method],
            states.items(),
            design(classes.y, classes.groups),
            folds=folds,
            seed=seed,
        )
    except DataError:  # a training part has too few groups to choose in
        return best, "the best of those looked at", None
    return best, "the best of those looked at", choice.auroc.as_list()


def fit(rows: Array, classes: Classes, method: str, layer: int, seed: int = 0) -> Fitted:
    """Fit a method to all rows (n, d)."""
    positive, negative = rows[classes.y == 1], rows[classes.y == 0]
    if method == "logistic":
        fitted = fit_probe(rows, classes.y, group_codes(classes.groups), seed=seed)
        weights = fitted.weights[:, 0]
        slope = float(np.linalg.norm(weights))
        if slope:
            gap = positive.mean(axis=0, dtype=np.float64) - negative.mean(axis=0, dtype=np.float64)
            norm = float(np.linalg.norm(gap))
            vector = (weights / slope).astype(np.float32)
            return Fitted(layer, vector, norm, slope, float(fitted.bias[0]))
    found = fit_direction("mean_diff", positive, negative)
    along = [part.astype(np.float64) @ found.vector for part in (positive, negative)]
    gap = float(along[0].mean() - along[1].mean())
    inside = np.concatenate([part - part.mean() for part in along])
    # One prompt of each class has no spread: then the classes lie ten deviations apart.
    variance = max(float(inside @ inside) / max(len(inside) - 2, 1), (gap / 10) ** 2)
    slope = gap / variance
    middle = float(along[0].mean() + along[1].mean()) / 2
    return Fitted(layer, found.vector, found.norm, slope, -slope * middle)


def _class_projections(values: Array, classes: Classes) -> dict[str, float]:
    return {
        label: float(values[classes.y == k].mean())
        for label, k in zip(classes.labels, (1, 0), strict=True)
    }


def _read(
    model: Any, tests: Sequence[str], form: PromptFormat, fitted: Fitted, classes: Classes
) -> list[Reading]:
    from circuit.model.forward.last_token import last_residuals

    if not tests:
        return []
    encoded = encode(model, tests, form)
    rows = last_residuals(model, encoded, [fitted.layer])[fitted.layer]
    projections = rows.astype(np.float64) @ fitted.vector
    logits = fitted.slope * projections + fitted.bias
    probabilities = 0.5 * (1 + np.tanh(logits / 2))  # a sigmoid that does not overflow
    return [
        Reading(
            text,
            float(projection),
            float(p),
            classes.labels[0 if p >= 0.5 else 1],
            text in classes.texts,
        )
        for text, projection, p in zip(tests, projections, probabilities, strict=True)
    ]
