"""Read queries, keys and patterns of attention from the model's own call of it.

mlx-lm's attention modules end in ``scaled_dot_product_attention(queries, keys, values, …)``, a name
that each model file imports. During a recording, that name in the attention class's module is a
function that reports its arguments and then calls the original: queries and keys with positions
applied, mask, scale and sinks, exactly as the model uses them. A tap on the attention module tells
which layer is running. From the arguments, with queries of head h and the keys of its group,

    pattern[h, t, s] = softmax_s(scale · q[h, t] · k[s] + mask[t, s])

is computed in float32 for the requested rows t only; where a head has a sink, the softmax has one
more term and a row sums to less than 1. Keys count from the start of the sequence and include those
of a cache; one that a sliding cache has dropped has weight 0.

Attention without that call (Gemma 2, which caps its logits) is read where it calls ``mx.softmax``,
and its queries and keys where its rope module returns them. A recording sees only the thread that
started it, and when the last recording ends, every name is restored.
"""

import inspect
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import cast

import mlx.core as mx
import mlx.nn as nn

from circuit.model.checkpoint.taps import Change, Tap, tapped

ATTEND = "scaled_dot_product_attention"


@dataclass(frozen=True, eq=False)
class AttentionCall:
    """One call of attention.

    Queries (B, n_heads, T, head_dim), keys (B, n_kv_heads, T_keys, head_dim), and ``pattern``,
    which maps row numbers (B, K) to the pattern (B, n_heads, K, T_keys).
    """

    queries: mx.array
    keys: mx.array
    pattern: Callable[[mx.array], mx.array]


@dataclass(frozen=True)
class Heads:
    """The numbers of query heads and of key-value heads."""

    n_heads: int
    n_kv_heads: int


Observer = Callable[[AttentionCall], None]
Gather = Callable[[mx.array], mx.array]


def read_queries(call: AttentionCall, gather: Gather) -> mx.array:
    """Return the gathered queries (B, K, n_heads * head_dim)."""
    return gather(_by_token(call.queries))


def read_keys(call: AttentionCall, gather: Gather) -> mx.array:
    """Return the gathered keys of the tokens that just ran (B, K, n_kv_heads * head_dim)."""
    return gather(_by_token(call.keys[:, :, -call.queries.shape[2] :]))


def read_pattern(call: AttentionCall, gather: Gather) -> mx.array:
    """Return the gathered rows of the pattern (B, K, n_heads, T_keys)."""
    batch, _, length, _ = call.queries.shape
    # A gather takes arrays over tokens, so row numbers are passed as one.
    numbers = mx.arange(length, dtype=mx.float32)[None, :, None]
    rows = gather(mx.broadcast_to(numbers, (batch, length, 1)))[..., 0].astype(mx.int32)
    return call.pattern(rows).swapaxes(1, 2)


def _by_token(heads: mx.array) -> mx.array:
    return heads.swapaxes(1, 2).flatten(-2)


def measure_heads(
    network: nn.Module, attentions: Mapping[int, nn.Module], rope: str | None
) -> dict[int, Heads]:
    """Return the heads of each layer that runs attention, from the shapes of its queries and keys.

    The network runs on two tokens, lazily: shapes are known before anything is evaluated.
    """
    found: dict[int, Heads] = {}

    def observe(layer: int, call: AttentionCall) -> None:
        found[layer] = Heads(call.queries.shape[1], call.keys.shape[1])

    observers = [(module, partial(observe, layer)) for layer, module in attentions.items()]
    with observing_attention(observers, rope):
        network(mx.zeros((1, 2), dtype=mx.int32))
    return found


@dataclass(eq=False)
class _Recording:
    """Who observes the attention that is running now, in which thread."""

    observer: Observer | None = None
    rotated: list[mx.array] = field(default_factory=list)
    thread: int = field(default_factory=threading.get_ident)

    def enter(self, observer: Observer, hidden: mx.array) -> mx.array:
        self.observer, self.rotated = observer, []
        return hidden

    def leave(self, hidden: mx.array) -> mx.array:
        self.observer = None
        return hidden

    def rotate(self, heads: mx.array) -> mx.array:
        self.rotated.append(heads)
        return heads


@dataclass(eq=False)
class _Replacement:
    """What a name stood for before it was replaced, and by how many recordings."""

    original: object
    users: int = 0


_recordings: list[_Recording] = []
_changing = threading.Lock()
_replaced: dict[tuple[int, str], _Replacement] = {}  # by namespace and name


@contextmanager
def observing_attention(
    observers: Sequence[tuple[nn.Module, Observer]], rope: str | None
) -> Iterator[None]:
    """Pass each call of the given attention modules within the block to their observers.

    ``rope`` is the family row's: None for modules that call ``scaled_dot_product_attention``.
    """
    recording = _Recording()
    taps = [tap for module, seen in observers for tap in _taps(recording, module, seen, rope)]
    name = ATTEND if rope is None else "mx"
    with ExitStack() as stack:
        stack.enter_context(tapped(taps))
        for namespace in _namespaces([module for module, _ in observers], name):
            stack.enter_context(_replacing(namespace, name))
        _recordings.append(recording)
        stack.callback(_recordings.remove, recording)
        yield


