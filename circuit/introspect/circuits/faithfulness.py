"""A found circuit: how it is searched, and what is measured of it on held-out prompts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from circuit.artifacts.prompts.prompts import PromptSet
from circuit.introspect.circuits.search import (
    Half,
    RankedNode,
    answer_tokens,
    random_sets,
    rank,
    split,
    weighted_contrast,
)
from circuit.introspect.inputs.choices import check_kept_fraction, token_text
from circuit.methods.arrays import Array
from circuit.methods.steering.shortest_prefix import prune, shortest_prefix
from circuit.methods.uncertainty.bootstrap import Estimate as BootstrapEstimate
from circuit.methods.uncertainty.bootstrap import resample
from circuit.methods.uncertainty.ranks import rank_correlation
from circuit.stages.rows.prompting import encode
from circuit.stages.run import SILENT, Result, Session
from circuit.values.prompt_format import PromptFormat

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel
    from circuit.model.patching.nodes import Means, Node


KEEP, VERIFY, N_RANDOM = 0.9, 20, 20


@dataclass(frozen=True, kw_only=True)
class NodeEffect:
    """What leaving a node out costs, as a fraction of B(all) − B(nothing).

    ``estimate`` is from a gradient; ``effect`` is measured where the node was verified.
    """

    name: str
    kind: str
    layer: int
    index: int
    estimate: float
    effect: float | None
    is_found: bool


@dataclass(frozen=True, kw_only=True)
class CircuitResult(Result):
    """The set, its faithfulness on held-out prompts, and its baselines.

    ``prompts`` counts those of each half and label. ``behaviour`` is B(all) on held-out prompts,
    ``nothing`` is B with every node at its mean. ``faithfulness`` and ``without`` (the embedding
    and all nodes but the set) are held out: value, low, high. ``random_band`` has the 5 % and 95 %
    quantiles of ``random``.
    """

    COMMAND: ClassVar[str] = "circuit.introspect.questions.circuit:COMMAND"

    model: str
    format: str
    prompts_name: str
    prompts: dict[str, int]
    answer: str
    wrong: str | None
    behaviour: list[float]
    nothing: float
    keep: float
    nodes: list[NodeEffect]
    circuit: list[str]
    search_faithfulness: float
    faithfulness: list[float]
    without: list[float]
    random: list[float]
    random_band: list[float]
    rank_correlation: float | None


@dataclass(frozen=True, eq=False)
class Search:
    """What is asked of which prompts; by default of the top-1 token, against all others."""

    model: "LoadedModel"
    prompts: PromptSet
    form: PromptFormat
    answer: str | None = None
    wrong: str | None = None
    seed: int = 0

    def run(
        self,
        *,
        keep: float = KEEP,
        verify: int = VERIFY,
        n_random: int = N_RANDOM,
        session: Session = SILENT,
    ) -> CircuitResult:
        """Search the set on one half of the groups and report it on the other.

        Raises ``DataError`` for prompts without two labels in two groups each, or where the model
        does not separate the labels.
        """
        from circuit.model.patching.nodes import node_means

        check_kept_fraction(keep)
        model, prompts = self.model, self.prompts
        halves = split(prompts, self.seed)
        encoded = [prompt.ids for prompt in encode(model, prompts.texts, self.form)]
        tokens = answer_tokens(
            model, prompts, encoded, halves[0], answer=self.answer, wrong=self.wrong
        )
        search, held_out = (Half.of(model, prompts, encoded, rows, tokens) for rows in halves)
        means = node_means(search.behaviour)
        value = search.faithfulness(means)
        ranked = rank(search, means, verify, session.track)
        chosen = prune(shortest_prefix([each.node for each in ranked], value, keep), value, keep)
        held = HeldOut(held_out, means, self.seed)
        randoms = held.random(chosen, n_random)
        verified = [(each.estimate, each.effect) for each in ranked if each.effect is not None]
        answer, wrong = (None if t is None else token_text(model, t) for t in tokens)
        return CircuitResult(
            model=model.id,
            format=self.form.name,
            prompts_name=prompts.name,
            prompts=_counts(search, held_out),
            answer=str(answer),
            wrong=wrong,
            behaviour=held.behaviour(),
            nothing=float(held_out.contrast(held.nothing)),
            keep=keep,
            nodes=[_node_effect(each, chosen) for each in ranked],
            circuit=[str(node) for node in sorted(chosen)],
            search_faithfulness=value(chosen),
            faithfulness=held.faithfulness(chosen),
            without=held.faithfulness(held.rest(chosen)),
            random=randoms,
            random_band=np.quantile(randoms, [0.05, 0.95]).tolist() if randoms else [],
            rank_correlation=rank_correlation(*zip(*verified, strict=True)) if verified else None,
        )


class HeldOut:
    """Numbers of the held-out half, with intervals over its groups."""

    def __init__(self, half: Half, means: "Means", seed: int) -> None:
        self.half, self.means, self.seed = half, means, seed
        self.plain = half.behaviour.scores(means)
        self.nothing = half.behaviour.scores(means, ())
        rng = np.random.default_rng(seed)
        self.drawn = resample(half.y, half.groups, n_boot=1000, rng=rng, cross_fitted=False)

    def rest(self, chosen: "Sequence[Node]") -> "list[Node]":
        """Return the embedding and all nodes but ``chosen``."""
        return [n for n in self.half.behaviour.nodes if n.kind == "embed" or n not in chosen]

    def behaviour(self) -> list[float]:
        """Return B of the whole model."""
        return self._estimate(lambda weights: self._contrast(weights, self.plain))

    def faithfulness(self, nodes: "Sequence[Node]") -> list[float]:
        """Return the faithfulness of a set."""
        kept = self.half.behaviour.scores(self.means, nodes)

        def statistic(weights: Array) -> Array:
            whole, nothing, own = (
                self._contrast(weights, scores) for scores in (self.plain, self.nothing, kept)
            )
            return np.asarray((own - nothing) / (whole - nothing))

        return self._estimate(statistic)

    def random(self, chosen: "Sequence[Node]", n: int) -> list[float]:
        """Return the faithfulness of random sets with as many nodes of each kind."""
        value = self.half.faithfulness(self.means)
        nodes = self.half.behaviour.nodes
        return [value(each) for each in random_sets(nodes, chosen, n, self.seed)]

    def _contrast(self, weights: Array, scores: Array) -> Array:
        return weighted_contrast(weights, self.half.y, scores)

    def _estimate(self, statistic: "Callable[[Array], Array]") -> list[float]:
        found: BootstrapEstimate = self.drawn.draws(statistic).estimate(bounds=(-np.inf, np.inf))
        return found.as_list()


def _counts(search: Half, held_out: Half) -> dict[str, int]:
    return {
        f"{half}, {word}": side.count(label)
        for half, side in (("search", search), ("held out", held_out))
        for label, word in ((1, "positive"), (0, "negative"))
    }


def _node_effect(ranked: RankedNode, chosen: "Sequence[Node]") -> NodeEffect:
    node = ranked.node
    return NodeEffect(
        name=str(node),
        kind=node.kind,
        layer=node.layer,
        index=node.index,
        estimate=ranked.estimate,
        effect=ranked.effect,
        is_found=node in chosen,
    )
