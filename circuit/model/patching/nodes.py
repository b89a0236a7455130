"""Run a model in which only some nodes compute and all others have their mean, to test a circuit.

A *node* is the embedding, an attention head (its part of z) or an MLP. Outside the kept set a node
has, at every token, its mean over reference prompts *at that position*: tokens with which all
prompts begin, and those with which all end, have a mean each; the tokens between share one. So the
text of a chat template is kept, and the differences between prompts are removed.

The effect of ablating one node is estimated for all of them from one backward pass,
Σ (mean − a) · ∂score/∂a.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from circuit.model.checkpoint.loading import LoadedModel
from circuit.model.forward.batches import BATCH_TOKENS, Rows, plan_batches
from circuit.model.forward.padding import pads_are_harmless
from circuit.model.gradients.gradients import site_gradients
from circuit.model.interventions.ablation import Component, count
from circuit.model.patching.patching import Patch, last_logits, patched
from circuit.model.prompts.lists import Ids, stacked
from circuit.model.sites.sites import available_sites, hidden_states
from circuit.values.sites import Site

Array = npt.NDArray[np.float32]
Score = Callable[[mx.array], mx.array]
KINDS = {"embed": "embed", "head": "z", "mlp": "mlp_out"}


@dataclass(frozen=True, order=True)
class Node:
    """``embed``, ``mlp`` of a layer, or ``head`` number ``index`` of it."""

    layer: int  # -1 for the embedding, which comes first
    kind: str
    index: int = 0

    def __str__(self) -> str:
        if self.kind == "embed":
            return "embed"
        return f"{self.kind}.{self.layer}" + (f".{self.index}" if self.kind == "head" else "")

    @property
    def site(self) -> Site:
        """Where it writes."""
        return Site(KINDS[self.kind], self.layer)


def all_nodes(model: LoadedModel) -> list[Node]:
    """Return every node, first to last; heads only where they can be read separately."""
    offered = available_sites(model)
    found = [Node(-1, "embed")]
    for layer in range(model.n_layers):
        if "z" in offered:
            n_heads = count(model, Component("head", layer, 0))
            found += [Node(layer, "head", h) for h in range(n_heads)]
        if "mlp_out" in offered:
            found.append(Node(layer, "mlp"))
    return found


@dataclass(frozen=True, eq=False)
class Behaviour:
    """Prompts (token ids) and a score of the last token's logits."""

    model: LoadedModel
    prompts: Sequence[Ids]
    score: Score
    nodes: Sequence[Node]

    @cached_property
    def sites(self) -> list[Site]:
        """Every site at which a node writes."""
        return list(dict.fromkeys(node.site for node in self.nodes))

    def batches(self) -> Iterator[tuple[Rows, mx.array, list[int]]]:
        """Yield row numbers, padded ids (B, T) and the last token of each."""
        lengths = np.array([len(ids) for ids in self.prompts])
        padded = bool(lengths.min() < lengths.max()) and pads_are_harmless(self.model)
        for rows in plan_batches(lengths, batch_tokens=BATCH_TOKENS, padded=padded):
            ids = mx.array(stacked([self.prompts[row] for row in rows]))
            yield rows, ids, [int(lengths[row]) - 1 for row in rows]

    def scores(self, means: "Means", kept: Collection[Node] | None = None) -> Array:
        """Return each prompt's score with nodes outside ``kept`` at their mean; None keeps all."""
        found = np.empty(len(self.prompts), np.float32)
        for rows, ids, ends in self.batches():
            patches = [] if kept is None else self._patches(means, kept, rows, ids.shape[1])
            with patched(self.model, patches):
                logits = last_logits(self.model, ids, ends)
            found[rows] = np.array(self.score(logits.astype(mx.float32)))
        return found

    def _patches(
        self, means: "Means", kept: Collection[Node], rows: Rows, length: int
    ) -> list[Patch]:
        patches = []
        for site in self.sites:
            out = [node for node in self.nodes if node.site == site and node not in kept]
            if not out:
                continue
            mask = np.zeros(means.tables[site].shape[1], dtype=bool)
            for node in out:
                mask[means.columns(node)] = True
            values = means.at(site, [len(self.prompts[row]) for row in rows], length)
            patches.append(Patch(site, mx.array(mask), mx.array(values)))
        return patches

    def attributions(self, means: "Means") -> Array:
        """Return the estimated change of each score when one node is at its mean, (n, n_nodes)."""
        found = np.empty((len(self.prompts), len(self.nodes)), np.float32)
        for rows, ids, ends in self.batches():
            at = mx.array(ends)

            def total(logits: mx.array, at: mx.array = at) -> mx.array:
                return self.score(mx.take_along_axis(logits, at[:, None, None], axis=1)[:, 0]).sum()

            seen = site_gradients(self.model, ids, self.sites, total)
            lengths = [end + 1 for end in ends]
            for site in self.sites:
                step = means.at(site, lengths, ids.shape[1]) - np.array(seen.values[site])
                product = (step * np.array(seen.gradients[site])).sum(axis=1)
                for k, node in enumerate(self.nodes):
                    if node.site == site:
                        found[rows, k] = product[:, means.columns(node)].sum(axis=1)
        return found


