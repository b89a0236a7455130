"""bfloat16 without a numpy type for it: the upper 16 bits of a float32.

Rounding is to nearest, ties to even: add 0x7FFF plus the lowest bit that stays, then drop the lower
half.
"""

import numpy as np
from numpy.typing import NDArray


def to_bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Round finite float32 to the nearest bfloat16 (ties to even), as its 16 bits."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (rounded >> np.uint32(16)).astype(np.uint16)


def from_bfloat16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Widen bfloat16, given as its 16 bits, to float32."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
