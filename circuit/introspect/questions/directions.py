"""How alike the directions of some steering files are: ``circuit directions compare``."""

from dataclasses import dataclass, replace

from circuit.stages.directions import compare
from circuit.stages.directions.request import CompareRequest


@dataclass(frozen=True, kw_only=True)
class DirectionsRequest(CompareRequest):
    r"""Count which directions are orthogonal, correlated or aligned, at each site and layer.

    Examples:
      circuit introspect directions directions.safetensors computation.npz
      circuit introspect directions directions.safetensors computation.npz --threshold 0.1 \
        -o cos.json
    """


COMMAND = replace(compare.COMMAND, request=DirectionsRequest)
