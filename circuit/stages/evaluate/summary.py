"""What the answers of an evaluation amount to, per question and vector, and per vector.

    table      each question under each vector: share of answers that meet each criterion with
               Wilson's interval, means of the measures
    overall    each vector over all questions: the same, and differences from the unsteered answers
               to the same questions, paired answer by answer, with the interval of a bootstrap over
               questions (groups of questions, in a prompt set)

Answers to one question are no independent sample of questions: intervals of differences come from
whole questions, and one question has none. Each vector has the rates of the random directions that
replaced it, with the two-sided p of its change of the rate against theirs, alone and over all
vectors and criteria (``methods.uncertainty.p_values``). An effect that they have as well is not the
vector's (``methods.uncertainty.against_controls``).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from circuit.methods.arrays import Array
from circuit.methods.uncertainty.against_controls import against_controls
from circuit.methods.uncertainty.bootstrap import Resamples, Statistic, resample
from circuit.methods.uncertainty.p_values import control_p, family_control_p
from circuit.methods.uncertainty.scores import wilson
from circuit.stages.evaluate.results import (
    AnswerSummary,
    ComparedRate,
    EvaluatedAnswer,
    QuestionSummary,
    Rate,
    VectorSummary,
)
from circuit.values.intervals import Interval

MEASURES = ("nll", "kl", "distinct_1", "distinct_2", "repeated_4", "entropy")
Answers = Sequence[EvaluatedAnswer]


@dataclass(frozen=True)
class Comparison:
    """Unsteered answers, the resamples of their groups, and the criteria."""

    unsteered: Answers
    resamples: Resamples
    criteria: Sequence[str]

    @classmethod
    def of(cls, unsteered: Answers, criteria: Sequence[str], n_boot: int) -> "Comparison":
        """Draw groups of questions with replacement."""
        resamples = resample(
            np.zeros(len(unsteered), np.intp),
            [each.group for each in unsteered],
            n_boot=n_boot,
            rng=np.random.default_rng(0),
            cross_fitted=False,
        )
        return cls(unsteered, resamples, criteria)

    def summary(self, name: str, answers: Answers, controls: Sequence[Answers]) -> VectorSummary:
        """Describe the answers under a vector, and how they differ from the unsteered ones."""
        own = vars(_summary(answers, self.criteria))
        compared = {
            "rates": {each: self._rate(answers, controls, each) for each in self.criteria},
            "vector": name,
            "differences": {each: self._difference(answers, each) for each in MEASURES},
            "controls": [_summary(each, self.criteria) for each in controls],
        }
        return VectorSummary(**{**own, **compared})

    def _rate(self, answers: Answers, controls: Sequence[Answers], criterion: str) -> ComparedRate:
        rate, base = _rate(answers, criterion), _met(self.unsteered, criterion)
        others = np.array([_met(each, criterion) for each in controls]).reshape(-1, len(base))
        groups = [each.group for each in self.unsteered]
        n_boot = len(self.resamples.weights)
        found = against_controls(_met(answers, criterion), base, others, groups, n_boot=n_boot)
        excess = None if found is None else found.excess
        return ComparedRate(
            **vars(rate),
            difference=None if found is None else found.change.as_triple(),
            excess=None if excess is None else excess.as_triple(),
            controls=others.mean(axis=1).tolist(),
            p=control_p(rate.rate - base.mean(), others.mean(axis=1) - base.mean()),
            p_any=None,
        )

    def _difference(self, answers: Answers, measure: str) -> Interval | None:
        """Return the mean paired difference of a measure; None where it is of one group."""
        pairs = [
            (getattr(a, measure), getattr(b, measure))
            for a, b in zip(answers, self.unsteered, strict=True)
        ]
        known = np.array([None not in pair for pair in pairs])
        gaps = np.array([a - b if None not in (a, b) else 0.0 for a, b in pairs])
        groups = {
            each.group for each, is_known in zip(self.unsteered, known, strict=True) if is_known
        }
        if len(groups) < 2:
            return None
        draws = self.resamples.draws(_weighted_mean(gaps, known))
        return draws.estimate(bounds=(-np.inf, np.inf)).as_triple()


def by_question(answers: Answers, criteria: Sequence[str]) -> list[QuestionSummary]:
    """Summarise each question under each vector."""
    return [
        QuestionSummary(vector=name, question=question, **vars(_summary(own, criteria)))
        for name, each in _divided(answers, lambda a: a.vector).items()
        if each[0].control_of is None
        for question, own in _divided(each, lambda a: a.question).items()
    ]


def by_vector(answers: Answers, criteria: Sequence[str], n_boot: int) -> list[VectorSummary]:
    """Summarise each vector; the first answers are the unsteered ones."""
    arms = _divided(answers, lambda a: a.vector)
    comparison = Comparison.of(next(iter(arms.values())), criteria, n_boot)
    controls = _divided(answers, lambda a: a.control_of or "")
    found = [
        comparison.summary(
            name, own, list(_divided(controls.get(name, []), lambda a: a.vector).values())
        )
        for name, own in arms.items()
        if own[0].control_of is None
    ]
    return _with_family_p(found, criteria)


def _with_family_p(found: list[VectorSummary], criteria: Sequence[str]) -> list[VectorSummary]:
    """Add the p over all vectors and criteria; every vector has as many random directions."""
    start = {each: found[0].rates[each].rate for each in criteria}
    places = [(v, each) for v in range(1, len(found)) for each in criteria]
    rates = [found[v].rates[each] for v, each in places]
    if not rates or not rates[0].controls:
        return found
    base = np.array([start[each] for _, each in places])
    observed = np.array([rate.rate for rate in rates]) - base
    p_any = family_control_p(observed, np.array([rate.controls for rate in rates]).T - base)
    known = dict(zip(places, p_any, strict=True))
    return [
        replace(
            each,
            rates={
                name: replace(rate, p_any=known.get((v, name))) for name, rate in each.rates.items()
            },
        )
        for v, each in enumerate(found)
    ]


def _divided(
    answers: Answers, key: Callable[[EvaluatedAnswer], str]
) -> dict[str, list[EvaluatedAnswer]]:
    found: dict[str, list[EvaluatedAnswer]] = {}
    for each in answers:
        found.setdefault(key(each), []).append(each)
    return found


def _summary(answers: Answers, criteria: Sequence[str]) -> AnswerSummary:
    means = {name: _mean([getattr(each, name) for each in answers]) for name in MEASURES}
    return AnswerSummary(
        n=len(answers),
        n_questions=len({each.question for each in answers}),
        rates={criterion: _rate(answers, criterion) for criterion in criteria},
        collapsed=sum(each.collapsed for each in answers),
        finished=sum(each.finished for each in answers),
        **means,
    )


def _met(answers: Answers, criterion: str) -> Array:
    """Return 1 where an answer meets a criterion, (n,)."""
    return np.array([float(bool(each.verdicts[criterion])) for each in answers])


def _rate(answers: Answers, criterion: str) -> Rate:
    met, n = int(_met(answers, criterion).sum()), len(answers)
    return Rate(successes=met, rate=met / n, interval=wilson(met, n))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _weighted_mean(values: Array, known: Array | None = None) -> Statistic:
    """Return the mean of ``values`` (n,), or of the ``known`` ones, as a statistic of weights."""
    counted = np.ones(len(values)) if known is None else known.astype(float)

    def statistic(weights: Array) -> Array:
        total = weights @ counted
        mean = np.full(len(weights), np.nan)
        np.divide(weights @ (values * counted), total, out=mean, where=total > 0)
        return mean

    return statistic
