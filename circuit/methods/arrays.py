"""The array type of the package; shapes and units are in each docstring."""

from typing import Any, TypeAlias

from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
