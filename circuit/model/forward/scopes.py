"""Scopes: the tokens that steering changes.

    all         every token that the model reads
    prompt      the tokens of the prompt
    generated   the tokens after the prompt. The first of them is predicted at the prompt's last
                token, which does not change
    last:K      the last K tokens of the prompt

A tap sees a block's hidden states and not which tokens they belong to, so whoever runs the model
announces the lengths of the prompts (``prompt_lengths``): for a whole pass over prompts and what
follows them, or for a generation with a cache, whose prompts start together: one pass over all
tokens of the prompts but their last, right-padded, then one token of each prompt in each pass.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import mlx.core as mx

from circuit.errors import ModelError, UsageError
from circuit.model.checkpoint.loading import LoadedModel
from circuit.model.checkpoint.taps import Tap, tapped

KINDS = ("all", "prompt", "generated", "last:K")


@dataclass(frozen=True)
class Scope:
    """``all``, ``prompt``, ``generated``, or ``last`` with the number of tokens."""

    kind: str
    last: int = 0

    def __str__(self) -> str:
        return f"last:{self.last}" if self.kind == "last" else self.kind


ALL = Scope("all")


def parse_scope(text: str) -> Scope:
    """Return the scope of a spelling; raise ``UsageError`` for an unknown one."""
    kind, _, number = text.partition(":")
    if text in ("all", "prompt", "generated"):
        return Scope(text)
    if kind == "last" and number.isdecimal() and int(number) > 0:
        return Scope("last", int(number))
    raise UsageError(
        "unknown-scope",
        f"unknown scope `{text}`",
        hint=f"use one of: {', '.join(KINDS)}",
        scope=text,
    )


@dataclass(eq=False)
class _Pass:
    """The prompts' lengths (B,) of the running passes, with a cache or not, and their number."""

    lengths: mx.array
    cached: bool
    prefilled: bool
    passes: int = 0

    def count(self, hidden: mx.array) -> mx.array:
        self.passes += 1
        return hidden


_here = threading.local()


@contextmanager
def prompt_lengths(
    model: LoadedModel, lengths: Sequence[int], *, cached: bool = False
) -> Iterator[None]:
    """Announce the lengths of the prompts in the rows that the model reads within the block.

    Without a cache each pass is a whole one. With a cache it is a generation as described above.
    """
    current = _Pass(mx.array(list(lengths)), cached, max(lengths) > 1)
    before = getattr(_here, "current", None)
    _here.current = current
    try:
        # Counted when the last block is done: a steering at that block still belongs to the pass.
        with tapped([Tap(model.blocks[-1], after=current.count, name="the last block")]):
            yield
    finally:
        _here.current = before


@contextmanager
def among(rows: slice) -> Iterator[None]:
    """Say that the hidden states in this block belong to these rows of the announced prompts."""
    before = getattr(_here, "rows", None)
    _here.rows = rows
    try:
        yield
    finally:
        _here.rows = before


def tokens_in_scope(scope: Scope, n_tokens: int) -> mx.array | bool:
    """Return which tokens of this pass are in ``scope``: (B, n_tokens), or one bool for all."""
    if scope.kind == "all":
        return True
    current: _Pass | None = getattr(_here, "current", None)
    if current is None:
        raise ModelError(
            "prompt-lengths-unknown",
            f"scope `{scope}` needs the prompt lengths",
            hint="run the model through circuit's own functions",
            scope=str(scope),
        )
    if current.cached and (step := current.passes - current.prefilled) >= 0:
        return (scope.kind == "generated") == (step > 0)
    rows: slice | None = getattr(_here, "rows", None)
    lengths = current.lengths if rows is None else current.lengths[rows]
    at, ends = mx.arange(n_tokens)[None, :], lengths[:, None]
    if scope.kind == "generated":
        return at >= ends
    return (at < ends) & (at >= ends - scope.last) if scope.kind == "last" else at < ends
