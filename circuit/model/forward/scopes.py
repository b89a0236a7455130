"""Which tokens a steering touches.

    all         every token that the model reads
    prompt      the tokens of the prompt
    generated   the tokens after the prompt. The first of them is chosen by the prompt's last token, which is not touched
    last:K      the last K tokens of the prompt

A tap sees a block's hidden states and not which tokens they belong to, so whoever runs the model announces that
(``reading``): a whole pass over prompts and what follows them, or a generation with a cache, whose prompts start together: one
pass over all tokens of the prompts but their last, right-padded, then one token of each prompt in each pass.
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
    """Read a scope as it is written; raise ``UsageError`` for another one."""
    kind, _, number = text.partition(":")
    if text in ("all", "prompt", "generated"):
        return Scope(text)
    if kind == "last" and number.isdecimal() and int(number) > 0:
        return Scope("last", int(number))
    message = f"`{text}` is not a token scope"
    raise UsageError(message, hint=f"use one of: {', '.join(KINDS)}")


@dataclass(eq=False)
class _Reader:
    """What is being read: the prompts' lengths (B,), with a cache or not, and how many passes were made."""

    lengths: mx.array
    cached: bool
    prefilled: bool
    passes: int = 0

    def count(self, hidden: mx.array) -> mx.array:
        self.passes += 1
        return hidden


_here = threading.local()


@contextmanager
def reading(model: LoadedModel, lengths: Sequence[int], *, cached: bool = False) -> Iterator[None]:
    """Announce that within the block the model reads rows whose prompts have these lengths.

    Without a cache each pass is a whole one. With a cache it is a generation as described above.
    """
    reader = _Reader(mx.array(list(lengths)), cached, max(lengths) > 1)
    before = getattr(_here, "reader", None)
    _here.reader = reader
    try:
        # Counted when the last block is done: a steering at that block still belongs to the pass.
        with tapped([Tap(model.blocks[-1], after=reader.count, name="the last block")]):
            yield
    finally:
        _here.reader = before


def touched(scope: Scope, n_tokens: int) -> mx.array | bool:
    """Say which of the tokens of this pass are in ``scope``: (B, n_tokens), or True or False for all of them."""
    if scope.kind == "all":
        return True
    reader: _Reader | None = getattr(_here, "reader", None)
    if reader is None:
        message = f"nobody said where the prompts end, which the scope `{scope}` needs"
        raise ModelError(message, hint="run the model through circuit's own functions")
    if reader.cached and (step := reader.passes - reader.prefilled) >= 0:
        return (scope.kind == "generated") == (step > 0)
    at, ends = mx.arange(n_tokens)[None, :], reader.lengths[:, None]
    if scope.kind == "generated":
        return at >= ends
    return (at < ends) & (at >= ends - scope.last) if scope.kind == "last" else at < ends
