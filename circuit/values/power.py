"""The power of a design: the smallest effect that it would have found."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Power:
    """What a design would have found in 80 % of cases.

    ``detectable`` is the smallest such AUROC, None where there is none below 1; ``groups`` are
    those that an AUROC of ``target`` needs, at the same size and correlation.
    """

    detectable: float | None
    target: float
    groups: int
