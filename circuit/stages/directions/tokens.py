"""``directions show --tokens``: which tokens a direction promotes and suppresses.

The *direct* effect, through the model's own tail (final norm, head, soft-cap, scaling). What is written to the residual
stream at any layer is still in it after the last block, unless a later block takes it away. So at real residuals h, the last block's
output at the last token of each reference prompt,

    difference = tail(h + c ‖h‖ v) − tail(h − c ‖h‖ v) , c = 0.1 ,

minus its mean over the vocabulary, which moves no probability. It is the central difference of the tail at h, odd in c, so
it differs from the linearised effect 2c‖h‖ J v by terms of order c³ only, and unlike W v it has the final norm in it: what of v
lies along h, the norm takes out. In units of ``steer`` it is the step from −0.1 to +0.1. For a direction of an early layer it leaves out
what the later blocks make of it, which steering shows.

Given for each token: the mean over the prompts, the smallest and the largest. Beside them, what chance gives: the largest difference of
any token for ``N_RANDOM`` random directions of the same step, mean and 95 % quantile.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from circuit.artifacts.steering_files.files import Direction
from circuit.errors import UsageError
from circuit.methods.linear.unit_vectors import random_unit_vectors
from circuit.stages.rows.prompting import encode, parse_prompts
from circuit.stages.rows.questions import Array
from circuit.stages.rows.same_weights import check_model
from circuit.values.prompt_format import RAW, PromptFormat

COEFFICIENT = 0.1
N_RANDOM = 40
PROMPTS = (
    "The train leaves in twenty minutes.",
    "She put the letter on the kitchen table and",
    "What is the largest lake in Africa?",
    "Please write a short note to my neighbour.",
    "def area(width, height):",
    "On the second day it rained, so",
    "I have never understood why people",
    "12 + 30 =",
)


def the_one(chosen: Sequence[Direction]) -> Direction:
    """Return the only direction, or the recommended one."""
    recommended = [each for each in chosen if each.extra.get("recommended")]
    found = list(chosen) if len(chosen) == 1 else recommended
    if len(found) != 1:
        message = f"tokens are those of one direction, not of {len(chosen)}"
        raise UsageError(message, hint="choose one with --name and --layer")
    return found[0]


def token_prompts(given: str | None) -> list[str]:
    """Return the texts at whose last token to look: those given, or ``PROMPTS``."""
    if given is None:
        return list(PROMPTS)
    parsed = parse_prompts(given)
    return parsed if isinstance(parsed, list) else parsed.texts


def promoted_tokens(
    model: Any,
    direction: Direction,
    *,
    prompts: Sequence[str] = PROMPTS,
    top: int = 10,
    seed: int = 0,
    allow_other_model: bool = False,
) -> dict[str, Any]:
    """Return the ``top`` tokens that ``direction`` promotes and suppresses most, and what random ones do."""
    from circuit.model.interventions.steering import check_fits

    check_model(direction, model, allow_other=allow_other_model)
    check_fits(model, direction.layer, direction.vector)
    form = PromptFormat(chat=direction.format == "chat")
    (found,), random = promoted_by(model, [direction.vector], prompts, form, top=top, seed=seed)
    return {
        "name": direction.name,
        "site": direction.site,
        "layer": direction.layer,
        "coefficient": COEFFICIENT,
        "prompts": list(prompts),
        "n_prompts": len(prompts),
        **found,
        "random": random,
        "n_random": N_RANDOM,
        "seed": seed,
    }


def promoted_by(
    model: Any,
    vectors: Sequence[Array],
    prompts: Sequence[str] = PROMPTS,
    form: PromptFormat = RAW,
    *,
    top: int = 10,
    seed: int = 0,
) -> tuple[list[dict[str, Any]], list[float]]:
    """Return what each unit vector promotes and suppresses most, and what the strongest token of random ones has."""
    residuals, found = _residuals(model, prompts, form), []
    for vector in vectors:
        moved = _differences(model, residuals, vector)
        mean = moved.mean(axis=0)
        order = np.argsort(-mean, kind="stable")
        promoted, suppressed = order[:top], order[::-1][:top]
        found.append(
            {
                "promoted": _listed(model, moved, mean, promoted),
                "suppressed": _listed(model, moved, mean, suppressed),
            }
        )
    return found, _chance(model, residuals, seed)


def _residuals(model: Any, prompts: Sequence[str], form: PromptFormat) -> Array:
    """Return what the last block gives at the last token of each prompt, (n_prompts, d_model)."""
    from circuit.model.forward.last_token import last_residuals

    last = model.n_layers - 1
    return last_residuals(model, encode(model, list(prompts), form), [last])[last]


def _differences(model: Any, residuals: Array, vector: Array) -> Array:
    """Return the centred difference of logits at each residual, (n_prompts, vocabulary)."""
    from circuit.model.gradients.tail_difference import tail_difference

    steps = COEFFICIENT * np.linalg.norm(residuals, axis=1, keepdims=True) * vector
    return tail_difference(model, residuals, steps)


def _chance(model: Any, residuals: Array, seed: int) -> list[float]:
    """Return the largest difference of any token for random directions: mean and 95 % quantile."""
    drawn = random_unit_vectors(np.random.default_rng(seed), (N_RANDOM, residuals.shape[1]))
    largest = [float(_differences(model, residuals, v).mean(axis=0).max()) for v in drawn]
    return [round(float(np.mean(largest)), 4), round(float(np.quantile(largest, 0.95)), 4)]


def _listed(model: Any, moved: Array, mean: Array, ids: Array) -> list[dict[str, Any]]:
    from circuit.model.forward.token_states import token_texts

    return [
        {
            "id": int(i),
            "token": text,
            "difference": round(float(mean[i]), 4),
            "low": round(float(moved[:, i].min()), 4),
            "high": round(float(moved[:, i].max()), 4),
        }
        for i, text in zip(ids, token_texts(model, ids.tolist()), strict=True)
    ]
