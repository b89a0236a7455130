"""Two models that are asked the same: one after the other, so that there is never more than one in memory.

The second may be the first with a LoRA adapter. What is kept of a model that was asked is what the question returned, and its tokenizer
if the question kept that.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from circuit.errors import UsageError
from circuit.stages.legacy import ModelOptions

T = TypeVar("T")


def two_models(
    first: ModelOptions, second: str | None, adapter: Path | None, *, option: str
) -> tuple[ModelOptions, ModelOptions]:
    """Return both models' options; ``second`` is by default the first, which the adapter then changes.

    Raises ``UsageError`` where neither a second model nor an adapter is given.
    """
    if second is None and adapter is None:
        message = f"there is nothing to compare `{first.id}` with"
        raise UsageError(message, hint=f"name another model with {option}, or an --adapter")
    return first, replace(first, id=first.id if second is None else second, adapter=adapter)


def name_of(options: ModelOptions) -> str:
    """Return what a model is called in what is printed."""
    return options.id if options.adapter is None else f"{options.id} + {options.adapter.name}"


def in_turn(options: Sequence[ModelOptions], question: Callable[[object], T]) -> list[T]:
    """Load each model, ask it, and let it go before the next is loaded."""
    answers = []
    for each in options:
        answers.append(question(each.load()))
        _release()
    return answers


def _release() -> None:
    from circuit.model.machine.release import release

    release()
