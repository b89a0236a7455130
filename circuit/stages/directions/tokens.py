"""``directions show --tokens``: which tokens a direction promotes and suppresses.

The *direct* effect, through the model's own tail (final norm, head, soft-cap, scaling). What is
written to the residual stream at any layer is still in it after the last block, unless a later
block removes it. So at real residuals h, the last block's output at the last token of each
reference prompt,

    difference = tail(h + c ‖h‖ v) − tail(h − c ‖h‖ v) , c = 0.1 ,

minus its mean over the vocabulary, which moves no probability. It is the central difference of the
tail at h, odd in c, so it differs from the linearised effect 2c‖h‖ J v by terms of order c³ only,
and unlike W v it includes the final norm, which removes the part of v along h. In units of
``steer`` it is the step from −0.1 to +0.1. For a direction of an early layer it leaves out the
effect of the later blocks, which steering shows.

Given for each token: the mean over the prompts, the smallest and the largest. The chance level is
the largest difference of any token for ``N_RANDOM`` random directions of the same step, mean and 95
% quantile.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from circuit.artifacts.directions.direction import Direction
from circuit.errors import UsageError
from circuit.methods.arrays import Array
from circuit.methods.linear.unit_vectors import random_unit_vectors
from circuit.present.document import Cell, Number, Part, Table, Text
from circuit.stages.rows.prompting import encode, prompt_texts
from circuit.stages.rows.same_weights import check_model
from circuit.values.prompt_format import RAW, PromptFormat

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel

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


@dataclass(frozen=True, kw_only=True)
class TokenEffect:
    """The difference of a token's logit: mean over the prompts, smallest, largest."""

    id: int
    token: str
    difference: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class TokenEffects:
    """The tokens that a vector promotes and suppresses most."""

    promoted: list[TokenEffect]
    suppressed: list[TokenEffect]


@dataclass(frozen=True, kw_only=True)
class PromotedTokens(TokenEffects):
    """The tokens of one direction; ``random`` is the strongest token of random ones: mean, 95 %."""

    name: str
    site: str
    layer: int
    coefficient: float
    prompts: list[str]
    n_prompts: int
    random: list[float]
    n_random: int
    seed: int


def the_one(chosen: Sequence[Direction]) -> Direction:
    """Return the only direction, or the recommended one."""
    recommended = [each for each in chosen if each.extra.get("recommended")]
    found = list(chosen) if len(chosen) == 1 else recommended
    if len(found) != 1:
        message = f"tokens are shown of one direction, and {len(chosen)} are chosen"
        hint = "choose one with --name and --layer"
        raise UsageError("several-directions", message, hint=hint, n=len(chosen))
    return found[0]


def token_prompts(given: str | None) -> list[str]:
    """Return the texts at whose last token the effect is measured: ``PROMPTS`` by default."""
    if given is None:
        return list(PROMPTS)
    return prompt_texts(given)


def promoted_tokens(
    model: "LoadedModel",
    direction: Direction,
    *,
    prompts: Sequence[str] = PROMPTS,
    top: int = 10,
    seed: int = 0,
    allow_other_model: bool = False,
) -> PromotedTokens:
    """Return the ``top`` tokens that ``direction`` promotes and suppresses most, and chance."""
    from circuit.model.interventions.steering import check_fits

    check_model(direction, model, allow_other=allow_other_model)
    check_fits(model, direction.layer, direction.vector)
    form = PromptFormat(chat=direction.format == "chat")
    (found,), random = promoted_by(model, [direction.vector], prompts, form, top=top, seed=seed)
    return PromotedTokens(
        name=direction.name,
        site=direction.site,
        layer=direction.layer,
        coefficient=COEFFICIENT,
        prompts=list(prompts),
        n_prompts=len(prompts),
        promoted=found.promoted,
        suppressed=found.suppressed,
        random=random,
        n_random=N_RANDOM,
        seed=seed,
    )


def promoted_by(
    model: "LoadedModel",
    vectors: Sequence[Array],
    prompts: Sequence[str] = PROMPTS,
    form: PromptFormat = RAW,
    *,
    top: int = 10,
    seed: int = 0,
) -> tuple[list[TokenEffects], list[float]]:
    """Return the tokens of each unit vector, and the strongest token of random vectors."""
    residuals, found = _residuals(model, prompts, form), []
    for vector in vectors:
        moved = _differences(model, residuals, vector)
        mean = moved.mean(axis=0)
        order = np.argsort(-mean, kind="stable")
        promoted, suppressed = order[:top], order[::-1][:top]
        found.append(
            TokenEffects(
                promoted=_effects(model, moved, mean, promoted),
                suppressed=_effects(model, moved, mean, suppressed),
            )
        )
    return found, _chance(model, residuals, seed)


def _residuals(model: "LoadedModel", prompts: Sequence[str], form: PromptFormat) -> Array:
    """Return what the last block gives at the last token of each prompt, (n_prompts, d_model)."""
    from circuit.model.forward.last_token import last_residuals

    last = model.n_layers - 1
    return last_residuals(model, encode(model, list(prompts), form), [last])[last]


def _differences(model: "LoadedModel", residuals: Array, vector: Array) -> Array:
    """Return the centred difference of logits at each residual, (n_prompts, vocabulary)."""
    from circuit.model.gradients.tail_difference import tail_difference

    steps = COEFFICIENT * np.linalg.norm(residuals, axis=1, keepdims=True) * vector
    return tail_difference(model, residuals, steps)


def _chance(model: "LoadedModel", residuals: Array, seed: int) -> list[float]:
    """Return the largest difference of any token for random directions: mean, 95 % quantile."""
    drawn = random_unit_vectors(np.random.default_rng(seed), (N_RANDOM, residuals.shape[1]))
    largest = [float(_differences(model, residuals, v).mean(axis=0).max()) for v in drawn]
    return [round(float(np.mean(largest)), 4), round(float(np.quantile(largest, 0.95)), 4)]


def _effects(model: "LoadedModel", moved: Array, mean: Array, ids: Array) -> list[TokenEffect]:
    from circuit.model.forward.token_states import token_texts

    return [
        TokenEffect(
            id=int(i),
            token=text,
            difference=round(float(mean[i]), 4),
            low=round(float(moved[:, i].min()), 4),
            high=round(float(moved[:, i].max()), 4),
        )
        for i, text in zip(ids, token_texts(model, ids.tolist()), strict=True)
    ]


def present_tokens(found: PromotedTokens) -> list[Part]:
    """Show what was measured, then a table of each side."""
    step, (mean, bound) = f"{found.coefficient:g}", found.random
    lines = [
        f"Tokens of {found.name} ({found.site} {found.layer}): logits at +{step} v |h| minus at "
        f"-{step} v |h|",
        f"(|h| and h of the last block, {found.n_prompts} prompts, minus the mean over the "
        "vocabulary; direct effect only, without the later blocks; the strongest token of a random "
        f"direction has {mean:.2f}, 95 % below {bound:.2f})",
    ]
    return [
        Text(lines),
        _side("promoted", found.promoted),
        _side("suppressed", found.suppressed),
    ]


def _side(name: str, effects: Sequence[TokenEffect]) -> Table:
    rows: list[list[Cell]] = [
        [
            repr(each.token),
            Number(each.difference, "+.2f"),
            f"{each.low:+.2f} to {each.high:+.2f}",
        ]
        for each in effects
    ]
    return Table(header=[name, "logits", "over prompts"], rows=rows)
