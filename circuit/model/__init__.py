"""The only code that touches MLX: loading, taps, capture, steering, generation.

Importing this package finds a fast BLAS first: MLX binds its matrix products when it is imported,
so the order cannot be left to the caller.
"""

from circuit.model.machine import runtime

runtime.prepare()
