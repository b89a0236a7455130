"""A direction from prompts: d = h_positive − h_negative at the last token, or d = h_positive.

``separation`` is 1 − cos(h_positive, h_negative). One pair is no sample: how well the direction
separates anything is unknown; ``circuit directions`` measures that.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from circuit.artifacts.directions.direction import Direction
from circuit.errors import DataError
from circuit.methods.arrays import Array
from circuit.stages.rows.prompting import encode
from circuit.values.layers import parse_layers
from circuit.values.prompt_format import PromptFormat

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel

MIDDLE = "50%"


def extract_direction(
    model: "LoadedModel",
    positive: str,
    negative: str | None = None,
    *,
    layer: str | None,
    form: PromptFormat,
    name: str = "direction",
    labels: tuple[str, str] = ("positive", "negative"),
) -> Direction:
    """Return the difference of two prompts' last residuals after block ``layer``, or one residual.

    The default layer is the middle of the model. Raises ``DataError`` for several layers, and for
    two prompts with equal residuals.
    """
    at = parse_layers(layer or MIDDLE, range(model.n_layers), model.n_layers)
    if len(at) != 1:
        message = f"`{layer}` names {len(at)} layers, and a direction has one"
        raise DataError("one-layer-expected", message, hint="name one layer", n_layers=len(at))
    prompts = [text for text in (positive, negative) if text is not None]
    rows = _last_residuals(model, prompts, at[0], form)
    difference = rows[0].astype(np.float64) - (rows[1] if len(rows) > 1 else 0)
    norm = float(np.linalg.norm(difference))
    if norm == 0:
        message = f"both prompts have the same residual at layer {at[0]}"
        hint = "the two prompts must differ before their last token"
        raise DataError("equal-residuals", message, hint=hint, layer=at[0])
    return Direction(
        name=name,
        site="resid_post",
        layer=at[0],
        vector=(difference / norm).astype(np.float32),
        norm=norm,
        method="pair" if len(rows) > 1 else "single",
        positive_label=labels[0],
        negative_label=labels[1] if len(rows) > 1 else None,
        model=model.identity,
        format=form.name,
        extra=_origin(prompts, rows),
    )


def _origin(prompts: Sequence[str], rows: Array) -> Mapping[str, object]:
    if len(prompts) == 1:
        return {"positive_prompt": prompts[0]}
    return {
        "positive_prompt": prompts[0],
        "negative_prompt": prompts[1],
        "cosine_similarity": _cosine(rows[0], rows[1]),
    }


def _last_residuals(
    model: "LoadedModel", texts: Sequence[str], layer: int, form: PromptFormat
) -> Array:
    from circuit.model.forward.last_token import last_residuals

    return last_residuals(model, encode(model, texts, form), [layer])[layer]


def _cosine(a: Array, b: Array) -> float:
    wide = a.astype(np.float64), b.astype(np.float64)
    return float(wide[0] @ wide[1] / (np.linalg.norm(wide[0]) * np.linalg.norm(wide[1])))
