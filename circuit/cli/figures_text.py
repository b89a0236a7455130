"""How introspection commands write a number with its interval, and what few prompts allow to be said."""

from collections.abc import Sequence

ENOUGH = 10  # groups


def estimate(found: Sequence[float | None], form: str = ".3f") -> str:
    """Write a value and the interval that it has, if it has one."""
    value, low, high = found
    if value is None:
        return "-"
    if low is None or high is None:
        return format(value, form)
    return f"{value:{form}} [{low:{form}}, {high:{form}}]"


def counted(n: int, noun: str = "prompt") -> str:
    """Return ``1 prompt`` or ``2 prompts``."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def claim(n_groups: int, what: str = "prompt") -> list[str]:
    """Return the line that says that few groups are an example; nothing where there are enough."""
    if n_groups >= ENOUGH:
        return []
    groups = counted(n_groups, f"independent {what}")
    return [f"{groups}: an example, not a finding (under {ENOUGH} nothing is claimed)."]
