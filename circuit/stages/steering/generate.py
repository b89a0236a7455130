"""Text that a steered model writes, and how coherent it is.

Each answer is measured without a judge, in nats per token:

    nll          mean negative log-probability of the answer under the unsteered model
    kl           mean over the answer's tokens of KL(steered ‖ unsteered): how far the model was
                 moved
    distinct_1, distinct_2, repeated_4, entropy, collapsed
                 from the tokens alone: ``circuit.methods.steering.coherence``

An answer without a token has no ``nll`` and no ``kl`` (None). Sampled text is likely under the
sampler, greedy text more so, and a loop is likely too: compare with the unsteered answers to the
same prompts, made in the same way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from circuit.methods.steering.coherence import Repetition, mean_nll, repetition
from circuit.values.sampling import Sampling

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel
    from circuit.model.forward.generate import Completion
    from circuit.model.forward.teacher_forcing import Text
    from circuit.model.interventions.steering import Steering
    from circuit.model.prompts.tokens import EncodedPrompt


@dataclass(frozen=True)
class Coherence:
    """How coherent one answer is: see the module."""

    nll: float | None
    kl: float | None
    distinct_1: float
    distinct_2: float
    repeated_4: float
    entropy: float
    collapsed: bool


@dataclass(frozen=True)
class MeanCoherence:
    """Means of NLL and repetitions over the texts that have a token; None where none has one."""

    nll: float | None = None
    distinct_1: float | None = None
    distinct_2: float | None = None
    repeated_4: float | None = None
    entropy: float | None = None
    collapsed: float | None = None


def shown(text: str, measured: Coherence) -> str:
    """Return an answer as it is shown, marked where it is a loop."""
    return repr(text) + ("  (repetition)" if measured.collapsed else "")


def write(
    model: "LoadedModel",
    encoded: "Sequence[EncodedPrompt]",
    steerings: "Sequence[Steering]",
    sampling: Sampling,
    *,
    ragged: bool | None = None,
    batch_size: int = 32,
) -> "list[Completion]":
    """Answer every prompt while ``steerings`` act (none: the unsteered model).

    ``ragged`` says whether prompts of unequal length may share a batch; None measures it first.
    """
    from circuit.model.forward.generate import generate, may_be_ragged
    from circuit.model.interventions.steering import is_scoped, steered

    if ragged is None:
        ragged = may_be_ragged(model)  # measured before anything is steered
    with steered(model, steerings):
        return generate(
            model,
            encoded,
            sampling,
            batch_size=batch_size,
            ragged=ragged,
            in_step=is_scoped(steerings),
        )


def coherence(
    model: "LoadedModel",
    encoded: "Sequence[EncodedPrompt]",
    answers: "Sequence[Completion]",
    steerings: "Sequence[Steering]",
) -> list[Coherence]:
    """Measure every answer to the prompts ``encoded``, written while ``steerings`` acted."""
    texts = texts_of(encoded, [answer.ids for answer in answers])
    nll = _nll(model, texts)
    kl = _mean_kl(model, texts, steerings)
    return [
        Coherence(nll=nll.get(row), kl=kl.get(row), **vars(repetition(answer.ids)))
        for row, answer in enumerate(answers)
    ]


def answer(
    model: "LoadedModel",
    encoded: "Sequence[EncodedPrompt]",
    steerings: "Sequence[Steering]",
    sampling: Sampling,
    *,
    ragged: bool | None = None,
) -> "list[tuple[Completion, Coherence]]":
    """Answer every prompt as ``write`` does, and measure every answer."""
    written = write(model, encoded, steerings, sampling, ragged=ragged)
    return list(zip(written, coherence(model, encoded, written, steerings), strict=True))


def mean_coherence(
    model: "LoadedModel", encoded: "Sequence[EncodedPrompt]", answers: Sequence[Sequence[int]]
) -> MeanCoherence:
    """Average the coherence of answers, given as token ids, over those that have a token."""
    texts = texts_of(encoded, answers)
    if not texts:
        return MeanCoherence()
    nll = list(_nll(model, texts).values())
    rows = [vars(repetition(answers[row])) for row in texts]
    means = {
        each.name: float(np.mean([row[each.name] for row in rows])) for each in fields(Repetition)
    }
    return MeanCoherence(nll=float(np.mean(nll)), **means)


def texts_of(
    encoded: "Sequence[EncodedPrompt]", answers: Sequence[Sequence[int]]
) -> "dict[int, Text]":
    """Return each prompt with its answer (token ids), by row, where there is an answer."""
    from circuit.model.forward.teacher_forcing import Text

    return {
        row: Text(np.concatenate([prompt.ids, ids]).astype(np.int32), len(prompt.ids))
        for row, (prompt, ids) in enumerate(zip(encoded, answers, strict=True))
        if len(ids)
    }


def _nll(model: "LoadedModel", texts: "Mapping[int, Text]") -> dict[int, float]:
    """Return the mean negative log-probability of each answer under the model as it runs now."""
    from circuit.model.forward.teacher_forcing import token_log_probs

    log_probs = token_log_probs(model, list(texts.values())) if texts else []
    found = zip(texts, map(mean_nll, log_probs), strict=True)
    return {row: nll for row, nll in found if nll is not None}


def _mean_kl(
    model: "LoadedModel", texts: "Mapping[int, Text]", steerings: "Sequence[Steering]"
) -> dict[int, float]:
    from circuit.model.forward.teacher_forcing import divergences
    from circuit.model.interventions.steering import steered_variant

    if not texts or not steerings:
        return dict.fromkeys(texts, 0.0)
    (moved,) = divergences(model, list(texts.values()), [steered_variant(model, steerings)])
    kl = (float(np.mean(each.kl, dtype=np.float64)) for each in moved)
    return dict(zip(texts, kl, strict=True))
