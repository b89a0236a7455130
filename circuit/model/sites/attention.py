"""What attention computes with, taken from the model's own call of it.

mlx-lm's attention modules end in ``scaled_dot_product_attention(queries, keys, values, …)``, a name
that each model file imports. While a recording runs, that name in the attention class's module is a
function that reports its arguments and then calls the original: queries and keys with positions
applied, mask, scale and sinks, exactly as the model uses them. Which layer is running is known by a
tap on the attention module. From the arguments, with queries of head h and the keys of its group,

    pattern[h, t, s] = softmax_s(scale · q[h, t] · k[s] + mask[t, s])

is computed in float32 for the rows t that are wanted and no others; where a head has a sink, the
softmax has one more term and a row sums to less than 1. Keys count from the start of the sequence
and include those of a cache; one that a sliding cache has dropped has weight 0.

Attention that is written out (Gemma 2, which caps its logits) is read where it calls ``mx.softmax``,
and its queries and keys where its rope module returns them. Only the thread that started a recording
is seen by it, and when the last recording ends, every name is what it was.
"""

import inspect
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from circuit.model.checkpoint.taps import Change, Tap, tapped

ATTEND = "scaled_dot_product_attention"


@dataclass(frozen=True, eq=False)
class Attended:
    """One run of attention.

    Queries (B, n_heads, T, head_dim), keys (B, n_kv_heads, T_keys, head_dim), and ``pattern``, which
    makes of row numbers (B, K) the pattern (B, n_heads, K, T_keys).
    """

    queries: mx.array
    keys: mx.array
    pattern: Callable[[mx.array], mx.array]


@dataclass(frozen=True)
class Heads:
    """How many heads ask and how many answer."""

    n_heads: int
    n_kv_heads: int


See = Callable[[Attended], None]
Gather = Callable[[mx.array], mx.array]


def read_queries(attended: Attended, gather: Gather) -> mx.array:
    """Return the gathered queries (B, K, n_heads * head_dim)."""
    return gather(_by_token(attended.queries))


def read_keys(attended: Attended, gather: Gather) -> mx.array:
    """Return the gathered keys of the tokens that just ran (B, K, n_kv_heads * head_dim)."""
    return gather(_by_token(attended.keys[:, :, -attended.queries.shape[2] :]))


def read_pattern(attended: Attended, gather: Gather) -> mx.array:
    """Return the gathered rows of the pattern (B, K, n_heads, T_keys)."""
    batch, _, length, _ = attended.queries.shape
    # Row numbers go through the gather as what it takes anyway, an array over tokens.
    numbers = mx.arange(length, dtype=mx.float32)[None, :, None]
    rows = gather(mx.broadcast_to(numbers, (batch, length, 1)))[..., 0].astype(mx.int32)
    return attended.pattern(rows).swapaxes(1, 2)


def _by_token(heads: mx.array) -> mx.array:
    return heads.swapaxes(1, 2).flatten(-2)


def measure_heads(
    network: Any, attentions: Mapping[int, nn.Module], rope: str | None
) -> dict[int, Heads]:
    """Return the heads of each layer that runs attention, as its queries and keys have them.

    The network runs on two tokens, lazily: shapes are known before anything is evaluated.
    """
    found: dict[int, Heads] = {}

    def see(layer: int, attended: Attended) -> None:
        found[layer] = Heads(attended.queries.shape[1], attended.keys.shape[1])

    with attending([(module, partial(see, layer)) for layer, module in attentions.items()], rope):
        network(mx.zeros((1, 2), dtype=mx.int32))
    return found


@dataclass(eq=False)
class _Watch:
    """What one recording is looking at: who wants to see the attention that is running now."""

    see: See | None = None
    rotated: list[mx.array] = field(default_factory=list)
    thread: int = field(default_factory=threading.get_ident)

    def enter(self, see: See, hidden: mx.array) -> mx.array:
        self.see, self.rotated = see, []
        return hidden

    def leave(self, hidden: mx.array) -> mx.array:
        self.see = None
        return hidden

    def rotate(self, heads: mx.array) -> mx.array:
        self.rotated.append(heads)
        return heads


_watches: list[_Watch] = []
_changing = threading.Lock()
_replaced: dict[tuple[int, str], list[Any]] = {}  # namespace and name -> [times, original]


@contextmanager
def attending(wanted: Sequence[tuple[nn.Module, See]], rope: str | None) -> Iterator[None]:
    """Call ``see(attended)`` whenever one of the attention modules attends within the block.

    ``rope`` is the row's: None for modules that call ``scaled_dot_product_attention``.
    """
    watch = _Watch()
    taps = [tap for module, see in wanted for tap in _taps(watch, module, see, rope)]
    name = ATTEND if rope is None else "mx"
    with ExitStack() as stack:
        stack.enter_context(tapped(taps))
        for namespace in _namespaces([module for module, _ in wanted], name):
            stack.enter_context(_replacing(namespace, name))
        _watches.append(watch)
        stack.callback(_watches.remove, watch)
        yield


def _taps(watch: _Watch, module: nn.Module, see: See, rope: str | None) -> Iterator[Tap]:
    enter: Change = partial(watch.enter, see)
    yield Tap(module, before=enter, after=watch.leave, name="attention")
    if rope is not None:
        yield Tap(getattr(module, rope), after=watch.rotate, name=rope)


