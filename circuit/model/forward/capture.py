"""Capture hidden states: the model's own forward pass, with taps that gather the requested tokens.

``plan`` decides beforehand what will run: which tokens of each prompt are read, how many tokens at
their beginning all prompts share (``prefix``), and the batches (``batches``). ``capture`` runs it.
Within a batch the requested tokens are gathered inside the graph and only they are evaluated;
laziness then skips the head and every block after the last requested one.

On a CPU, MLX computes element-wise operations on one core, so several batches run in parallel, each
in its own stream. On a GPU the next batch is submitted before the last one is waited for.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from circuit.errors import DataError, UsageError
from circuit.model.checkpoint.loading import LoadedModel
from circuit.model.forward import prefix as sharing
from circuit.model.forward.batches import BATCH_TOKENS, Rows, plan_batches
from circuit.model.forward.gather import BatchPosition, PrefixRows
from circuit.model.forward.padding import pads_are_harmless
from circuit.model.forward.prefix import Prefix
from circuit.model.machine.runtime import streams
from circuit.model.prompts.lists import Ids, Lists, stacked
from circuit.model.prompts.positions import NAMED, Position
from circuit.model.prompts.tokens import EncodedPrompt, token_ids
from circuit.model.sites.sites import Read, check_family, is_linear, recording
from circuit.values.sites import Site

Array = npt.NDArray[np.float32]
Key = tuple[Site, str]
LAST = (NAMED["last"],)


@dataclass(frozen=True, eq=False)
class Plan:
    """What a collection will run: all is known before the first forward pass.

    ``indices`` has, for each position, the tokens that it names in each prompt; ``batches`` the
    prompts that run together, and ``shared`` the tokens with which all begin, which have run.
    ``first`` is the number of the first prompt, for errors.
    """

    ids: Lists
    sites: Sequence[Site]
    positions: Sequence[Position]
    indices: Mapping[str, Lists]
    batches: Sequence[Rows]
    shared: Prefix | None
    first: int = 0

    @property
    def prefix(self) -> int:
        """How many tokens all prompts share, and run once."""
        return 0 if self.shared is None else len(self.shared)

    @property
    def is_padded(self) -> bool:
        """Say whether prompts of unequal length share a batch."""
        lengths = self.ids.lengths
        return any(lengths[rows].min() < lengths[rows].max() for rows in self.batches)

    def counts(self, site: Site, position: Position) -> npt.NDArray[np.int64] | None:
        """Return the number of rows of each prompt, None where each has exactly one."""
        tokens = self.indices[position.name].lengths
        if not is_linear(site):
            return tokens * self.ids.lengths
        return tokens if position.is_ragged else None


@dataclass(frozen=True, eq=False)
class ActivationBatch:
    """Batch number ``unit``: its prompts, and for each site and position float32 (rows, width).

    A position of one token has one row per prompt; of others, and of ``attn_pattern``, the rows of
    one prompt follow those of the prompt before it (``Plan.counts``).
    """

    unit: int
    rows: Rows
    values: dict[Key, Array]


def plan(
    model: LoadedModel,
    prompts: Sequence[EncodedPrompt],
    *,
    sites: Sequence[Site],
    positions: Sequence[Position] = LAST,
    batch_tokens: int = BATCH_TOKENS,
    share_prefix: bool = True,
    first: int = 0,
) -> Plan:
    """Choose tokens, shared prefix and batches for a collection.

    ``first`` is the number of the first of these prompts in the set that they come from.

    Raises ``DataError`` when a prompt lacks a position, and ``UsageError`` for a mean of patterns.
    """
    for site in sites:
        if not is_linear(site) and any(position.is_mean for position in positions):
            raise UsageError(
                "site-without-mean",
                f"position `mean` does not apply to `{site.name}`: its rows differ in length",
                hint="collect it at `all` or at another position",
                site=site.name,
            )
    check_family(model, list(dict.fromkeys(site.name for site in sites)))
    indices = _indices(prompts, positions, first)  # before anything runs: a prompt may lack one
    ids = token_ids(prompts)
    shared = _shared(model, ids, _last_layer(sites)) if share_prefix else None
    prefix = 0 if shared is None else len(shared)
    lengths = ids.lengths - prefix
    batches = plan_batches(
        lengths,
        batch_tokens=batch_tokens,
        padded=lengths.min() < lengths.max() and pads_are_harmless(model),
        prefix=prefix,
        parallel=model.n_streams,
    )
    return Plan(ids, sites, positions, indices, batches, shared, first)


def _shared(model: LoadedModel, ids: Lists, up_to: int) -> Prefix | None:
    prefix = sharing.common_prefix(ids)
    if not sharing.worth_sharing(len(ids), prefix, int(ids.offsets[-1])):
        return None
    shortest = ids[int(ids.lengths.argmin())]
    return sharing.checked_prefix(model, shortest, prefix, up_to=up_to)


def _last_layer(sites: Sequence[Site]) -> int:
    return max(site.layer for site in sites)


def _indices(
    prompts: Sequence[EncodedPrompt], positions: Sequence[Position], first: int
) -> dict[str, Lists]:
    # Prompt by prompt: the spans that several positions need are computed once.
    numbered = enumerate(prompts, first)
    rows = ([p.indices(prompt, number) for p in positions] for number, prompt in numbered)
    names = [position.name for position in positions]
    return dict(zip(names, Lists.columns(rows, len(names)), strict=True))


def capture(
    model: LoadedModel, plan: Plan, *, without: Collection[int] = ()
) -> Iterator[ActivationBatch]:
    """Run the plan and yield its batches as they are done, but for those numbered in ``without``.

    Raises ``DataError`` when a state is not finite.
    """
    units = [unit for unit in range(len(plan.batches)) if unit not in without]
    if not units:
        return
    run = _Run(model, plan)
    waiting: list[_RunningBatch] = []
    with streams(model.d_model, model.n_streams) as available:
        for first in range(0, len(units), len(available)):
            group = zip(units[first : first + len(available)], available, strict=False)
            running = [run.start(unit, stream) for unit, stream in group]
            _submit(running)
            yield from map(run.finish, waiting)
            waiting = running
    yield from map(run.finish, waiting)


@dataclass(frozen=True, eq=False)
class _RunningBatch:
    """A batch that is being computed."""

    unit: int
    positions: dict[str, BatchPosition]
    values: dict[Key, mx.array]


class _Run:
    """A model, a plan, and the shared prefix, which has run."""

    def __init__(self, model: LoadedModel, plan: Plan) -> None:
        self.model, self.plan, self.shared = model, plan, plan.shared
        self.before: dict[Key, PrefixRows] = {}
        wanted = {p.name: _early(plan.indices[p.name], plan.prefix) for p in plan.positions}
        if wanted := {name: at for name, at in wanted.items() if len(at)}:
            self._read_prefix(wanted)

    def _read_prefix(self, wanted: Mapping[str, Ids]) -> None:
        """Run the shared prefix again, and read the requested tokens of it."""
        plan, seen = self.plan, dict[Key, mx.array]()

        def record(site: Site, read: Read) -> None:
            for name, at in wanted.items():
                seen[site, name] = read(BatchPosition([at], [plan.prefix]).gather).astype(
                    mx.float32
                )

        with recording(self.model, plan.sites, record):
            self.model.network(mx.array(plan.ids[0][None, : plan.prefix]))
        mx.eval(list(seen.values()))
        for key, values in seen.items():
            self.before[key] = PrefixRows(wanted[key[1]], np.array(values)[0])

    def start(self, unit: int, stream: mx.Stream) -> _RunningBatch:
        """Build the graph of one batch, on ``stream``."""
        plan, rows = self.plan, self.plan.batches[unit]
        ids = [plan.ids[row] for row in rows]
        positions = {p.name: self._batch_position(p, rows) for p in plan.positions}
        values: dict[Key, mx.array] = {}

        def record(site: Site, read: Read) -> None:
            for name, position in positions.items():
                if position.runs:
                    values[site, name] = read(position.gather).astype(mx.float32)

        caches = {} if self.shared is None else {"cache": self.shared.for_rows(len(rows))}
        with mx.stream(stream), recording(self.model, plan.sites, record):
            self.model.network(mx.array(stacked([each[plan.prefix :] for each in ids])), **caches)
        return _RunningBatch(unit, positions, values)

    def _batch_position(self, position: Position, rows: Rows) -> BatchPosition:
        indices = [self.plan.indices[position.name][row] for row in rows]
        lengths = self.plan.ids.lengths[rows].tolist()
        return BatchPosition(indices, lengths, position.is_mean, self.plan.prefix)

    def finish(self, running: _RunningBatch) -> ActivationBatch:
        """Wait for a batch and join its rows."""
        rows = self.plan.batches[running.unit]
        made = {key: np.array(values) for key, values in running.values.items()}
        values = {
            (site, name): position.rows(made.get((site, name)), self.before.get((site, name)))
            for site in self.plan.sites
            for name, position in running.positions.items()
        }
        for (site, name), found in values.items():
            _check_finite(found, site, running.positions[name], rows + self.plan.first)
        return ActivationBatch(running.unit, rows, values)


def _submit(running: Sequence[_RunningBatch]) -> None:
    """Submit the batches to MLX, alternating between them: it queues one operation at a time."""
    outputs = zip_longest(*(each.values.values() for each in running))
    together = [array for arrays in outputs for array in arrays if array is not None]
    mx.async_eval(together)  # type: ignore[no-untyped-call]


def _early(indices: Lists, prefix: int) -> Ids:
    """Return the requested tokens before ``prefix`` of all prompts, ascending."""
    found: Ids = np.unique(indices.values[indices.values < prefix])
    return found


def _check_finite(values: Array, site: Site, position: BatchPosition, rows: Rows) -> None:
    bad = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if bad.any():
        owner = np.repeat(np.arange(len(rows)), position.rows_of_each(values))
        number = int(rows[owner[bad.argmax()]])
        raise DataError(
            "not-finite",
            f"`{site}` of prompt {number} is not finite",
            hint="load the model with --dtype float32",
            site=str(site),
            prompt=number,
        )
