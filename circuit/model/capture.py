"""Record hidden states: the model's own forward pass, with taps that gather the wanted positions.

Prompts are sorted by length and right-padded, which is exact for causal models because the pads
come after every real token. A model on which that does not hold (``padding.pads_are_harmless``)
gets batches of prompts of equal length. Within a batch the wanted positions are gathered inside the graph and
only they are evaluated; laziness then skips the head and every block after the last wanted one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from circuit.errors import DataError, UsageError
from circuit.model.loading import LoadedModel
from circuit.model.padding import pads_are_harmless
from circuit.model.positions import NAMED, Position
from circuit.model.sites import Record, Site, check_row, recording_tap
from circuit.model.taps import tapped
from circuit.model.tokens import Encoded

Array = npt.NDArray[np.float32]
BATCH_TOKENS = 2048
BATCH_ROWS = 64


@dataclass(frozen=True, eq=False)
class Captured:
    """One batch: rows of the prompt list, and (site, position) -> float32 (k, d_model)."""

    rows: npt.NDArray[np.intp]
    values: dict[tuple[Site, str], Array]


def plan_batches(
    lengths: Sequence[int],
    *,
    batch_tokens: int = BATCH_TOKENS,
    batch_rows: int = BATCH_ROWS,
    padded: bool = True,
) -> list[npt.NDArray[np.intp]]:
    """Cut the prompts, longest first, into batches of at most ``batch_tokens`` padded tokens.

    The longest batch comes first so that running out of memory happens at once or never. Without
    ``padded`` all prompts of a batch have the same length.
    """
    order = np.argsort(-np.asarray(lengths), kind="stable")
    sorted_lengths = np.asarray(lengths)[order]
    batches, start = [], 0
    while start < len(order):
        longest = max(1, lengths[order[start]])
        size = max(1, min(batch_rows, batch_tokens // longest))
        if not padded:
            size = min(size, int((sorted_lengths == longest).sum()))
        batches.append(order[start : start + size])
        start += size
    return batches


def plan(
    model: LoadedModel, prompts: Sequence[Encoded], *, batch_tokens: int = BATCH_TOKENS
) -> list[npt.NDArray[np.intp]]:
    """Return the batches in which these prompts run on this model, padded if that is harmless."""
    lengths = [len(prompt.ids) for prompt in prompts]
    padded = len(set(lengths)) > 1 and pads_are_harmless(model)
    return plan_batches(lengths, batch_tokens=batch_tokens, padded=padded)


def pad_right(prompts: Sequence[Encoded]) -> mx.array:
    """Stack token ids to (n_prompts, longest), padded with zeros after the end."""
    longest = max(len(prompt.ids) for prompt in prompts)
    return mx.array(np.stack([np.pad(p.ids, (0, longest - len(p.ids))) for p in prompts]))


def capture(
    model: LoadedModel,
    prompts: Sequence[Encoded],
    *,
    sites: Sequence[Site],
    positions: Sequence[Position] = (NAMED["last"],),
    batches: Sequence[npt.NDArray[np.intp]] | None = None,
) -> Iterator[Captured]:
    """Yield the hidden states of all prompts, batch by batch: those of ``plan`` if none are given.

    Raises ``DataError`` when a state is not finite or a prompt lacks a position.
    """
    check_row(model, [site.name for site in sites])
    for rows in plan(model, prompts) if batches is None else batches:
        yield _capture_batch(model, prompts, rows, sites, positions)


def _capture_batch(
    model: LoadedModel,
    prompts: Sequence[Encoded],
    rows: npt.NDArray[np.intp],
    sites: Sequence[Site],
    positions: Sequence[Position],
) -> Captured:
    batch = [prompts[row] for row in rows]
    readers = {each.name: _Reader(batch, rows, each) for each in positions}
    values: dict[tuple[Site, str], mx.array] = {}

    def record(site: Site) -> Record:
        return lambda hidden: values.update(
            {(site, name): reader(hidden) for name, reader in readers.items()}
        )

    taps = [recording_tap(model, site, record(site)) for site in sites]
    with tapped(taps):
        model.network(pad_right(batch))
    mx.eval(list(values.values()))
    return Captured(rows, {key: _finite(v, key, rows) for key, v in values.items()})


class _Reader:
    """Reads one position of every row of a batch: (k, T, d_model) -> float32 (k, d_model)."""

    def __init__(
        self, batch: Sequence[Encoded], rows: npt.NDArray[np.intp], position: Position
    ) -> None:
        self.weights: mx.array | None = None
        if position.is_ragged:
            message = f"`{position.name}` is not one token of each prompt"
            raise UsageError(message, hint="choose a position of one token")
        if position.is_mean:
            self.weights = _mean_weights(batch)
        else:
            indices = [position.indices(p, int(r))[0] for p, r in zip(batch, rows, strict=True)]
            self.indices = mx.array(np.array(indices))[:, None, None]

    def __call__(self, hidden: mx.array) -> mx.array:
        if self.weights is not None:
            return (self.weights @ hidden.astype(mx.float32))[:, 0]
        return mx.take_along_axis(hidden, self.indices, axis=1)[:, 0].astype(mx.float32)


def _mean_weights(batch: Sequence[Encoded]) -> mx.array:
    """Return (k, 1, T): equal weights on every token but the first, which is a sink."""
    weights = np.zeros((len(batch), 1, max(len(p.ids) for p in batch)), dtype=np.float32)
    for row, prompt in enumerate(batch):
        start = 1 if len(prompt.ids) > 1 else 0
        weights[row, 0, start : len(prompt.ids)] = 1 / (len(prompt.ids) - start)
    return mx.array(weights)


def _finite(value: mx.array, key: tuple[Site, str], rows: npt.NDArray[np.intp]) -> Array:
    array = np.array(value)
    if not np.isfinite(array).all():
        row = int(rows[~np.isfinite(array).all(axis=1)][0])
        message = f"`{key[0]}` of prompt {row} is not finite"
        raise DataError(message, hint="load the model with --dtype float32")
    return array
