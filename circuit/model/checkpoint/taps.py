"""Taps: read and change the input and output of a module without changing the module tree.

A tap swaps the ``__class__`` of one module instance for a subclass of its own class, made once per
class, whose call hands the module's first argument and its output to the tap. Nothing is wrapped or
moved, so parameters, quantised layers, ``isinstance`` and block attributes stay as they were, and
it works where ``model.layers`` returns a copy of the list of blocks.

The model's own code runs between the taps. Blocks may return a tuple; its first member is the
hidden state. Functions compiled by ``mx.compile`` cannot be tapped inside. A tap belongs to the
thread that installed it and sees only what that thread runs, so that two threads can run batches
through one model, each with taps of its own.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

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
_changing = threading.Lock()


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
        raise ModelError(
            "module-not-run",
            f"the model never ran `{silent[0]}`, so nothing was recorded or changed there",
            hint="`circuit sites -m MODEL` lists the sites of a model",
            module=silent[0],
        )


def past_taps(module: nn.Module) -> Callable[..., mx.array]:
    """Return a function that runs ``module`` without firing its taps, for use inside a tap."""
    kind = type(module)
    return partial(_untapped(kind).__call__, module)


_Entry = tuple[Tap, set[int], int]


def _install(tap: Tap, fired: set[int]) -> tuple[nn.Module, _Entry]:
    module, entry = tap.module, (tap, fired, threading.get_ident())
    with _changing:
        if "_circuit_taps" not in module.__dict__:
            # nn.Module.__setattr__ would make the list a part of the parameter tree.
            object.__setattr__(module, "_circuit_taps", [])
            module.__class__ = _tapped_class(type(module))
        module.__dict__["_circuit_taps"].append(entry)
    return module, entry


def _remove(module: nn.Module, entry: _Entry) -> None:
    with _changing:
        entries = module.__dict__["_circuit_taps"]
        entries.remove(entry)
        if not entries:
            object.__delattr__(module, "_circuit_taps")
            module.__class__ = _untapped(type(module))


def _untapped(kind: type) -> type:
    """Return the class that ``_tapped_class`` subclassed, or ``kind`` if it is not tapped."""
    return kind.__mro__[1] if kind in _tapped_classes.values() else kind


def _tapped_class(base: type) -> type:
    if base not in _tapped_classes:

        def __call__(self: nn.Module, *args: mx.array, **kwargs: object) -> object:
            here = threading.get_ident()
            # Another thread may have removed its taps since this call was dispatched.
            entries = [e for e in self.__dict__.get("_circuit_taps", ()) if e[2] == here]
            args = (_pass_through(entries, "before", args[0]), *args[1:]) if args else args
            output = base.__call__(self, *args, **kwargs)
            if isinstance(output, tuple):
                return (_pass_through(entries, "after", output[0]), *output[1:])
            return _pass_through(entries, "after", output)

        # The name stays: some models look at the class names of their own blocks.
        members = {"__call__": __call__, "__module__": base.__module__}
        _tapped_classes[base] = type(base.__name__, (base,), members)
    return _tapped_classes[base]


def _pass_through(entries: list[_Entry], side: str, hidden: mx.array) -> mx.array:
    for tap, fired, _ in entries:
        if (change := getattr(tap, side)) is not None:
            fired.add(id(tap))
            hidden = change(hidden)
    return hidden
