"""Find out what a language model represents, in which direction, and whether it uses it.

``circuit.stages`` holds one file per pipeline command, ``circuit.model`` is the only code that
touches MLX, ``circuit.methods`` is array mathematics, ``circuit.artifacts`` every file format,
``circuit.plots`` every figure and ``circuit.cli`` what a person types.
"""

__version__ = "0.1.0"