@dataclass(frozen=True, eq=False)
class Means:
    """Mean activations: for each site a table (prefix + 1 + suffix, width), a row per position."""

    prefix: int
    suffix: int
    tables: dict[Site, Array]
    n_heads: dict[int, int]

    def at(self, site: Site, lengths: Sequence[int], width: int) -> Array:
        """Return the means (B, T, width) for prompts of given lengths, padded to ``width``."""
        index = [self.rows(length, width) for length in lengths]
        return np.asarray(self.tables[site][np.stack(index)])

    def rows(self, length: int, width: int) -> npt.NDArray[np.int64]:
        """Return the row of the table for every token of a prompt; padded tokens get any."""
        return _table_rows(length, width, self.prefix, self.suffix)

    def columns(self, node: Node) -> slice:
        """Return the node's columns of its site."""
        if node.kind != "head":
            return slice(None)
        size = self.tables[node.site].shape[1] // self.n_heads[node.layer]
        return slice(node.index * size, (node.index + 1) * size)


def _table_rows(length: int, width: int, prefix: int, suffix: int) -> npt.NDArray[np.int64]:
    rows = np.full(width, prefix, np.int64)
    rows[:prefix] = np.arange(prefix)
    rows[length - suffix : length] = prefix + 1 + np.arange(suffix)
    return rows


def node_means(behaviour: Behaviour) -> Means:
    """Return the means of every site over the prompts of ``behaviour``."""
    prompts, nodes = behaviour.prompts, behaviour.nodes
    prefix, suffix = shared_ends(prompts)
    n_rows = prefix + 1 + suffix
    sums: dict[Site, npt.NDArray[np.float64]] = {}
    counts = np.zeros(n_rows)
    for _, ids, ends in behaviour.batches():
        states = hidden_states(behaviour.model, ids, behaviour.sites)
        for end in ends:
            np.add.at(counts, _table_rows(end + 1, end + 1, prefix, suffix), 1)
        for site, state in states.items():
            wide = np.array(state.astype(mx.float32))
            table = sums.setdefault(site, np.zeros((n_rows, wide.shape[2])))
            for b, end in enumerate(ends):
                np.add.at(table, _table_rows(end + 1, end + 1, prefix, suffix), wide[b, : end + 1])
    full = np.maximum(counts, 1)[:, None]
    heads = {node.layer: 0 for node in nodes if node.kind == "head"}
    for node in nodes:
        if node.kind == "head":
            heads[node.layer] += 1
    tables = {site: (total / full).astype(np.float32) for site, total in sums.items()}
    return Means(prefix, suffix, tables, heads)


def shared_ends(prompts: Sequence[Ids]) -> tuple[int, int]:
    """Return how many tokens all prompts begin and end with, without overlap in the shortest."""
    shortest = min(len(ids) for ids in prompts)
    start = np.stack([ids[:shortest] for ids in prompts])
    end = np.stack([ids[len(ids) - shortest :] for ids in prompts])
    same = (start == start[0]).all(axis=0)
    prefix = shortest if same.all() else int(same.argmin())
    same = (end == end[0]).all(axis=0)[::-1]
    suffix = shortest if same.all() else int(same.argmin())
    return prefix, min(suffix, shortest - prefix)
