"""What is measured of the model after each prompt, so that a steering can be seen to move it.

    logprob     m = log p(y⁺) − log p(y⁻): the log-probability that the model goes on with a positive rather than with a negative answer,
                p summed over the spellings of each side. pmass = Σ p(all spellings) says whether the question is being
                answered at all; m is valid where it is 0.5 or more. Without negative answers everything else is negative,
                m = log p(y⁺) − log(1 − p(y⁺)) (as in Arditi et al. 2406.11717), and pmass says nothing
    criterion   m = 1 where the text that the model writes meets a criterion (``circuit.methods.text.criteria``), else 0

Answers are tokenised after their prompt (``circuit.model.prompts.continuations``), several tokens by their summed log-probability. A
spelling that begins with another one of its side is in that one's probability already and is left out. ``prefill`` is the beginning of an
answer that is put into the model's mouth, after which it is read.

Order of the answers: models prefer (A) to (B), or Yes to No, whatever is asked. In a set that has both orders, ``expected`` names the answer
that shows the behaviour: where it is one of the negative spellings, the two sides change places for that prompt.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from circuit.artifacts.prompts.prompts import Prompt
from circuit.errors import UsageError
from circuit.methods.text.criteria import satisfies
from circuit.stages.steering.intervention import Intervention
from circuit.values.sampling import Sampling

Array = npt.NDArray[Any]
KINDS = ("logprob", "criterion")
LEAST_MASS = 0.5  # of the answers' probability, for a point to be valid


@dataclass(frozen=True)
class Readout:
    """Spellings of the two answers, or a criterion of the text; what is empty is not used."""

    positive: tuple[str, ...] = ()
    negative: tuple[str, ...] = ()
    criterion: str | None = None
    max_tokens: int = 20
    prefill: str = ""

    @property
    def kind(self) -> str:
        """``logprob`` or ``criterion``."""
        return "criterion" if self.criterion is not None else "logprob"

    def check(self, prompts: Sequence[Prompt]) -> None:
        """Raise ``UsageError`` for a read-out that these prompts cannot have."""
        if (self.criterion is None) == (not self.positive):
            what = "no read-out is given" if self.criterion is None else "two read-outs are given"
            hint = 'use --positive-answers "Yes| yes" --negative-answers "No| no", or --criterion'
            raise UsageError(what, hint=hint)
        if self.negative and not self.positive:
            message = "--negative-answers needs --positive-answers"
            raise UsageError(message, hint="say which answers are positive")
        if both := set(self.positive) & set(self.negative):
            message = f"{min(both)!r} is both a positive and a negative answer"
            raise UsageError(message, hint="give each spelling to one side")
        if self.criterion is not None:
            for prompt in prompts:
                satisfies(self.criterion, "", expected=prompt.expected)

    def described(self, prompts: Sequence[Prompt]) -> dict[str, Any]:
        """Return what goes into a manifest; ``order_balanced`` is None where no prompt changes the sides."""
        swapped = sum(self.swaps(prompt) for prompt in prompts)
        share = swapped / max(1, len(prompts))
        return {
            "kind": self.kind,
            **asdict(self),
            "swapped": swapped,
            "order_balanced": 0.4 <= share <= 0.6 if swapped else None,
        }

    def swaps(self, prompt: Prompt) -> bool:
        """Whether the two sides change places for this prompt."""
        expected = (prompt.expected or "").strip()
        return bool(expected) and expected in {answer.strip() for answer in self.negative}


def spellings(text: str | None) -> tuple[str, ...]:
    """Read ``Yes| yes|YES``: every blank is kept."""
    if text is None:
        return ()
    found = tuple(text.split("|"))
    if "" in found or len(set(found)) < len(found):
        message = f"`{text}` names an empty answer, or one twice"
        raise UsageError(message, hint='write spellings as "Yes| yes|YES"')
    return found


@dataclass(frozen=True, eq=False)
class Measured:
    """m of every prompt (n,), and what it rests on: pmass (n,), or the texts that were judged."""

    m: Array
    pmass: Array | None = None
    texts: list[str] | None = None

    @property
    def valid(self) -> Array:
        """Which points rest on enough probability, (n,)."""
        return np.ones(len(self.m), bool) if self.pmass is None else self.pmass >= LEAST_MASS


@dataclass(frozen=True, eq=False)
class Reader:
    """A read-out of given prompts of a model, made ready once for every vector and dose."""

    model: Any
    readout: Readout
    prompts: Sequence[Prompt]
    encoded: Sequence[Any]
    answers: Sequence[Any]  # of each prompt the token ids of its answers, positive ones first
    n_positive: Sequence[int]
    ragged: bool

    def measure(self, intervention: Intervention, coefficient: float) -> Measured:
        """Read every prompt with the model steered at this coefficient."""
        if self.readout.kind == "criterion":
            return self._judged(intervention, coefficient)
        logs = self.log_p(intervention, coefficient)
        if not self.readout.negative:
            return Measured(logs[:, 0] - _log_rest(logs[:, 0]))
        return Measured(logs[:, 0] - logs[:, 1], np.exp(logs).sum(axis=1))

    def log_p(self, intervention: Intervention, coefficient: float) -> Array:
        """Return log p of both sides after every prompt, (n, 2); −∞ of a side without answers."""
        from circuit.model.forward.teacher_forcing import answer_log_probs

        with intervention.steered(self.model, coefficient):
            found = answer_log_probs(self.model, [each.ids for each in self.encoded], self.answers)
        sides = zip(found, self.n_positive, strict=True)
        return np.array([(_log_sum(row[:k]), _log_sum(row[k:])) for row, k in sides])

    def _judged(self, intervention: Intervention, coefficient: float) -> Measured:
        from circuit.model.forward.generate import generate

        with intervention.steered(self.model, coefficient):
            written = generate(
                self.model,
                self.encoded,
                Sampling(self.readout.max_tokens),
                ragged=self.ragged,
                in_step=intervention.is_scoped,
            )
        texts = [answer.text for answer in written]
        met = [
            satisfies(str(self.readout.criterion), text, expected=prompt.expected)
            for text, prompt in zip(texts, self.prompts, strict=True)
        ]
        return Measured(np.array(met, np.float64), texts=texts)


def reader(
    model: Any, readout: Readout, prompts: Sequence[Prompt], encoded: Sequence[Any]
) -> Reader:
    """Make a read-out ready: tokenise the answers, and measure whether prompts may share a batch."""
    from circuit.model.forward.generate import may_be_ragged
    from circuit.model.prompts.continuations import answer_ids, prefilled

    readout.check(prompts)
    begun = prefilled(encoded, readout.prefill)
    if readout.kind == "criterion":
        return Reader(model, readout, prompts, begun, [], [], may_be_ragged(model))
    sides = [_sides(readout, prompt) for prompt in prompts]
    everything = answer_ids(encoded, [(*high, *low) for high, low in sides], readout.prefill)
    answers, n_positive = [], []
    for ids, (high, _) in zip(everything, sides, strict=True):
        positive, negative = _shortest(ids[: len(high)]), _shortest(ids[len(high) :])
        _refuse_nested(positive, negative)
        answers.append([*positive, *negative])
        n_positive.append(len(positive))
    return Reader(model, readout, prompts, begun, answers, n_positive, ragged=True)


def _sides(readout: Readout, prompt: Prompt) -> tuple[tuple[str, ...], tuple[str, ...]]:
    sides = (readout.positive, readout.negative)
    return sides[::-1] if readout.swaps(prompt) else sides


def _begins(longer: Sequence[int], shorter: Sequence[int]) -> bool:
    return list(longer[: len(shorter)]) == list(shorter)


def _shortest(answers: Sequence[list[int]]) -> list[list[int]]:
    """Leave out what begins with another answer: its probability is in that one's."""
    kept: list[list[int]] = []
    for answer in sorted(answers, key=len):
        if not any(_begins(answer, other) for other in kept):
            kept.append(answer)
    return kept


def _refuse_nested(positive: Sequence[list[int]], negative: Sequence[list[int]]) -> None:
    if any(_begins(a, b) or _begins(b, a) for a in positive for b in negative):
        message = (
            "a positive answer begins with the tokens of a negative one, or the other way round"
        )
        raise UsageError(message, hint="give answers that differ before the shorter one ends")


def _log_sum(logs: Array) -> float:
    return float(np.logaddexp.reduce(logs.astype(np.float64))) if len(logs) else -np.inf


def _log_rest(logs: Array) -> Array:
    """Return log(1 − p) of log p, no closer to p = 1 than float32 can tell."""
    return np.asarray(np.log(-np.expm1(np.minimum(logs, -1e-7))))
