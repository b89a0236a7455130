"""Classes of very different size are said in words: what such a score does and does not say.

AUROC does not depend on the share of a class, so it stays what it is. But its precision is that of the *smaller* class, and
a classifier that always gives the larger one is right nearly always, so accuracy would say nothing.
"""

from collections.abc import Sequence

import numpy as np

from circuit.stages.questions import Array, Note

LOPSIDED = 10  # as many times as many rows are worth a sentence


def warn_if_lopsided(question: str, names: Sequence[str], y: Array, note: Note) -> None:
    """Say in words when one class ``y`` (n,) has at least ``LOPSIDED`` times the rows of another."""
    counts = [int(np.sum(y == i)) for i in range(len(names))]
    few, many = int(np.argmin(counts)), int(np.argmax(counts))
    if counts[few] and counts[many] >= LOPSIDED * counts[few]:
        note(
            f"{question}: {counts[few]} prompts of `{names[few]}` against {counts[many]} of `{names[many]}`; the scores "
            f"are no surer than {counts[few]} prompts make them"
        )
