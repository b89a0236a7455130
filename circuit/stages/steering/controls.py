"""Vectors that should not steer, at the same size: an effect that they have as well is not the direction's.

    random      isotropic unit vectors: what any push of this length does
    shuffled    the same method on the same rows under permuted labels (``circuit.stages.rows.provenance``): what a push among
                the prompts of the training set does, without the concept

Both take the place of the direction in the same intervention, so that layer, operator, scope and length are its own. With the same KL
instead of the same length, each is calibrated by itself. The opposite sign is among the doses.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from circuit.methods.linear.unit_vectors import random_unit_vectors
from circuit.stages.steering.intervention import Intervention
from circuit.stages.steering.rollouts import Neutral
from circuit.stages.steering.strength import calibrate

Vector = npt.NDArray[np.float32]
KINDS = ("random", "shuffled")


@dataclass(frozen=True, eq=False)
class Control:
    """One control vector in the place of the direction."""

    kind: str
    number: int
    intervention: Intervention

    @property
    def name(self) -> str:
        """What notes and progress call it."""
        return f"{self.kind} {self.number}"


def controls(
    intervention: Intervention, n_random: int, shuffled: Sequence[Sequence[Vector]], seed: int
) -> list[Control]:
    """Put random vectors, and the shuffled ones of every part, in the places of the directions."""
    parts, width = len(intervention.parts), len(intervention.parts[0].direction.vector)
    made = random_unit_vectors(np.random.default_rng(seed), (n_random, parts, width))
    together = list(zip(*shuffled, strict=True))
    return [
        Control(kind, number, intervention.with_vectors(list(vectors)))
        for kind, lists in (("random", made), ("shuffled", together))
        for number, vectors in enumerate(lists, 1)
    ]


def at_same_kl(
    model: Any, control: Control, neutral: Neutral, target: float, before: float
) -> Control:
    """Calibrate a control by itself; ``before`` is the direction's factor without its own c*."""
    plain = replace(control.intervention, factor=before)
    found = calibrate(model, plain, neutral, target=target)
    return replace(control, intervention=replace(plain, factor=before * found.coefficient))
