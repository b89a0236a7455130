"""Directions, interventions and short runs for tests of steering."""

import numpy as np
from checkpoints import unit_vector

from circuit.artifacts.directions.direction import Direction
from circuit.stages.steering.intervention import Intervention
from circuit.stages.steering.settings import SteerSettings
from circuit.stages.steering.steer import steer
from circuit.values.prompt_format import RAW
from circuit.values.sampling import Sampling

SHORT = Sampling(6)


def direction(model, layer=1, name="d", seed=0, norm=2.0, **fields):
    vector = unit_vector(model.d_model, seed)
    return Direction(name, "resid_post", layer, vector, norm, model=model.identity, **fields)


def answered(
    model, at, prompts, coefficients, *, sampling=SHORT, session=None, condition=None, **more
):
    """Steer ``model`` along a direction or an intervention, on raw prompts."""
    intervention = at if isinstance(at, Intervention) else Intervention.of(at)
    settings = SteerSettings(coefficients=coefficients, sampling=sampling, **more)
    others = {} if session is None else {"session": session}
    return steer(model, intervention, prompts, RAW, settings, condition=condition, **others)


def outputs(result, coefficient):
    return [each.output for each in result.generations if each.coefficient == coefficient]


def states(model, intervention, coefficient, layer):
    """Return ``resid_post`` of a layer at every token of one prompt, (5, d_model)."""
    import mlx.core as mx

    from circuit.model.interventions.steering import steered
    from circuit.model.sites.sites import hidden_states
    from circuit.values.sites import Site

    site = Site("resid_post", layer)
    with steered(model, intervention.at(coefficient)):
        return np.array(hidden_states(model, mx.array([[3, 1, 4, 1, 5]]), [site])[site])[0]
