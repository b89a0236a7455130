"""What adding a concept does, over layers or over strengths, measured on texts that had no part in its direction.

At every point

    effect   how much likelier the concept's held-out texts became, in nats per token, beyond how much their neutral
             partners did: mean over positive − mean over neutral texts of Δ log p / T, teacher-forced
    kl       the damage: KL(steered ‖ as it is) per token of neutral prompts
    random   both for random directions of the same length at the same layer; p two-sided (``methods.uncertainty.p_values``)
    answers  the greedy answer to each prompt, with its coherence

Intervals are 95 % bootstrap over groups of texts, and over neutral prompts. A concept of too few texts has no held-out ones and no effect.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from circuit.artifacts.prompts.concept_files import find_concept
from circuit.artifacts.steering_files.files import Direction
from circuit.errors import UsageError
from circuit.methods.arrays import Array
from circuit.methods.linear.unit_vectors import random_unit_vectors
from circuit.methods.uncertainty.p_values import control_p
from circuit.stages.concepts.heldout import NEUTRAL, Yardstick
from circuit.stages.concepts.keeping import kept
from circuit.stages.concepts.library import concept_directions, layers_of
from circuit.stages.concepts.try_concepts import LAYER, NATURAL, STRENGTH
from circuit.stages.options import ActionOptions
from circuit.stages.rows.prompting import encode
from circuit.stages.run import Track, untracked
from circuit.stages.steering.generate import coherence, write
from circuit.stages.steering.neutral import neutral_prompts
from circuit.stages.steering.rules import check_action
from circuit.stages.steering.source import parse_number
from circuit.stages.steering.vectors import described, one_vector, shares
from circuit.values import schemas
from circuit.values.prompt_format import RAW, PromptFormat
from circuit.values.sampling import Sampling

STRENGTHS = tuple(step / 2 for step in range(1, 11))  # 0.5 to 5


@dataclass(frozen=True)
class Scan:
    """One concept over layers or over strengths; ``layers`` as they are written, ``strengths`` in natural lengths."""

    name: str
    over: str
    layers: str
    strengths: tuple[float, ...]
    prompts: tuple[str, ...] = ()
    controls: int = 5
    manner: ActionOptions = NATURAL
    form: PromptFormat = RAW
    sampling: Sampling = field(default_factory=Sampling)
    n_boot: int = 1000
    seed: int = 0

    def check(self, n_layers: int) -> None:
        """Raise where there is not one line of points."""
        n_at = len(layers_of(self.layers, n_layers))
        if self.over == "strengths" and n_at != 1:
            message = f"`{self.layers}` names {n_at} layers"
            raise UsageError(
                "one-layer-expected", message, hint="a scan over strengths has one --layer"
            )


def planned(
    name: str,
    over: str,
    layers: str | None,
    strengths: str | None,
    *,
    form: PromptFormat | None = None,
    rule: str = "raw",
    **more: Any,
) -> Scan:
    """Read a scan as it is written on a command line; raise what can be known without a model."""
    find_concept(name)
    if over not in ("layers", "strengths"):
        raise UsageError(
            "unknown-scan", f"unknown scan `{over}`", hint="use --over layers or strengths"
        )
    along = over == "layers"
    at = parse_strengths(strengths) if strengths else (STRENGTH,) if along else STRENGTHS
    if along and len(at) != 1:
        raise UsageError(
            "one-strength-expected",
            "a scan over layers has one strength",
            hint="or use --over strengths",
        )
    manner = ActionOptions(rule=rule)
    check_action(manner, at)
    where = layers or ("all" if along else LAYER)
    return Scan(name, over, where, at, manner=manner, form=form or RAW, **more)


def parse_strengths(text: str) -> tuple[float, ...]:
    """Read numbers between commas."""
    return tuple(parse_number(part, "a strength") for part in text.split(","))


def scan(
    model: Any,
    asked: Scan,
    out: Path | None = None,
    *,
    force: bool = False,
    track: Track = untracked,
) -> tuple[dict[str, Any], bool]:
    """Measure every point; return the results, and whether they were at ``out`` already."""
    asked.check(model.n_layers)
    layers = layers_of(asked.layers, model.n_layers)
    directions = concept_directions(model, asked.name, layers, track=track)
    at_one = [one_vector(model, d, 1.0, asked.manner, asked.form) for d in directions]
    parameters = {**asdict(asked), "vectors": [described(vector) for vector in at_one]}
    return kept(
        out,
        schemas.CONCEPT_SCAN,
        model,
        parameters,
        lambda: _results(model, asked, directions, track),
        force=force,
    )


def _results(
    model: Any, asked: Scan, directions: Sequence[Direction], track: Track
) -> dict[str, Any]:
    yardstick = Yardstick.of(model, asked.name, asked.n_boot)
    at_one = [one_vector(model, each, 1.0, asked.manner, asked.form) for each in directions]
    # By layer: what strength 1 adds, as a share of the residual there.
    size = shares(model, at_one, neutral_prompts(model, RAW)[:NEUTRAL])
    share = {each.layer: part for each, part in zip(directions, size, strict=True)}
    encoded = encode(model, asked.prompts, asked.form) if asked.prompts else []
    points = [(d, strength) for d in directions for strength in asked.strengths]
    return {
        "name": asked.name,
        "over": asked.over,
        "n_held_out": len(yardstick.texts),
        "n_groups": len(np.unique(yardstick.groups)),
        "n_neutral": len(yardstick.neutral),
        "controls": asked.controls,
        "unsteered": _answers(model, asked, encoded, []),
        "points": [
            {
                **_point(model, asked, yardstick, encoded, direction, strength),
                "share": _times(share[direction.layer], strength),
            }
            for direction, strength in track(points, "Measuring", len(points))
        ],
    }


def _point(
    model: Any,
    asked: Scan,
    yardstick: Yardstick,
    encoded: Sequence[Any],
    direction: Direction,
    strength: float,
) -> dict[str, Any]:
    vector = one_vector(model, direction, strength, asked.manner, asked.form)
    steerings = vector.at()
    effect = yardstick.contrast(yardstick.effect(model, steerings))
    others = [vector.with_vectors([each]).at() for each in _random(asked, direction)]
    random = [yardstick.contrast(yardstick.effect(model, each)) for each in others]
    effects = [each[0] for each in random if each is not None]
    return {
        "layer": direction.layer,
        "strength": strength,
        "norm": direction.norm,
        "auroc": direction.quality.get("auroc"),
        "effect": effect,
        "random_effects": effects,
        "p": None if effect is None else control_p(effect[0], effects),
        "kl": yardstick.mean(yardstick.damage(model, steerings)),
        "random_kl": [float(yardstick.damage(model, each).mean()) for each in others],
        "answers": _answers(model, asked, encoded, steerings),
    }


def _times(share: float | None, strength: float) -> float | None:
    return None if share is None else share * abs(strength)


def _random(asked: Scan, direction: Direction) -> Array:
    """Return unit vectors, uniform on the sphere: the same at every strength, others at every layer."""
    rng = np.random.default_rng([asked.seed, direction.layer])
    return random_unit_vectors(rng, (asked.controls, direction.vector.size))


def _answers(
    model: Any, asked: Scan, encoded: Sequence[Any], steerings: Sequence[Any]
) -> list[dict[str, Any]]:
    if not encoded:
        return []
    written = write(model, encoded, steerings, asked.sampling)
    measured = coherence(model, encoded, written, steerings)
    return [
        {"prompt": prompt, "text": answer.text, **asdict(measure)}
        for prompt, answer, measure in zip(asked.prompts, written, measured, strict=True)
    ]
