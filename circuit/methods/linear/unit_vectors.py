"""Random unit vectors, uniform on the sphere: z / ‖z‖, z ~ N(0, I) (Muller 1959).

The controls of every measurement of a direction: what any vector of the same length does.
"""

import numpy as np
import numpy.typing as npt


def random_unit_vectors(
    rng: np.random.Generator, shape: tuple[int, ...]
) -> npt.NDArray[np.float32]:
    """Draw unit vectors along the last axis of ``shape`` (..., d), float32."""
    drawn = rng.standard_normal(shape)
    drawn /= np.linalg.norm(drawn, axis=-1, keepdims=True)
    return drawn.astype(np.float32)
