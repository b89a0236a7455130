"""Text that a model writes while interventions act, and what they cost in coherence.

Each answer is measured without a judge, the numbers in nats per token:

    nll          mean negative log-probability of the answer under the model as it is
    kl           mean over the answer's tokens of KL(steered ‖ as it is): how far the model was moved
    distinct_1, distinct_2, repeated_4, entropy, collapsed      from the tokens alone: ``circuit.methods.steering.coherence``

An answer without a token has no ``nll`` and no ``kl`` (None). What is sampled is likely under the sampler, greedy text more
so, and a loop is likely too: compare with the unsteered answers to the same prompts, made in the same way.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from circuit.methods.steering.coherence import mean_nll, repetition
from circuit.stages.steering.intervention import Intervention
from circuit.values.sampling import Sampling


@dataclass(frozen=True)
class Acting:
    """Interventions that act at once, each with its coefficient; none is the model as it is."""

    at: tuple[tuple[Intervention, float], ...] = ()

    @property
    def steerings(self) -> list[Any]:
        """What ``circuit.model.interventions.steering.steered`` takes."""
        return [steering for each, c in self.at for steering in each.steerings(c)]

    @contextmanager
    def on(self, model: Any) -> Iterator[None]:
        """Steer everything that ``model`` runs within the block."""
        from circuit.model.interventions.steering import steered

        with steered(model, self.steerings):
            yield


AS_IT_IS = Acting()


@dataclass(frozen=True)
class Coherence:
    """How an answer reads, by numbers: see the module."""

    nll: float | None
    kl: float | None
    distinct_1: float
    distinct_2: float
    repeated_4: float
    entropy: float
    collapsed: bool


def write(
    model: Any,
    encoded: Sequence[Any],
    acting: Acting,
    sampling: Sampling,
    *,
    ragged: bool | None = None,
) -> list[Any]:
    """Answer every prompt: see ``circuit.model.forward.generate``, also for ``ragged``."""
    from circuit.model.forward.generate import generate, may_be_ragged
    from circuit.model.interventions.steering import is_scoped

    if ragged is None:
        ragged = may_be_ragged(model)  # measured before anything is steered
    with acting.on(model):
        return generate(
            model,
            encoded,
            sampling,
            ragged=ragged,
            in_step=is_scoped(acting.steerings),
        )


def coherence(
    model: Any, encoded: Sequence[Any], answers: Sequence[Any], acting: Acting
) -> list[Coherence]:
    """Measure every answer to the prompts ``encoded``."""
    texts = texts_of(encoded, answers)
    nll, kl = _likelihood(model, texts, acting)
    return [
        Coherence(
            nll=nll.get(row),
            kl=kl.get(row),
            **asdict(repetition(answer.ids)),
        )
        for row, answer in enumerate(answers)
    ]


def texts_of(encoded: Sequence[Any], answers: Sequence[Any]) -> dict[int, Any]:
    """Return each prompt with its answer, by row, where there is an answer."""
    from circuit.model.forward.teacher_forcing import Text

    return {
        row: Text(np.concatenate([prompt.ids, answer.ids]).astype(np.int32), len(prompt.ids))
        for row, (prompt, answer) in enumerate(zip(encoded, answers, strict=True))
        if answer.ids
    }


def _likelihood(
    model: Any, texts: dict[int, Any], acting: Acting
) -> tuple[dict[int, float | None], dict[int, float | None]]:
    from circuit.model.forward.teacher_forcing import divergence, token_log_probs

    rows, listed = list(texts), list(texts.values())
    if not rows:
        return {}, {}
    nll = map(mean_nll, token_log_probs(model, listed))
    if not acting.steerings:
        return dict(zip(rows, nll, strict=True)), dict.fromkeys(rows, 0.0)
    moved = divergence(model, listed, lambda: acting.on(model))
    kl = (float(np.mean(each.kl, dtype=np.float64)) for each in moved)
    return dict(zip(rows, nll, strict=True)), dict(zip(rows, kl, strict=True))
