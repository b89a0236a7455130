"""Branches: the states below a change are computed once, then the rest of the model for many.

A ``Variant`` is the model with taps that change it. Below its lowest tap nothing differs from the
unmodified model, so the states at that depth are computed once for a batch of token ids, and every
variant runs from there, several in one batch: the rows of one variant after those of another.

The model's own code runs on the same token ids, so that it makes masks, positions and caches; only
the output of the last block below is replaced, by what that block returned before. MLX computes
what is needed: the blocks below are not evaluated, unless a block above reads something else of
them (keys and values that blocks share), which then is computed as ever. So every family branches,
and a variant equals its own whole pass to rounding.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate

import mlx.core as mx
import mlx.nn as nn

from circuit.model.checkpoint.loading import LoadedModel
from circuit.model.checkpoint.taps import Change, Tap, tapped
from circuit.model.forward.scopes import among


@dataclass(frozen=True, eq=False)
class Variant:
    """Taps that change the model, and its depth: how many blocks lie below all of them."""

    taps: tuple[Tap, ...]
    depth: int


def unchanged(model: LoadedModel) -> Variant:
    """Return the variant that changes nothing."""
    return Variant((), model.n_layers)


@contextmanager
def keeping_states(model: LoadedModel, depths: Iterable[int]) -> Iterator[dict[int, mx.array]]:
    """Keep the residuals (B, T, d_model) of the pass that runs within, lazily, by depth.

    Depth k is after the first k blocks; depth 0 has none: every pass embeds its tokens.
    """
    found: dict[int, mx.array] = {}

    def look(depth: int) -> Tap:
        def seen(hidden: mx.array) -> mx.array:
            # An identity operation makes a new array: some models scale a state in place later.
            found[depth] = mx.stop_gradient(hidden)
            return hidden

        return Tap(model.blocks[depth - 1], after=seen, name=f"block {depth - 1}")

    with tapped([look(depth) for depth in sorted(set(depths)) if depth > 0]):
        yield found


@dataclass
class Shares:
    """How many rows of a pass each variant has, in turn; None: all have the same number."""

    sizes: Sequence[int] | None = None

    def slices(self, n_variants: int, n_rows: int) -> list[slice]:
        """Return the rows of each of ``n_variants`` in a pass of ``n_rows``."""
        sizes = self.sizes or [n_rows // n_variants] * n_variants
        return [slice(end - size, end) for size, end in zip(sizes, accumulate(sizes), strict=True)]


@contextmanager
def branched(
    model: LoadedModel, variants: Sequence[Variant], state: mx.array | None = None
) -> Iterator[Shares]:
    """Run every forward pass in the block under ``variants``, each on its share of the rows.

    The rows of one variant follow those of another, B rows of each; where rows leave between passes
    the caller says how many are left. ``state`` (B, T, d_model) is what the unmodified model holds
    for the B rows at the depth of all of these variants; without one the blocks below run, too.
    """
    shares = Shares()
    taps = _together(variants, shares)
    if state is not None:
        depth, rows = variants[0].depth, mx.concatenate([state] * len(variants))
        taps = [Tap(model.blocks[depth - 1], after=lambda _: rows, name="the branch"), *taps]
    with tapped(taps):
        yield shares


def _together(variants: Sequence[Variant], shares: Shares) -> list[Tap]:
    """Return taps that act as each variant's own do on its share of the rows."""
    if len(variants) == 1:
        return list(variants[0].taps)
    modules: dict[int, nn.Module] = {}
    changes: dict[tuple[int, str], list[list[Change]]] = {}
    for number, variant in enumerate(variants):
        for tap in variant.taps:
            modules[id(tap.module)] = tap.module
            for side in ("before", "after"):
                if (change := getattr(tap, side)) is not None:
                    listed = changes.setdefault((id(tap.module), side), [[] for _ in variants])
                    listed[number].append(change)
    return [
        Tap(modules[module], **{side: _split(listed, shares)}, name="variants")
        for (module, side), listed in changes.items()
    ]


def _split(changes: Sequence[Sequence[Change]], shares: Shares) -> Change:
    """Return a function of all rows that applies the changes of each variant to its share."""

    def apply(hidden: mx.array) -> mx.array:
        parts = []
        slices = shares.slices(len(changes), hidden.shape[0])
        for rows, own in zip(slices, changes, strict=True):
            if rows.start == rows.stop:
                continue
            part = hidden[rows]
            with among(rows):
                for change in own:
                    part = change(part)
            parts.append(part)
        return mx.concatenate(parts)

    return apply
