"""A direction from one pair of prompts, d = h_positive - h_negative at the last token, or from one prompt, d = h_positive.

``separation`` is 1 - cos(h_positive, h_negative). One pair is no sample:
nothing is said about how well the direction separates anything; ``circuit directions`` does that.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from circuit.artifacts.steering_files.files import Direction
from circuit.errors import DataError
from circuit.stages.rows.prompting import encode
from circuit.values.layers import parse_layers
from circuit.values.prompt_format import PromptFormat

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Pair:
    """Two prompts, or only the positive one, and what to call their difference."""

    positive: str
    negative: str | None
    name: str = "direction"
    positive_label: str = "positive"
    negative_label: str = "negative"


def extract_direction(
    model: Any, pair: Pair, *, layer: str | None, form: PromptFormat
) -> Direction:
    """Take the difference of the two prompts' last-token residuals after block ``layer``, or the residual of the only one.

    The default layer is the middle of the model.
    """
    at = parse_layers(layer or "50%", range(model.n_layers), model.n_layers)
    if len(at) != 1:
        message = f"`{layer}` names {len(at)} layers, a direction has one"
        raise DataError(message, hint="name one layer with --layer")
    prompts = [text for text in (pair.positive, pair.negative) if text is not None]
    rows = _last_residuals(model, prompts, at[0], form)
    difference = rows[0].astype(np.float64) - (rows[1] if len(rows) > 1 else 0)
    norm = float(np.linalg.norm(difference))
    if norm == 0:
        message = f"both prompts give the same residual at layer {at[0]}"
        raise DataError(message, hint="the two prompts must differ before their last token")
    return Direction(
        name=pair.name,
        site="resid_post",
        layer=at[0],
        vector=(difference / norm).astype(np.float32),
        norm=norm,
        method="pair" if len(rows) > 1 else "single",
        positive_label=pair.positive_label,
        negative_label=pair.negative_label if len(rows) > 1 else None,
        model=model.identity,
        format=form.name,
        extra=_origin(pair, rows),
    )


def _origin(pair: Pair, rows: Array) -> dict[str, Any]:
    if pair.negative is None:
        return {"positive_prompt": pair.positive}
    return {
        "positive_prompt": pair.positive,
        "negative_prompt": pair.negative,
        "cosine_similarity": _cosine(rows[0], rows[1]),
    }


def _last_residuals(model: Any, texts: list[str], layer: int, form: PromptFormat) -> Array:
    from circuit.model.forward.last_token import last_residuals

    return last_residuals(model, encode(model, texts, form), [layer])[layer]


def _cosine(a: Array, b: Array) -> float:
    wide = a.astype(np.float64), b.astype(np.float64)
    return float(wide[0] @ wide[1] / (np.linalg.norm(wide[0]) * np.linalg.norm(wide[1])))
