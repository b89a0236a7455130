"""The frozen linear form of a function that is linear up to a norm, without knowing which norm.

Direct logit attribution divides a logit difference among what was added to the residual stream,
with the statistics of the final norm held constant: m(h) = v·h + m(0). Families norm differently
(RMS with weights w or 1 + w, LayerNorm with centring and bias), scale logits, tie heads. All of
them make m of the form

    m(h) = a·h / σ(h) + m(0),     σ(c·h) = c·σ(h) for c > 0

so v = a/σ(h). It is measured on the model's own tail: ∇m = (a − (a·h/σ)∇σ)/σ is parallel to ``a``
exactly where m = m(0). Newton's steps along the gradient lead to such a point h₀ near h; v is
∇m(h₀), scaled so that v·h = m(h) − m(0). The same function serves an attention's heads, through its
map and, in Gemma and OLMo, the norm after it. Without a norm ∇m is ``a`` everywhere.

That m has this form is checked: at another point h' the forms of two different logit differences
must have the same ratio as the tail's values there. A soft-cap, c·tanh(·/c), is not linear after
the norm: such logits are uncapped, and the result says so.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from circuit.errors import ModelError
from circuit.model.checkpoint.loading import LoadedModel
from circuit.model.forward.tail import tail_logits
from circuit.model.interventions.edits import Edit, edited
from circuit.model.sites.sites import Read, recording
from circuit.values.sites import Site

Array = npt.NDArray[np.float32]
Rows = Callable[[list[mx.array]], list[mx.array]]  # arrays (n, d_i) -> numbers (n,) of each row
STEPS = 12  # at most; usually three are enough
CAPS = ("final_logit_softcapping", "logits_soft_cap", "final_logit_soft_cap")


@dataclass(frozen=True, eq=False)
class Forms:
    """Linear forms: per array vectors v (n, d_i) and constants m(0) (n,); the undone soft-cap."""

    vectors: list[Array]
    constants: list[Array]
    cap: float | None = None


def frozen_forms(function: Rows, at: Sequence[Array]) -> Forms:
    """Return the frozen linear form of each row of each array.

    Number r of array i may depend on row r of array i only.
    """
    points = [mx.array(each) for each in at]
    # A factor keeps the direction, so h₀ can be searched near h; at 0 every σ has only its epsilon.
    zero = function([mx.zeros_like(each) for each in points])
    plain = function(points)
    found = points
    for _ in range(STEPS):
        values, slopes = _slopes(function, found)
        if _is_root(values, zero, plain):
            break
        found = [
            h - ((m - c) / mx.maximum((g * g).sum(axis=-1), 1e-30))[:, None] * g
            for h, m, c, g in zip(found, values, zero, slopes, strict=True)
        ]
        mx.eval(found)
    vectors = []
    for h, m, c, g in zip(points, plain, zero, slopes, strict=True):
        along = (g * h).sum(axis=-1)
        scale = mx.where(mx.abs(along) > 1e-30, (m - c) / along, 1.0)
        vectors.append(np.array(scale[:, None] * g))
    return Forms(vectors, [np.array(c) for c in zero])


def _is_root(values: list[mx.array], zero: list[mx.array], plain: list[mx.array]) -> bool:
    """Say whether m = m(0) in all rows, to rounding."""
    pairs = zip(values, zero, plain, strict=True)
    return all(bool((mx.abs(m - c) <= 1e-6 * mx.abs(p - c)).all()) for m, c, p in pairs)


def _slopes(function: Rows, at: list[mx.array]) -> tuple[list[mx.array], list[mx.array]]:
    """Return the numbers and the gradient of each with respect to its row."""

    def total(points: list[mx.array]) -> tuple[mx.array, list[mx.array]]:
        values = function(points)
        return sum((each.sum() for each in values), mx.array(0.0)), values

    (_, values), slopes = mx.value_and_grad(total)(at)
    return values, slopes


def logit_cap(model: LoadedModel) -> float | None:
    """Return c of the configured soft-cap c·tanh(·/c); mlx-lm may not apply it (Gemma 3)."""
    text = model.config.get("text_config", model.config)
    cap = next((text[name] for name in CAPS if text.get(name)), None)
    return None if cap is None else float(cap)


def plain_logits(model: LoadedModel, residuals: mx.array, cap: float | None) -> mx.array:
    """Return float32 logits (n, vocabulary) of final residuals, with a soft-cap undone."""
    logits = tail_logits(model, residuals).astype(mx.float32)
    if cap is None:
        return logits
    return cap * mx.arctanh(mx.clip(logits / cap, -1 + 1e-6, 1 - 1e-6))


def _differences(
    model: LoadedModel, answers: Sequence[int], others: Sequence[int], cap: float | None
) -> Callable[[mx.array], mx.array]:
    """Return the function from residuals (n, d_model) to logit(answer) − logit(other)."""
    pairs = mx.stack([mx.array(list(answers)), mx.array(list(others))], axis=1)

    def difference(residuals: mx.array) -> mx.array:
        two = mx.take_along_axis(plain_logits(model, residuals, cap), pairs, axis=1)
        return two[:, 0] - two[:, 1]

    return difference


def read_differences(
    model: LoadedModel,
    residuals: Array,
    answers: Sequence[int],
    others: Sequence[int],
    cap: float | None = None,
) -> Array:
    """Return logit(answer) − logit(other) (n,) of residuals (n, d_model), before a soft-cap."""
    return np.array(_differences(model, answers, others, cap)(mx.array(residuals)))


def readout(
    model: LoadedModel, residuals: Array, answers: Sequence[int], others: Sequence[int]
) -> Forms:
    """Return v (n, d_model) and m(0) of each row's logit difference, with the final norm frozen.

    A soft-cap is undone only where the logits are not linear otherwise. Raises ``ModelError`` where
    they are not linear even then.
    """
    third = _third(model, answers, others)
    for cap in dict.fromkeys((None, logit_cap(model))):
        pair = [_differences(model, answers, o, cap) for o in (others, third)]
        forms = [frozen_forms(partial(_first, f), [residuals]) for f in pair]
        if _disagreement(residuals, pair, forms) < (1e-3 if model.dtype == "float32" else 0.1):
            return Forms(forms[0].vectors, forms[0].constants, cap)
    raise ModelError(
        "head-not-linear",
        f"the head of `{model.id}` is not linear after a norm: "
        "its logits cannot be divided among components",
        hint="use circuit introspect patch, which does not need this",
        model=model.id,
    )


def _first(function: Callable[[mx.array], mx.array], rows: list[mx.array]) -> list[mx.array]:
    return [function(rows[0])]


def _third(model: LoadedModel, answers: Sequence[int], others: Sequence[int]) -> list[int]:
    """Return for each row a token that is neither of its two."""
    size = int(tail_logits(model, mx.zeros((1, model.d_model))).shape[-1])
    return [
        next(t % size for t in (o + 1, o + 2) if t % size != a)
        for a, o in zip(answers, others, strict=True)
    ]


def _disagreement(
    residuals: Array, pair: Sequence[Callable[[mx.array], mx.array]], forms: Sequence[Forms]
) -> float:
    """Return how far the ratio of two differences elsewhere is from that of their forms."""
    turned = np.roll(residuals, 1, axis=1)
    actual = [
        np.array(f(mx.array(turned))) - form.constants[0]
        for f, form in zip(pair, forms, strict=True)
    ]
    linear = [(form.vectors[0] * turned).sum(axis=1) for form in forms]
    error = np.abs(actual[0] * linear[1] - actual[1] * linear[0])
    whole = np.hypot(*actual) * np.hypot(*linear)
    return float((error / np.maximum(whole, 1e-30)).max())


def head_forms(model: LoadedModel, z: Sequence[Array], vectors: Array) -> Forms:
    """Return the frozen linear forms of v·attn_out as functions of z, the output of the heads.

    ``z`` has (n, width) of each layer at the read token, ``vectors`` v (n, d_model). A norm between
    the heads' map and the residual stream is frozen, too.
    """
    direction = mx.array(vectors)
    layers = range(model.n_layers)

    def written(rows: list[mx.array]) -> list[mx.array]:
        seen: dict[int, mx.array] = {}
        edits = [Edit(Site("z", k), partial(_replaced, rows[k])) for k in layers]
        outs = [Site("attn_out", k) for k in layers]

        def record(site: Site, read: Read) -> None:
            seen[site.layer] = read(lambda hidden: hidden)

        with edited(model, edits), recording(model, outs, record):
            model.network(mx.zeros((len(direction), 1), dtype=mx.int32))
        return [(seen[k][:, 0].astype(mx.float32) * direction).sum(axis=-1) for k in layers]

    return frozen_forms(written, z)


def _replaced(row: mx.array, hidden: mx.array) -> mx.array:
    return row[:, None].astype(hidden.dtype)
