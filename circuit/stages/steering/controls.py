"""Control vectors, at the same size: an effect that they have as well is not the direction's.

    random      isotropic unit vectors: what any push of this length does
    shuffled    the same method on the same rows under permuted labels
                (``circuit.stages.rows.provenance``): what a push among the training prompts does,
                without the concept

Both replace the direction in the same intervention, so layer, operator, scope and length are equal.
For the same KL instead of the same length, each is calibrated by itself. The opposite sign is among
the doses.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from circuit.methods.linear.unit_vectors import random_unit_vectors
from circuit.stages.steering.intervention import Intervention, Vector

KINDS = ("random", "shuffled")


@dataclass(frozen=True, eq=False)
class Control:
    """One control: the intervention along other vectors."""

    kind: str
    number: int
    intervention: Intervention

    @property
    def name(self) -> str:
        """How notes and progress name it."""
        return f"{self.kind} {self.number}"


def random_controls(
    intervention: Intervention, n: int, rng: np.random.Generator
) -> list[Intervention]:
    """Return the intervention along ``n`` draws of random unit vectors."""
    terms = intervention.terms
    drawn = random_unit_vectors(rng, (n, len(terms), len(terms[0].direction.vector)))
    return [intervention.with_vectors(list(vectors)) for vectors in drawn]


def controls(
    intervention: Intervention,
    n_random: int,
    shuffled: Sequence[Sequence[Vector]],
    seed: int,
) -> list[Control]:
    """Return random controls, and one for each set of the terms' ``shuffled`` vectors."""
    random = random_controls(intervention, n_random, np.random.default_rng(seed))
    together = [intervention.with_vectors(list(each)) for each in zip(*shuffled, strict=True)]
    return [
        Control(kind, number, each)
        for kind, found in (("random", random), ("shuffled", together))
        for number, each in enumerate(found, 1)
    ]
