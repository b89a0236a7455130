"""Interventions from a configuration, from two prompts, or from an array of numbers.

With the rule ``raw``, the default here, coefficient 1 adds the vector at its natural length.
``shares`` relates what an intervention adds to the size of the residual: |c| · length / median ‖h‖
over the tokens of some prompts but the first, at the layer where it acts.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from circuit.artifacts.directions.direction import Direction, unit
from circuit.artifacts.steering_files.config import SteeringConfig, VectorSpec
from circuit.artifacts.steering_files.files import read_steering_file
from circuit.errors import CircuitError
from circuit.stages.options import ActionOptions
from circuit.stages.rows.same_weights import check_model
from circuit.stages.steering.from_prompts import extract_direction
from circuit.stages.steering.intervention import Intervention, Term
from circuit.stages.steering.rules import check_action, resolve
from circuit.stages.steering.source import Source, one_direction
from circuit.values.prompt_format import PromptFormat
from circuit.values.sites import Site

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel
    from circuit.model.prompts.tokens import EncodedPrompt

RULE = "raw"


def described(vector: Intervention) -> dict[str, object]:
    """Return the manifest entry of one vector with its coefficient."""
    direction = vector.terms[0].direction
    return {
        "name": direction.name,
        "layer": direction.layer,
        "coefficient": vector.coefficient,
        "norm": direction.norm,
        "method": direction.method,
        "intervention": vector.described(),
    }


def check_config(config: SteeringConfig, path: Path) -> None:
    """Raise what can be known without a model."""
    for spec in config.vectors:
        check_action(_action(spec), [spec.coefficient])
    for file in config.files(path).values():
        read_steering_file(file)


def vectors_of(
    model: "LoadedModel",
    config: SteeringConfig,
    path: Path,
    form: PromptFormat,
    *,
    allow_other: bool = False,
) -> list[Intervention]:
    """Make every vector of the configuration at ``path``; its prompts are read in ``form``."""
    files = config.files(path)
    return [
        _vector(model, spec, files.get(spec.name), form, allow_other=allow_other)
        for spec in config.vectors
    ]


def _vector(
    model: "LoadedModel",
    spec: VectorSpec,
    file: Path | None,
    form: PromptFormat,
    *,
    allow_other: bool,
) -> Intervention:
    try:
        direction = _direction(model, spec, file, form)
        check_model(direction, model, allow_other=allow_other)
        if spec.normalize:
            direction = replace(direction, norm=1.0)
        return one_vector(model, direction, spec.coefficient, _action(spec), form)
    except CircuitError as error:
        raise error.within(f"vector `{spec.name}`") from error


def one_vector(
    model: "LoadedModel",
    direction: Direction,
    coefficient: float,
    action: ActionOptions,
    form: PromptFormat,
) -> Intervention:
    """Return the intervention of one direction; raise where it does not fit the model."""
    from circuit.model.interventions.steering import check_fits

    check_fits(model, direction.layer, direction.vector)
    check_action(action, [coefficient])
    return replace(resolve(model, [Term(direction)], action, form), coefficient=coefficient)


def direction_of_array(vector: ArrayLike, layer: int, name: str) -> Direction:
    """Return an array of numbers ``(d_model,)`` as a direction; its length is its natural one."""
    direction, length = unit(vector, f"vector `{name}`")
    return Direction(
        name=name, site="resid_post", layer=layer, vector=direction, norm=length, method="given"
    )


def shares(
    model: "LoadedModel", vectors: Sequence[Intervention], encoded: "Sequence[EncodedPrompt]"
) -> list[float | None]:
    """Return each vector's added length as a share of the prompts' median residual.

    None for an operator that adds no length.
    """
    from circuit.model.forward.norms import median_norms

    directions = [vector.terms[0].direction for vector in vectors]
    sites = [Site(direction.site, direction.layer) for direction in directions]
    norms = median_norms(model, encoded, list(dict.fromkeys(sites))) if vectors else {}
    return [_share(vector, norms[site]) for vector, site in zip(vectors, sites, strict=True)]


def _share(vector: Intervention, norm: float) -> float | None:
    from circuit.model.interventions.operators import find_operator

    if not find_operator(vector.action.operator).adds_vector:
        return None
    length = vector.terms[0].unit
    relative = 1.0 if length is None else length / norm
    return abs(vector.coefficient) * vector.factor * relative


def _action(spec: VectorSpec) -> ActionOptions:
    return ActionOptions(rule=spec.rule or RULE, operator=spec.operator, scope=spec.scope)


def _direction(
    model: "LoadedModel", spec: VectorSpec, file: Path | None, form: PromptFormat
) -> Direction:
    layer = None if spec.layer is None else str(spec.layer)
    if file is not None:
        source = Source(file, spec.direction, layer)
        return replace(one_direction(source, model.n_layers), name=spec.name)
    return extract_direction(
        model,
        str(spec.positive_prompt),
        spec.negative_prompt,
        layer=layer,
        form=form,
        name=spec.name,
    )
