"""What is measured of the model after each prompt, to see whether a steering moves it.

    logprob     m = log p(y⁺) − log p(y⁻): the log-probability that the model continues with a
                positive rather than a negative answer, p summed over the spellings of each side.
                pmass = Σ p(all spellings) says whether the question is answered at all; m is valid
                where it is 0.5 or more. Without negative answers everything else is negative, m =
                log p(y⁺) − log(1 − p(y⁺)) (as in Arditi et al. 2406.11717), and pmass does not
                apply
    criterion   m = 1 where the generated text meets a criterion
                (``circuit.methods.text.criteria``), else 0

Answers are tokenised after their prompt (``circuit.model.prompts.continuations``), several tokens
by their summed log-probability. A spelling that begins with another one of its side is left out:
its probability is part of that one's. ``prefill`` is the beginning of the answer, after which the
model is read.

Order of the answers: models prefer (A) to (B), or Yes to No, whatever is asked. In a set with both
orders, ``expected`` names the answer that shows the behaviour: where it is one of the negative
spellings, the two sides are swapped for that prompt.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from circuit.artifacts.prompts.prompts import Prompt
from circuit.errors import UsageError
from circuit.methods.arrays import Array
from circuit.methods.text.criteria import satisfies
from circuit.stages.options import ReadoutOptions
from circuit.stages.steering.generate import write
from circuit.values.sampling import Sampling

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel
    from circuit.model.interventions.steering import Steering
    from circuit.model.prompts.tokens import EncodedPrompt

LEAST_MASS = 0.5  # of the answers' probability, for a point to be valid
BALANCED = (0.4, 0.6)  # share of prompts whose sides are swapped


@dataclass(frozen=True)
class Readout:
    """Spellings of the two answers, or a criterion of the text; empty fields are not used."""

    positive: tuple[str, ...] = ()
    negative: tuple[str, ...] = ()
    criterion: str | None = None
    max_tokens: int = 20
    prefill: str = ""

    @classmethod
    def of(cls, options: ReadoutOptions) -> "Readout":
        """Read the spellings of the options."""
        return cls(
            positive=spellings(options.positive_answers),
            negative=spellings(options.negative_answers),
            criterion=options.criterion,
            max_tokens=options.max_tokens,
            prefill=options.prefill,
        )

    @property
    def kind(self) -> str:
        """``logprob`` or ``criterion``."""
        return "criterion" if self.criterion is not None else "logprob"

    def check(self, prompts: Sequence[Prompt]) -> None:
        """Raise ``UsageError`` for a read-out that these prompts cannot have."""
        hint = 'use --positive-answers "Yes| yes" --negative-answers "No| no", or --criterion'
        if self.criterion is None and not self.positive and not self.negative:
            raise UsageError("no-readout", "no read-out is given", hint=hint)
        if self.negative and not self.positive:
            message = "`--negative-answers` needs `--positive-answers`"
            raise UsageError("option-needed", message, hint="say which answers are positive")
        if self.criterion is not None and self.positive:
            message = "both answers and a criterion are given, and a read-out is one of them"
            raise UsageError("two-readouts", message, hint=hint)
        if both := set(self.positive) & set(self.negative):
            message = f"{min(both)!r} is both a positive and a negative answer"
            hint = "give each spelling to one side"
            raise UsageError("ambiguous-answer", message, hint=hint, answer=min(both))
        if self.criterion is not None:
            for prompt in prompts:
                satisfies(self.criterion, "", expected=prompt.expected)

    def described(self, prompts: Sequence[Prompt]) -> "ReadoutSummary":
        """Return the manifest entry for these prompts."""
        swapped = sum(self.swaps(prompt) for prompt in prompts)
        low, high = BALANCED
        return ReadoutSummary(
            kind=self.kind,
            **vars(self),
            swapped=swapped,
            order_balanced=low <= swapped / len(prompts) <= high if swapped else None,
        )

    def swaps(self, prompt: Prompt) -> bool:
        """Say whether the two sides are swapped for this prompt."""
        expected = (prompt.expected or "").strip()
        return bool(expected) and expected in {answer.strip() for answer in self.negative}


@dataclass(frozen=True, kw_only=True)
class ReadoutSummary:
    """A read-out in a manifest; ``order_balanced`` is None where no prompt swaps the sides."""

    kind: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    criterion: str | None
    max_tokens: int
    prefill: str
    swapped: int
    order_balanced: bool | None

    @property
    def readout(self) -> Readout:
        """The read-out itself."""
        return Readout(self.positive, self.negative, self.criterion, self.max_tokens, self.prefill)


def spellings(text: str | None) -> tuple[str, ...]:
    """Read ``Yes| yes|YES``; spaces are kept."""
    if text is None:
        return ()
    found = tuple(text.split("|"))
    if "" in found or len(set(found)) < len(found):
        message = f"`{text}` has an empty spelling, or one twice"
        hint = 'write spellings as "Yes| yes|YES"'
        raise UsageError("invalid-spellings", message, hint=hint, spellings=text)
    return found


@dataclass(frozen=True, eq=False)
class ReadoutValues:
    """m of every prompt (n,), and its basis: pmass (n,), or the texts that were judged."""

    m: Array
    pmass: Array | None = None
    texts: list[str] | None = None

    @property
    def valid(self) -> Array:
        """Which points rest on enough probability, (n,)."""
        return np.ones(len(self.m), bool) if self.pmass is None else self.pmass >= LEAST_MASS


@dataclass(frozen=True, eq=False)
class Reader:
    """A read-out of given prompts of a model, prepared once for every vector and dose."""

    model: "LoadedModel"
    readout: Readout
    prompts: Sequence[Prompt]
    encoded: "Sequence[EncodedPrompt]"
    answers: Sequence[Sequence[Sequence[int]]]  # token ids of each prompt's answers, positive first
    n_positive: Sequence[int]
    ragged: bool

    def measure(self, steerings: "Sequence[Steering]") -> ReadoutValues:
        """Read every prompt while ``steerings`` act."""
        return next(self.measure_each([steerings]))

    def measure_each(self, several: "Sequence[Sequence[Steering]]") -> Iterator[ReadoutValues]:
        """Read every prompt under each of several lists of steerings, which share what they can."""
        if self.readout.criterion is not None:
            yield from (self._judged(self.readout.criterion, each) for each in several)
            return
        for logs in self.log_p(several) if several else ():
            if self.readout.negative:
                yield ReadoutValues(logs[:, 0] - logs[:, 1], np.exp(logs).sum(axis=1))
            else:
                yield ReadoutValues(logs[:, 0] - _log_rest(logs[:, 0]))

    def log_p(self, several: "Sequence[Sequence[Steering]]") -> Array:
        """Return log p of both sides after every prompt under each list of steerings, (k, n, 2).

        −∞ of a side without answers.
        """
        from circuit.model.forward.teacher_forcing import answer_log_probs
        from circuit.model.interventions.steering import steered_variant

        variants = [steered_variant(self.model, steerings) for steerings in several]
        ids = [each.ids for each in self.encoded]
        found = answer_log_probs(self.model, ids, self.answers, variants)
        return np.array([[*map(self._sides, each, self.n_positive)] for each in found])

    @staticmethod
    def _sides(logs: Array, n_positive: int) -> tuple[float, float]:
        return _log_sum(logs[:n_positive]), _log_sum(logs[n_positive:])

    def _judged(self, criterion: str, steerings: "Sequence[Steering]") -> ReadoutValues:
        sampling = Sampling(max_tokens=self.readout.max_tokens)
        written = write(self.model, self.encoded, steerings, sampling, ragged=self.ragged)
        texts = [answer.text for answer in written]
        met = [
            satisfies(criterion, text, expected=prompt.expected)
            for text, prompt in zip(texts, self.prompts, strict=True)
        ]
        return ReadoutValues(np.array(met, np.float64), texts=texts)


def reader(
    model: "LoadedModel",
    readout: Readout,
    prompts: Sequence[Prompt],
    encoded: "Sequence[EncodedPrompt]",
) -> Reader:
    """Prepare a read-out: tokenise the answers, and measure whether prompts may share a batch."""
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
    """Leave out answers that begin with another one: their probability is part of that one's."""
    kept: list[list[int]] = []
    for answer in sorted(answers, key=len):
        if not any(_begins(answer, other) for other in kept):
            kept.append(answer)
    return kept


def _refuse_nested(positive: Sequence[list[int]], negative: Sequence[list[int]]) -> None:
    if any(_begins(a, b) or _begins(b, a) for a in positive for b in negative):
        message = "an answer of one side begins with a whole answer of the other side"
        hint = "give answers that differ before the shorter one ends"
        raise UsageError("nested-answers", message, hint=hint)


def _log_sum(logs: Array) -> float:
    return float(np.logaddexp.reduce(logs.astype(np.float64))) if len(logs) else -np.inf


def _log_rest(logs: Array) -> Array:
    """Return log(1 − p) of log p, no closer to p = 1 than float32 can tell."""
    return np.asarray(np.log(-np.expm1(np.minimum(logs, -1e-7))))
