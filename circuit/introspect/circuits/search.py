"""The search for a circuit: halves of the prompts, the ranking of nodes, and random sets."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from circuit.artifacts.prompts.prompts import PromptSet
from circuit.errors import DataError, UsageError
from circuit.introspect.inputs.choices import single_token
from circuit.methods.arrays import Array
from circuit.stages.run import Track
from circuit.values.thresholds import MIN_BEHAVIOUR

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel
    from circuit.model.patching.nodes import Behaviour, Means, Node
    from circuit.model.prompts.lists import Ids


def split(prompts: PromptSet, seed: int) -> tuple[Array, Array]:
    """Return the rows of the labelled prompts for the search and for the report.

    Each gets half of each label's groups, and no group is on both sides. Raises ``DataError`` for
    prompts without two labels in two groups each.
    """
    if len(prompts.labels) != 2:
        n = len(prompts.labels)
        message = f"a circuit separates two labels, and `{prompts.name}` has {n}"
        raise DataError("two-labels-expected", message, hint="give prompts with two labels", n=n)
    rows, y = prompts.y()
    groups, rng = prompts.groups()[rows], np.random.default_rng(seed)
    first: set[str] = set()
    for label in (1, 0):
        own = sorted(set(groups[y == label]))
        if len(own) < 2:
            name = prompts.labels[label]
            message = f"label `{name}` of `{prompts.name}` has {len(own)} groups of prompts"
            hint = "half of the groups is held out: give two or more"
            raise DataError("class-of-one-group", message, hint=hint, label=name, n=len(own))
        free = [g for g in own if g not in first]
        first |= set(rng.permutation(free)[: (len(free) + 1) // 2].tolist())
    chosen = np.array([group in first for group in groups])
    return rows[chosen], rows[~chosen]


@dataclass(frozen=True, eq=False)
class Half:
    """One half of the prompts, with their labels (n,) and groups (n,)."""

    behaviour: "Behaviour"
    y: Array
    groups: Array

    @classmethod
    def of(
        cls,
        model: "LoadedModel",
        prompts: PromptSet,
        encoded: "Sequence[Ids]",
        rows: Array,
        tokens: tuple[int, int | None],
    ) -> "Half":
        """Take the prompts of ``rows``; the score is of the first token, against the second."""
        from circuit.model.patching.nodes import Behaviour, all_nodes
        from circuit.model.patching.patching import log_odds, logit_difference

        token, other = tokens
        score = log_odds(token) if other is None else logit_difference(token, other)
        labels = [prompts.prompts[int(r)].label for r in rows]
        y = np.array([prompts.labels.index(str(label)) for label in labels])
        own = [encoded[int(r)] for r in rows]
        return cls(Behaviour(model, own, score, all_nodes(model)), y, prompts.groups()[rows])

    def contrast(self, scores: Array) -> Array:
        """Return B of scores (n, ...), (...)."""
        return np.asarray(scores[self.y == 1].mean(axis=0) - scores[self.y == 0].mean(axis=0))

    def count(self, label: int) -> int:
        """Return the number of prompts with a label."""
        return int((self.y == label).sum())

    def extent(self, means: "Means") -> tuple[float, float]:
        """Return B(nothing), and how far B(all) is above it.

        Raises ``DataError`` where the model does not separate the labels.
        """
        nothing = float(self.contrast(self.behaviour.scores(means, ())))
        whole = float(self.contrast(self.behaviour.scores(means))) - nothing
        if whole < MIN_BEHAVIOUR:
            message = f"the model does not separate the labels: B is {whole:.3f} logits"
            hint = "check --answer, or choose prompts that it answers"
            raise DataError("no-behaviour", message, hint=hint, logits=whole)
        return nothing, whole

    def faithfulness(self, means: "Means") -> "Callable[[Collection[Node]], float]":
        """Return the function of a set of nodes that is its faithfulness."""
        nothing, whole = self.extent(means)

        def value(nodes: "Collection[Node]") -> float:
            return (float(self.contrast(self.behaviour.scores(means, nodes))) - nothing) / whole

        return value


def answer_tokens(
    model: "LoadedModel",
    prompts: PromptSet,
    encoded: "Sequence[Ids]",
    rows: Array,
    *,
    answer: str | None,
    wrong: str | None,
) -> tuple[int, int | None]:
    """Return the answer, by default the top-1 token of most positive prompts, and the other."""
    from circuit.model.patching.patching import read_last

    other = None if wrong is None else single_token(model, wrong)
    if answer is not None:
        token = single_token(model, answer)
    else:
        own = [int(r) for r in rows if prompts.prompts[int(r)].label == prompts.labels[1]]
        top1 = [int(np.argmax(read_last(model, encoded[r]))) for r in own]
        token = max(sorted(set(top1)), key=top1.count)
    if token == other:
        message = "`--answer` and `--wrong` are the same token"
        raise UsageError("equal-answers", message, hint="name two tokens")
    return token, other


@dataclass(frozen=True)
class RankedNode:
    """A node, and what leaving it out costs: estimated, and measured for the strongest."""

    node: "Node"
    estimate: float
    effect: float | None


def rank(half: Half, means: "Means", verify: int, track: Track) -> list[RankedNode]:
    """Return all nodes, the largest effect first; those of the largest estimates are measured."""
    nodes = half.behaviour.nodes
    plain = half.behaviour.scores(means)
    _, whole = half.extent(means)
    estimates = -half.contrast(half.behaviour.attributions(means)) / whole
    # All nodes read the embedding, so its one-step estimate says little: it is always measured.
    strongest = np.union1d(np.argsort(-np.abs(estimates), kind="stable")[:verify], [0])
    measured: dict[int, float] = {}
    for k in track(strongest.tolist(), "Verifying", len(strongest)):
        rest = [node for i, node in enumerate(nodes) if i != k]
        lost = half.contrast(plain - half.behaviour.scores(means, rest))
        measured[k] = float(lost) / whole
    found = [RankedNode(n, float(estimates[k]), measured.get(k)) for k, n in enumerate(nodes)]
    return sorted(found, key=lambda each: -(each.estimate if each.effect is None else each.effect))


def random_sets(
    nodes: "Sequence[Node]", chosen: "Sequence[Node]", n: int, seed: int
) -> "list[list[Node]]":
    """Draw ``n`` sets with as many nodes of each kind as ``chosen`` has."""
    rng = np.random.default_rng(seed)
    sets = []
    for _ in range(n):
        drawn: list[Node] = []
        for kind in ("embed", "head", "mlp"):
            pool = [node for node in nodes if node.kind == kind]
            k = sum(node.kind == kind for node in chosen)
            if k:
                drawn += [pool[int(i)] for i in rng.choice(len(pool), size=k, replace=False)]
        sets.append(drawn)
    return sets


def weighted_contrast(weights: Array, y: Array, scores: Array) -> Array:
    """Return B with rows weighted, (draws,)."""
    sides = [weights * (y == label) for label in (1, 0)]
    a, b = ((side @ scores.astype(np.float64)) / side.sum(axis=1) for side in sides)
    return np.asarray(a - b)
