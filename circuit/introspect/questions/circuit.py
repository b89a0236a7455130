"""Which components decide? A set of heads and MLPs that alone keeps a behaviour, and random sets of the same size beside it.

The behaviour is that one token is said after prompts of one label and not after those of the other. With s the log-odds of that token, or its
logit against a given other token's, B = mean of s over the positive prompts − mean over the negative ones. Of a set of nodes
(``circuit.model.patching.nodes``), with all others at their mean,

    faithfulness = (B(set) − B(nothing)) / (B(all) − B(nothing))

(Wang et al. 2022, 2211.00593; Marks et al. 2024, 2403.19647). Half of the groups of prompts is for the search: nodes are ranked by attribution
patching, the strongest are verified by leaving each out, and the set is the shortest beginning of that ranking that keeps ``KEEP`` of the effect,
pruned (``circuit.methods.steering.shortest_prefix``). The other half is for the numbers that are reported: the faithfulness with its interval over
groups, what is left *without* it (but with the embedding), and random sets with as many heads and MLPs (and the embedding where the set has it).

Another set may do as well, and edges are not searched.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from circuit.artifacts.prompts.prompts import PromptSet
from circuit.artifacts.prompts.read import read_prompts
from circuit.errors import DataError, UsageError
from circuit.introspect.inputs.choices import check_share, one_token, token_text
from circuit.methods.arrays import Array
from circuit.methods.steering.shortest_prefix import prune, shortest_prefix
from circuit.methods.uncertainty.bootstrap import resample
from circuit.methods.uncertainty.ranks import rank_correlation
from circuit.stages.rows.prompting import encode
from circuit.stages.run import Track, untracked
from circuit.values.prompt_format import PromptFormat

KEEP, VERIFY, N_RANDOM = 0.9, 20, 20
LEAST = 0.1  # logits: a smaller difference between the labels is no behaviour


@dataclass(frozen=True)
class NodeEffect:
    """What leaving one node out costs, as a share of B(all) − B(nothing): estimated, and measured where it was verified."""

    name: str
    kind: str
    layer: int
    index: int
    estimate: float
    effect: float | None
    is_found: bool


@dataclass(frozen=True)
class Found:
    """The set, its faithfulness on held-out prompts, and what it has to be compared with."""

    prompts: dict[str, int]  # of each half and label
    answer: str
    wrong: str | None
    behaviour: list[float]  # B(all) on held-out prompts, with its interval
    nothing: float  # B with every node at its mean
    keep: float
    nodes: list[NodeEffect]
    circuit: list[str]
    search_faithfulness: float
    faithfulness: list[float]  # held out: value, low, high
    without: list[float]  # the same of the embedding and all nodes but these
    random: list[float]
    random_band: list[float]  # 5 and 95 %
    rank_correlation: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return everything, as JSON holds it."""
        return asdict(self)


def find_circuit(
    model: Any,
    prompts: PromptSet,
    *,
    form: PromptFormat,
    answer: str | None = None,
    wrong: str | None = None,
    keep: float = KEEP,
    verify: int = VERIFY,
    n_random: int = N_RANDOM,
    seed: int = 0,
    track: Track = untracked,
) -> Found:
    """Search the set on one half of the groups and report it on the other.

    Raises ``DataError`` for prompts without two labels in two groups each, or where the model does not tell the labels apart.
    """
    from circuit.model.patching.nodes import node_means

    check_share(keep)
    halves = split(prompts, seed)
    encoded = [prompt.ids for prompt in encode(model, prompts.texts, form)]
    token, other = _tokens(model, prompts, encoded, halves[0], answer, wrong)
    search, held = (_Half.of(model, prompts, encoded, rows, token, other) for rows in halves)
    means = node_means(search.behaviour)
    ranked = _rank(search, means, verify, track)
    value = search.faithfulness(means)
    order = [node for node, *_ in ranked]
    chosen = prune(shortest_prefix(order, value, keep), value, keep)
    return _report(model, search, held, means, ranked, chosen, (token, other), keep, n_random, seed)


