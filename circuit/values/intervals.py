"""An estimate with its interval, as results hold it."""

from typing import TypeAlias

Interval: TypeAlias = tuple[float, float, float]  # value, low, high
Bounds: TypeAlias = tuple[float, float]  # low, high
