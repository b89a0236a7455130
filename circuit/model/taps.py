"""Taps: see and change what flows through a module without touching the module tree.

A tap swaps the ``__class__`` of one module instance for a subclass of its own class, made once per
class, whose call hands the module's first argument and its output to the tap. Nothing is wrapped or
moved, so parameters, quantised layers, ``isinstance`` and block attributes stay as they were, and
it works where ``model.layers`` returns a copy of the list of blocks.

The model's own code runs between the taps. Blocks may return a tuple; its first member is the
hidden state. Functions compiled by ``mx.compile`` cannot be tapped inside.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from circuit.errors import ModelError

Change = Callable[[mx.array], mx.array]


@dataclass(frozen=True, eq=False)
class Tap:
    """Functions of the hidden state that enters (``before``) and leaves (``after``) a module."""

    module: nn.Module
    before: Change | None = None
    after: Change | None = None
    name: str = ""


_tapped_classes: dict[type, type] = {}


@contextmanager
def tapped(taps: Sequence[Tap]) -> Iterator[None]:
    """Install ``taps`` for the duration of the block; restore every class, also on an exception.

    Raises ``ModelError`` at the end of the block when a tap did not fire, since then the model took
    another path than the one that was asked about.
    """
    fired: set[int] = set()
    installed = [_install(tap, fired) for tap in taps]
    try:
        yield
    finally:
        for module, entry in reversed(installed):
            _remove(module, entry)
    if silent := [tap.name or type(tap.module).__name__ for tap in taps if id(tap) not in fired]:
        message = f"the model never ran `{silent[0]}`, so nothing was recorded or changed there"
        raise ModelError(message, hint="circuit doctor -m MODEL shows which sites a model offers")


_Entry = tuple[Tap, set[int]]


def _install(tap: Tap, fired: set[int]) -> tuple[nn.Module, _Entry]:
    module, entry = tap.module, (tap, fired)
    entries = module.__dict__.get("_circuit_taps")
    if entries is None:
        # nn.Module.__setattr__ would make the list a part of the parameter tree.
        object.__setattr__(module, "_circuit_taps", entries := [])
        module.__class__ = _tapped_class(type(module))
    entries.append(entry)
    return module, entry


def _remove(module: nn.Module, entry: _Entry) -> None:
    entries = module.__dict__["_circuit_taps"]
    entries.remove(entry)
    if not entries:
        object.__delattr__(module, "_circuit_taps")
        module.__class__ = type(module).__mro__[1]


def _tapped_class(base: type) -> type:
    if base not in _tapped_classes:

        def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
            entries = list(self.__dict__["_circuit_taps"])
            args = (_pass_through(entries, "before", args[0]), *args[1:]) if args else args
            output = base.__call__(self, *args, **kwargs)
            if isinstance(output, tuple):
                return (_pass_through(entries, "after", output[0]), *output[1:])
            return _pass_through(entries, "after", output)

        # The name stays: some models look at the class names of their own blocks.
        _tapped_classes[base] = type(base.__name__, (base,), {"__call__": __call__})
    return _tapped_classes[base]


def _pass_through(entries: list[_Entry], side: str, hidden: mx.array) -> mx.array:
    for tap, fired in entries:
        if (change := getattr(tap, side)) is not None:
            fired.add(id(tap))
            hidden = change(hidden)
    return hidden