def read_labelled(path: Path, seed: int) -> PromptSet:
    """Read prompts with two labels; raise ``DataError`` where they cannot be split."""
    prompts = read_prompts(path)
    split(prompts, seed)
    return prompts


def split(prompts: PromptSet, seed: int) -> tuple[Array, Array]:
    """Return the rows of the labelled prompts for the search and for the report: half of each label's groups, no group on both sides."""
    if len(prompts.labels) != 2:
        message = f"`{prompts.name}` has {len(prompts.labels)} labels"
        raise DataError(message, hint="a circuit is what tells two labels apart")
    rows, y = prompts.y()
    groups, rng = prompts.groups()[rows], np.random.default_rng(seed)
    first: set[str] = set()
    for label in (1, 0):
        own = sorted(set(groups[y == label]))
        if len(own) < 2:
            message = f"label `{prompts.labels[label]}` of `{prompts.name}` has {len(own)} groups of prompts"
            raise DataError(message, hint="half of the groups is held out: give two or more")
        free = [g for g in own if g not in first]
        first |= set(rng.permutation(free)[: (len(free) + 1) // 2].tolist())
    chosen = np.array([group in first for group in groups])
    return rows[chosen], rows[~chosen]


@dataclass(frozen=True, eq=False)
class _Half:
    """One half of the prompts: what they are, and their labels (n,) and groups (n,)."""

    behaviour: Any
    y: Array
    groups: Array

    @classmethod
    def of(
        cls,
        model: Any,
        prompts: PromptSet,
        encoded: Sequence[Any],
        rows: Array,
        token: int,
        other: int | None,
    ) -> "_Half":
        from circuit.model.patching.nodes import Behaviour, all_nodes
        from circuit.model.patching.patching import log_odds, logit_difference

        score = log_odds(token) if other is None else logit_difference(token, other)
        labels = [prompts.prompts[int(r)].label for r in rows]
        y = np.array([prompts.labels.index(str(label)) for label in labels])
        own = [encoded[int(r)] for r in rows]
        return cls(Behaviour(model, own, score, all_nodes(model)), y, prompts.groups()[rows])

    def contrast(self, scores: Array) -> Array:
        """Return B of scores (n, ...), (...)."""
        return np.asarray(scores[self.y == 1].mean(axis=0) - scores[self.y == 0].mean(axis=0))

    def faithfulness(self, means: Any) -> Any:
        """Return the function of a set of nodes that is its faithfulness."""
        nothing = float(self.contrast(self.behaviour.scores(means, ())))
        whole = float(self.contrast(self.behaviour.scores(means))) - nothing
        if whole < LEAST:
            message = f"the model does not tell the labels apart: B is {whole:.3f} logits"
            raise DataError(message, hint="check --answer, or choose prompts that it answers")

        def value(nodes: Any) -> float:
            return (float(self.contrast(self.behaviour.scores(means, nodes))) - nothing) / whole

        return value


def _tokens(
    model: Any,
    prompts: PromptSet,
    encoded: Sequence[Any],
    rows: Array,
    answer: str | None,
    wrong: str | None,
) -> tuple[int, int | None]:
    """Return the token that is said, by default the likeliest after most positive prompts, and the other one if there is one."""
    from circuit.model.patching.patching import read_last

    other = None if wrong is None else one_token(model, wrong)
    if answer is not None:
        token = one_token(model, answer)
    else:
        own = [int(r) for r in rows if prompts.prompts[int(r)].label == prompts.labels[1]]
        likeliest = [int(np.argmax(read_last(model, encoded[r]))) for r in own]
        token = max(sorted(set(likeliest)), key=likeliest.count)
    if token == other:
        raise UsageError("--answer and --wrong are the same token", hint="name two tokens")
    return token, other


def _rank(
    half: _Half, means: Any, verify: int, track: Track
) -> list[tuple[Any, float, float | None]]:
    """Return nodes with their estimated and, of the strongest, measured effect, largest first."""
    nodes = half.behaviour.nodes
    plain = half.behaviour.scores(means)
    nothing = float(half.contrast(half.behaviour.scores(means, ())))
    whole = max(float(half.contrast(plain)) - nothing, LEAST)
    estimates = -half.contrast(half.behaviour.attributions(means)) / whole
    # Everything is read from the embedding, so its one-step estimate says little: it is always measured.
    strongest = np.union1d(np.argsort(-np.abs(estimates), kind="stable")[:verify], [0])
    measured: dict[int, float] = {}
    for k in track(strongest.tolist(), "Verifying", len(strongest)):
        rest = [node for i, node in enumerate(nodes) if i != k]
        lost = half.contrast(plain - half.behaviour.scores(means, rest))
        measured[k] = float(lost) / whole
    found = [(node, float(estimates[k]), measured.get(k)) for k, node in enumerate(nodes)]
    return sorted(found, key=lambda each: -(each[1] if each[2] is None else each[2]))


def _report(
    model: Any,
    search: _Half,
    held: _Half,
    means: Any,
    ranked: Sequence[tuple[Any, float, float | None]],
    chosen: Sequence[Any],
    tokens: tuple[int, int | None],
    keep: float,
    n_random: int,
    seed: int,
) -> Found:
    run, nodes = held.behaviour, held.behaviour.nodes
    plain, nothing = run.scores(means), run.scores(means, ())
    value = held.faithfulness(means)
    kept = run.scores(means, chosen)
    rest = run.scores(means, [n for n in nodes if n.kind == "embed" or n not in chosen])
    drawn = resample(
        held.y, held.groups, n_boot=1000, rng=np.random.default_rng(seed), cross_fitted=False
    )

    def estimate(scores: Array | None) -> list[float]:
        def statistic(weights: Array) -> Array:
            b = [
                _weighted(weights, held.y, each)
                for each in (plain, nothing, plain if scores is None else scores)
            ]
            return b[0] if scores is None else np.asarray((b[2] - b[1]) / (b[0] - b[1]))

        return drawn.draws(statistic).estimate(bounds=(-np.inf, np.inf)).as_list()

    randoms = [value(each) for each in random_sets(nodes, chosen, n_random, seed)]
    verified = [(a, b) for _, a, b in ranked if b is not None]
    counts = {
        f"{half}, {word}": int((side.y == label).sum())
        for half, side in (("search", search), ("held out", held))
        for label, word in ((1, "positive"), (0, "negative"))
    }
    return Found(
        counts,
        token_text(model, tokens[0]),
        None if tokens[1] is None else token_text(model, tokens[1]),
        estimate(None),
        float(held.contrast(nothing)),
        keep,
        [NodeEffect(str(n), n.kind, n.layer, n.index, a, b, n in chosen) for n, a, b in ranked],
        [str(node) for node in sorted(chosen)],
        search.faithfulness(means)(chosen),
        estimate(kept),
        estimate(rest),
        randoms,
        np.quantile(randoms, [0.05, 0.95]).tolist() if randoms else [],
        rank_correlation(*zip(*verified, strict=True)) if verified else None,
    )


def _weighted(weights: Array, y: Array, scores: Array) -> Array:
    """Return B with rows weighted, (draws,)."""
    sides = [weights * (y == label) for label in (1, 0)]
    a, b = ((side @ scores.astype(np.float64)) / side.sum(axis=1) for side in sides)
    return np.asarray(a - b)


def random_sets(nodes: Sequence[Any], chosen: Sequence[Any], n: int, seed: int) -> list[list[Any]]:
    """Draw ``n`` sets with as many nodes of each kind as ``chosen`` has."""
    rng = np.random.default_rng(seed)
    sets = []
    for _ in range(n):
        drawn: list[Any] = []
        for kind in ("embed", "head", "mlp"):
            pool = [node for node in nodes if node.kind == kind]
            k = sum(node.kind == kind for node in chosen)
            drawn += (
                [pool[int(i)] for i in rng.choice(len(pool), size=k, replace=False)] if k else []
            )
        sets.append(drawn)
    return sets
