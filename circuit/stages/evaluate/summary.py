"""What the answers of an evaluation amount to, per question and vector, and per vector beside the model as it is.

    table      each question under each vector: share of answers that meet each criterion with Wilson's interval, means of the measures
    overall    each vector over all questions: the same, and differences from the unsteered answers to the same questions, paired
               answer by answer, with the interval of a bootstrap over questions (groups of questions, in a prompt set)

Answers to one question are no independent sample of questions: intervals of differences come from whole questions, and one
question has none. Beside a vector stand the rates of the random directions that took its place, with the two-sided
p of its change of the rate against theirs (``methods.uncertainty.p_values``). An effect that they have as well is not the vector's.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from circuit.methods.arrays import Array
from circuit.methods.uncertainty.bootstrap import Resamples, Statistic, difference, resample
from circuit.methods.uncertainty.p_values import control_p
from circuit.methods.uncertainty.scores import wilson

MEASURES = ("nll", "kl", "distinct_1", "distinct_2", "repeated_4", "entropy")
Row = dict[str, Any]


def summarised(rows: Sequence[Row], criteria: Sequence[str], *, n_boot: int) -> dict[str, Any]:
    """Return ``table`` and ``overall``; the first rows are those of the model as it is."""
    arms: dict[str, list[Row]] = {}
    for row in rows:
        arms.setdefault(row["vector"], []).append(row)
    base, *_ = arms.values()
    resamples = resample(
        np.zeros(len(base), np.intp),
        [row["group"] for row in base],
        n_boot=n_boot,
        rng=np.random.default_rng(0),
        cross_fitted=False,
    )
    table = [
        {"vector": name, "question": question, **_described(own, criteria)}
        for name, answers in arms.items()
        if answers[0]["control_of"] is None
        for question, own in _by(answers, "question").items()
    ]
    overall = [
        {"vector": name, **_compared(answers, base, arms, criteria, resamples)}
        for name, answers in arms.items()
        if answers[0]["control_of"] is None
    ]
    return {"n_groups": len({row["group"] for row in base}), "table": table, "overall": overall}


def _by(rows: Sequence[Row], key: str) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row[key], []).append(row)
    return found


def _described(rows: Sequence[Row], criteria: Sequence[str]) -> dict[str, Any]:
    return {
        "n": len(rows),
        "n_questions": len({row["question"] for row in rows}),
        "rates": {criterion: _rate(rows, criterion) for criterion in criteria},
        **{measure: _mean([row[measure] for row in rows]) for measure in MEASURES},
        "collapsed": sum(row["collapsed"] for row in rows),
        "finished": sum(row["finished"] for row in rows),
    }


def _rate(rows: Sequence[Row], criterion: str) -> dict[str, Any]:
    met = sum(bool(row["verdicts"][criterion]) for row in rows)
    return {"successes": met, "rate": met / len(rows), "interval": wilson(met, len(rows))}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _compared(
    rows: Sequence[Row],
    base: Sequence[Row],
    arms: dict[str, list[Row]],
    criteria: Sequence[str],
    resamples: Resamples,
) -> dict[str, Any]:
    """Describe a vector, and how it differs from the model as it is."""
    name = rows[0]["vector"]
    controls = [answers for answers in arms.values() if answers[0]["control_of"] == name]
    described = _described(rows, criteria)
    for criterion, rate in described["rates"].items():
        rate["difference"] = _rate_difference(rows, base, criterion, resamples)
        rate["controls"] = [_rate(each, criterion)["rate"] for each in controls]
        unsteered = _rate(base, criterion)["rate"]
        changes = np.array(rate["controls"]) - unsteered
        rate["p"] = control_p(rate["rate"] - unsteered, changes)
    return {
        **described,
        "differences": {
            measure: _difference(rows, base, measure, resamples) for measure in MEASURES
        },
        "controls": [_described(each, criteria) for each in controls],
    }


def _rate_difference(
    rows: Sequence[Row], base: Sequence[Row], criterion: str, resamples: Resamples
) -> list[float] | None:
    n_groups = len({row["group"] for row in base})
    if n_groups < 2:
        return None
    values = [
        np.array([float(bool(row["verdicts"][criterion])) for row in each]) for each in (rows, base)
    ]
    draws = [resamples.draws(_weighted_mean(each)) for each in values]
    return difference(draws[0], draws[1], n_groups=n_groups).as_list()


def _difference(
    rows: Sequence[Row], base: Sequence[Row], measure: str, resamples: Resamples
) -> list[float] | None:
    """Return the mean paired difference of a measure with its interval; None where it cannot be told."""
    pairs = [(a[measure], b[measure]) for a, b in zip(rows, base, strict=True)]
    known = np.array([None not in pair for pair in pairs])
    gaps = np.array([a - b if None not in (a, b) else 0.0 for a, b in pairs])
    if len({row["group"] for row, is_known in zip(base, known, strict=True) if is_known}) < 2:
        return None
    draws = resamples.draws(_weighted_mean(gaps, known))
    return draws.estimate(bounds=(-np.inf, np.inf)).as_list()


def _weighted_mean(values: Array, known: Array | None = None) -> Statistic:
    """Return the mean of ``values`` (n,), or of those that are ``known``, as a statistic of weights."""
    kept = np.ones(len(values)) if known is None else known.astype(float)

    def statistic(weights: Array) -> Array:
        total = weights @ kept
        mean = np.full(len(weights), np.nan)
        np.divide(weights @ (values * kept), total, out=mean, where=total > 0)
        return mean

    return statistic