def _taps(
    recording: _Recording, module: nn.Module, observer: Observer, rope: str | None
) -> Iterator[Tap]:
    enter: Change = partial(recording.enter, observer)
    yield Tap(module, before=enter, after=recording.leave, name="attention")
    if rope is not None:
        yield Tap(getattr(module, rope), after=recording.rotate, name=rope)


def _namespaces(modules: Sequence[nn.Module], name: str) -> list[dict[str, object]]:
    """Return the globals in which the modules' own calls, inherited ones too, look up ``name``."""
    kinds = {kind for module in modules for kind in type(module).__mro__}
    calls = [kind.__dict__["__call__"] for kind in kinds if "__call__" in kind.__dict__]
    spaces = [call.__globals__ for call in calls if hasattr(call, "__globals__")]
    foreign = {id(space): space for space in spaces if space["__name__"] != tapped.__module__}
    return [space for space in foreign.values() if name in space]


@contextmanager
def _replacing(namespace: dict[str, object], name: str) -> Iterator[None]:
    """Make ``name`` report its calls for the duration of the block; several blocks may overlap."""
    key = (id(namespace), name)
    with _changing:
        entry = _replaced.setdefault(key, _Replacement(namespace[name]))
        entry.users += 1
        if entry.users == 1:
            reporting = _ReportingMlx() if name == "mx" else _reporting(entry.original)
            namespace[name] = reporting
    try:
        yield
    finally:
        with _changing:
            entry.users -= 1
            if not entry.users:
                namespace[name] = _replaced.pop(key).original


def _observers() -> list[tuple[_Recording, Observer]]:
    """Return the recordings of this thread whose attention is running."""
    here = threading.get_ident()
    return [(r, r.observer) for r in _recordings if r.thread == here and r.observer is not None]


def _reporting(original: object) -> Callable[..., mx.array]:
    attention = cast(Callable[..., mx.array], original)
    signature = inspect.signature(attention)

    @wraps(attention)
    def attend(*args: object, **kwargs: object) -> mx.array:
        if observers := _observers():
            call = _attention_call(**signature.bind(*args, **kwargs).arguments)
            for _, observer in observers:
                observer(call)
        return attention(*args, **kwargs)

    return attend


class _ReportingMlx:
    """``mlx.core`` whose ``softmax`` reports its calls."""

    def __getattr__(self, name: str) -> object:
        return getattr(mx, name)

    def softmax(self, *args: object, **kwargs: object) -> mx.array:
        """Return the softmax, and pass it to the observers of this thread."""
        probabilities = _softmax(*args, **kwargs)
        for recording, observer in _observers():
            queries, keys = recording.rotated
            by_head = probabilities.reshape(*queries.shape[:-1], probabilities.shape[-1])
            observer(AttentionCall(queries, keys, partial(_rows, by_head)))
        return probabilities


_softmax: Callable[..., mx.array] = mx.softmax


def _rows(by_head: mx.array, rows: mx.array) -> mx.array:
    return mx.take_along_axis(by_head, rows[:, None, :, None], axis=2)


def _attention_call(
    queries: mx.array,
    keys: mx.array,
    scale: float,
    *,
    mask: mx.array | str | None = None,
    sinks: mx.array | None = None,
    cache: object = None,
    **_: object,
) -> AttentionCall:
    if queries.shape[2] == 1 and (in_order := getattr(cache, "_temporal_order", None)):
        # A sliding cache that is full writes the one new key over the oldest.
        keys = in_order(keys)
        if isinstance(mask, mx.array):
            mask = in_order(mask[..., None])[..., 0]
    offset = getattr(cache, "offset", None)
    dropped = max(0, offset - keys.shape[2]) if isinstance(offset, int) else 0

    def pattern(rows: mx.array) -> mx.array:
        scores = _scores(queries, keys, float(scale), rows)
        scores = _masked(scores, mask, rows, keys.shape[2] - queries.shape[2])
        return mx.pad(_normalised(scores, sinks), [(0, 0), (0, 0), (0, 0), (dropped, 0)])

    return AttentionCall(queries, keys, pattern)


def _scores(queries: mx.array, keys: mx.array, scale: float, rows: mx.array) -> mx.array:
    """Return the scaled products (B, n_heads, K, T_keys) of some queries with all keys."""
    chosen = _rows(queries, rows).astype(mx.float32) * scale
    batch, n_heads, n_rows, head_dim = chosen.shape
    grouped = chosen.reshape(batch, keys.shape[1], -1, head_dim)
    scores = grouped @ keys.astype(mx.float32).swapaxes(-1, -2)
    return scores.reshape(batch, n_heads, n_rows, -1)


def _normalised(scores: mx.array, sinks: mx.array | None) -> mx.array:
    """Return the softmax over keys, where a sink (n_heads,) takes its share of a row."""
    n_keys = scores.shape[-1]
    if sinks is not None:
        column = mx.broadcast_to(sinks.astype(mx.float32)[:, None, None], (*scores.shape[:3], 1))
        scores = mx.concatenate([scores, column], axis=-1)
    return mx.softmax(scores, axis=-1)[..., :n_keys]


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
