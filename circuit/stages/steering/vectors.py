"""Vectors that are ready to act: from a configuration, from two prompts, or from an array of numbers.

With the rule ``raw``, which is the default here, coefficient 1 adds the vector as it is, at its natural length. ``share`` relates what a
vector adds to the size of what is there: |c| · length / median ‖h‖ over the tokens of some prompts but the first, at the layer where it acts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from circuit.artifacts.steering_files.config import SteeringConfig, VectorSpec
from circuit.artifacts.steering_files.files import Direction, read_steering_file, unit
from circuit.errors import CircuitError
from circuit.stages.rows.same_weights import check_model
from circuit.stages.steering.from_prompts import Pair, extract_direction
from circuit.stages.steering.intervention import Intervention, Manner, Part
from circuit.stages.steering.source import Source, one_direction
from circuit.stages.steering.strength import resolve
from circuit.values.prompt_format import PromptFormat
from circuit.values.sites import Site

RULE = "raw"


@dataclass(frozen=True, eq=False)
class ReadyVector:
    """What a vector is called, what it does at coefficient 1, and its coefficient."""

    name: str
    intervention: Intervention
    coefficient: float

    @property
    def direction(self) -> Direction:
        """The direction that acts."""
        return self.intervention.parts[0].direction

    def described(self) -> dict[str, Any]:
        """Return what goes into a manifest."""
        direction = self.direction
        return {
            "name": self.name,
            "layer": direction.layer,
            "coefficient": self.coefficient,
            "norm": direction.norm,
            "method": direction.method,
            "intervention": self.intervention.described(),
        }


def check_config(config: SteeringConfig, path: Path) -> None:
    """Raise what can be known without a model."""
    for spec in config.vectors:
        _manner(spec).check([spec.coefficient])
    for file in config.files(path).values():
        read_steering_file(file)


def vectors_of(
    model: Any, config: SteeringConfig, path: Path, form: PromptFormat, *, allow_other: bool = False
) -> list[ReadyVector]:
    """Make every vector of the configuration at ``path``; its prompts are read in ``form``."""
    files = config.files(path)
    return [
        _ready(model, spec, files.get(spec.name), form, allow_other=allow_other)
        for spec in config.vectors
    ]


def _ready(
    model: Any, spec: VectorSpec, file: Path | None, form: PromptFormat, *, allow_other: bool
) -> ReadyVector:
    try:
        direction = _direction(model, spec, file, form)
        check_model(direction, model, allow_other=allow_other)
        if spec.normalize:
            direction = replace(direction, norm=1.0)
        return ready_vector(model, direction, spec.coefficient, _manner(spec), form)
    except CircuitError as error:
        raise type(error)(f"vector `{spec.name}`: {error.message}", hint=error.hint) from error


def ready_vector(
    model: Any, direction: Direction, coefficient: float, manner: Manner, form: PromptFormat
) -> ReadyVector:
    """Find out what coefficient 1 is, and check that the vector fits the model."""
    from circuit.model.interventions.steering import check_fits

    check_fits(model, direction.layer, direction.vector)
    manner.check([coefficient])
    intervention = resolve(model, [Part(direction)], manner, form)
    return ReadyVector(direction.name, intervention, coefficient)


def direction_of_array(vector: Any, layer: int, name: str) -> Direction:
    """Return an array of numbers ``(d_model,)`` as a direction; its length is its natural one."""
    direction, length = unit(vector, f"vector `{name}`")
    return Direction(name, "resid_post", layer, direction, length, method="given")


def shares(
    model: Any, vectors: Sequence[ReadyVector], encoded: Sequence[Any]
) -> list[float | None]:
    """Return for each vector how long what it adds is, as a share of the median residual of the prompts ``encoded``."""
    from circuit.model.forward.norms import median_norms

    sites = [Site(v.direction.site, v.direction.layer) for v in vectors]
    norms = median_norms(model, encoded, list(dict.fromkeys(sites))) if vectors else {}
    return [_share(v, norms[site]) for v, site in zip(vectors, sites, strict=True)]


def _share(vector: ReadyVector, norm: float) -> float | None:
    from circuit.model.interventions.operators import find_operator

    if not find_operator(vector.intervention.manner.operator).adds_vector:
        return None
    unit = vector.intervention.parts[0].unit
    relative = 1.0 if unit is None else unit / norm
    return abs(vector.coefficient) * vector.intervention.factor * relative


def _manner(spec: VectorSpec) -> Manner:
    return Manner(spec.rule or RULE, spec.operator, spec.scope)


def _direction(model: Any, spec: VectorSpec, file: Path | None, form: PromptFormat) -> Direction:
    layer = None if spec.layer is None else str(spec.layer)
    if file is not None:
        source = Source(file, spec.direction, layer)
        return replace(one_direction(source, model.n_layers), name=spec.name)
    pair = Pair(str(spec.positive_prompt), spec.negative_prompt, spec.name)
    return extract_direction(model, pair, layer=layer, form=form)