def _namespaces(modules: Sequence[nn.Module], name: str) -> list[dict[str, Any]]:
    """Return the globals in which the modules' own calls, inherited ones too, look up ``name``."""
    kinds = {kind for module in modules for kind in type(module).__mro__}
    calls = [kind.__dict__["__call__"] for kind in kinds if "__call__" in kind.__dict__]
    spaces = [call.__globals__ for call in calls if hasattr(call, "__globals__")]
    foreign = {id(space): space for space in spaces if space["__name__"] != tapped.__module__}
    return [space for space in foreign.values() if name in space]


@contextmanager
def _replacing(namespace: dict[str, Any], name: str) -> Iterator[None]:
    """Let ``name`` report for the duration of the block; several blocks may overlap."""
    key = (id(namespace), name)
    with _changing:
        times, original = _replaced.get(key, [0, namespace[name]])
        _replaced[key] = [times + 1, original]
        if not times:
            namespace[name] = _Mlx() if name == "mx" else _reporting(original)
    try:
        yield
    finally:
        with _changing:
            _replaced[key][0] -= 1
            if not _replaced[key][0]:
                namespace[name] = _replaced.pop(key)[1]


def _watching() -> list[_Watch]:
    here = threading.get_ident()
    return [watch for watch in _watches if watch.thread == here and watch.see is not None]


def _reporting(original: Callable[..., mx.array]) -> Callable[..., mx.array]:
    signature = inspect.signature(original)

    @wraps(original)
    def attend(*args: Any, **kwargs: Any) -> mx.array:
        if watches := _watching():
            attended = _attended(**signature.bind(*args, **kwargs).arguments)
            for watch in watches:
                assert watch.see is not None
                watch.see(attended)
        return original(*args, **kwargs)

    return attend


class _Mlx:
    """``mlx.core`` whose ``softmax`` reports."""

    def __getattr__(self, name: str) -> Any:
        return getattr(mx, name)

    def softmax(self, *args: Any, **kwargs: Any) -> mx.array:
        """Return the softmax, and show it to those who watch attention in this thread."""
        probabilities: mx.array = mx.softmax(*args, **kwargs)
        for watch in _watching():
            queries, keys = watch.rotated
            by_head = probabilities.reshape(*queries.shape[:-1], probabilities.shape[-1])
            assert watch.see is not None
            watch.see(Attended(queries, keys, partial(_rows, by_head)))
        return probabilities


def _rows(by_head: mx.array, rows: mx.array) -> mx.array:
    return mx.take_along_axis(by_head, rows[:, None, :, None], axis=2)


def _attended(
    queries: mx.array,
    keys: mx.array,
    scale: float,
    mask: mx.array | str | None = None,
    sinks: mx.array | None = None,
    cache: Any = None,
    **_: Any,
) -> Attended:
    if queries.shape[2] == 1 and hasattr(cache, "_temporal_order"):
        # A sliding cache that is full writes the one new key over the oldest.
        keys = cache._temporal_order(keys)
        if isinstance(mask, mx.array):
            mask = cache._temporal_order(mask[..., None])[..., 0]
    offset = getattr(cache, "offset", None)
    dropped = max(0, offset - keys.shape[2]) if isinstance(offset, int) else 0
    pattern = partial(_pattern, queries, keys, float(scale), mask, sinks, dropped)
    return Attended(queries, keys, pattern)


def _pattern(
    queries: mx.array,
    keys: mx.array,
    scale: float,
    mask: mx.array | str | None,
    sinks: mx.array | None,
    dropped: int,
    rows: mx.array,
) -> mx.array:
    asked = _rows(queries, rows).astype(mx.float32) * scale
    batch, n_heads, n_rows, head_dim = asked.shape
    grouped = asked.reshape(batch, keys.shape[1], -1, head_dim)
    scores = grouped @ keys.astype(mx.float32).swapaxes(-1, -2)
    scores = scores.reshape(batch, n_heads, n_rows, -1)
    scores = _masked(scores, mask, rows, keys.shape[2] - queries.shape[2])
    if sinks is not None:
        column = mx.broadcast_to(sinks.astype(mx.float32)[:, None, None], (*scores.shape[:3], 1))
        scores = mx.concatenate([scores, column], axis=-1)
    pattern = mx.softmax(scores, axis=-1)[..., : keys.shape[2]]
    return mx.pad(pattern, [(0, 0), (0, 0), (0, 0), (dropped, 0)])


def _masked(scores: mx.array, mask: mx.array | str | None, rows: mx.array, cached: int) -> mx.array:
    if mask is None:
        return scores
    if isinstance(mask, str):  # "causal": the last query sees every key
        mask = mx.arange(scores.shape[-1]) <= (rows + cached)[:, None, :, None]
    else:
        mask = mask.reshape((1,) * (4 - mask.ndim) + mask.shape)
        mask = _rows(mask, rows) if mask.shape[2] > 1 else mask
    if mask.dtype == mx.bool_:
        return mx.where(mask, scores, mx.finfo(mx.float32).min)
    return scores + mask.astype(mx.float32)
