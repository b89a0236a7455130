"""One question of a battery: its rows in the archives of its pool, its folds, and its scores.

Groups of prompts that share a text, or the activations of the deepest layer, are joined. Labels are
permuted within pairs where prompts have partners, else within groups.
"""

from dataclasses import dataclass

import numpy as np

from circuit.artifacts.activations.activations import Activations
from circuit.errors import DataError
from circuit.methods.arrays import Array
from circuit.methods.probes.question import Task, prepare
from circuit.methods.uncertainty.splits import merge_identical
from circuit.stages.probes.battery import Pool, Probe, summary
from circuit.stages.probes.request import RunRequest
from circuit.stages.probes.results import QuestionResult
from circuit.stages.probes.score import Sources, score
from circuit.stages.rows.labelled_rows import LabelledRows, mostly_distinct, repetition_text
from circuit.stages.rows.warnings import all_equal_rows, equal_rows_text, row_warnings


@dataclass(frozen=True)
class PoolActivations:
    """A pool's prompts run through the model, and through it with random weights."""

    pool: Pool
    trained: Activations
    random: Activations | None

    @property
    def archives(self) -> list[Activations]:
        """The archives that there are."""
        return [self.trained] if self.random is None else [self.trained, self.random]


def question_result(probe: Probe, each: PoolActivations, request: RunRequest) -> QuestionResult:
    """Score one probe at every layer and beside every baseline."""
    labelled, _ = probe.prompts.y()
    rows, layers = each.pool.rows(probe)[labelled], each.trained.layers("resid_post")
    deepest = each.trained.read("resid_post", layers[-1])[rows]
    task, repeated = task_of(probe, request, deepest), _groups(probe, deepest)[1]
    asked = LabelledRows(probe.name, labelled, task.y, probe.classes(), task.groups)
    random = each.random
    sources = Sources(
        texts=[probe.prompts.texts[row] for row in labelled],
        embed=each.trained.read("embed", 0)[rows],
        layers=layers,
        read=lambda layer: np.asarray(each.trained.read("resid_post", layer)[rows]),
        random=None
        if random is None
        else lambda layer: np.asarray(random.read("resid_post", layer)[rows]),
    )
    same = [k for k in layers if all_equal_rows(sources.read(k))]
    return QuestionResult(
        **{**vars(summary(probe)), "format": each.pool.form.name},
        **vars(score(task, sources, threshold=request.threshold)),
        repeated_prompts=repeated,
        flags=[
            *row_warnings(asked, request.folds),
            *([repetition_text(repeated, len(labelled))] if repeated else []),
            *(equal_rows_text(f"L{k}", len(labelled)) for k in same),
        ],
    )


def task_of(probe: Probe, request: RunRequest, deepest: Array | None = None) -> Task:
    """Draw the folds of a probe.

    Without the rows of the deepest layer, it is only seen whether that can be done.
    """
    _, y = probe.prompts.y()
    try:
        return prepare(
            y,
            _groups(probe, deepest)[0],
            units=_units(probe),
            folds=request.folds,
            seed=request.seed.seed,
            n_boot=request.n_boot if deepest is not None else 1,
            n_shuffles=request.n_shuffles if deepest is not None else 0,
        )
    except DataError as error:
        raise error.within(f"probe `{probe.name}`") from error


def _groups(probe: Probe, deepest: Array | None) -> tuple[Array, int]:
    """Return the groups of the labelled prompts, and how many prompts repeat another.

    Equal texts and equal activations share a group.
    """
    rows, _ = probe.prompts.y()
    keys: list[list[str] | Array] = [[probe.prompts.texts[row] for row in rows]]
    if deepest is not None and mostly_distinct(deepest):
        keys.append(deepest)
    return merge_identical(probe.prompts.groups()[rows], *keys)


def _units(probe: Probe) -> list[str]:
    """Return what labels are permuted within: the pair of a prompt, or its group without one."""
    rows, _ = probe.prompts.y()
    unit = [f"group {name}" for name in probe.prompts.groups()]
    for number, pair in enumerate(probe.prompts.pairs()):
        for row in pair:
            unit[row] = f"pair {number}"
    return [unit[row] for row in rows]
