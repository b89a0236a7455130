"""Find out what a language model represents, in which direction, and whether it uses it.

``circuit.stages`` holds one file per pipeline command, ``circuit.model`` is the only code that
touches MLX, ``circuit.methods`` is array mathematics, ``circuit.artifacts`` every file format,
``circuit.plots`` every figure and ``circuit.cli`` what a person types. ``circuit.api`` is what a
notebook imports; its names are also here, and are imported when they are first used: ``import
circuit`` costs nothing.
"""

from circuit.values.version import VERSION

TYPE_CHECKING = False  # so type checkers read it; ``typing`` would take longer than all the rest
if TYPE_CHECKING:
    from circuit.api import (
        Coherence,
        Direction,
        LayerGain,
        Model,
        SteeredText,
        create_contrast_vector,
        find_best_layers_for_steering,
        generate_with_steering,
        load,
        run,
    )

__version__ = VERSION
__all__ = [
    "Coherence",
    "Direction",
    "LayerGain",
    "Model",
    "SteeredText",
    "create_contrast_vector",
    "find_best_layers_for_steering",
    "generate_with_steering",
    "load",
    "run",
]


def __getattr__(name: str) -> object:
    if name in __all__:
        from circuit import api

        return getattr(api, name)
    message = f"module `circuit` has no attribute `{name}`"
    raise AttributeError(message)
