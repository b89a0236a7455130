"""Does a family's row describe this model? Identities that its sites must satisfy.

Measured in one block on a few tokens, to the precision of the model's dtype:

    resid_mid = resid_pre + attn_out        resid_post = resid_pre + attn_out + mlp_out
    o_proj = what attention returns         down_proj = what the MLP returns
    sum of head_out = o_proj - its bias     z = attn_pattern · v_proj, head by head

A fused map is cut in the right places when, at token 0, where a rotation turns nothing, ``q_rope``
points where ``q_proj`` does (keys likewise), and when ``mlp_act / (gate_proj · up_proj)`` is above one
half exactly where ``gate_proj`` is positive, as for every gate of the SiLU and GELU kind.

Values are (T, width) arrays, ``attn_pattern`` (T, n_heads, T).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circuit.model.checkpoint.families import Family

Array = npt.NDArray[np.float32]
Values = dict[str, Array]


@dataclass(frozen=True)
class _Identity:
    """What must hold between the sites in ``needs`` before one in ``serves`` is believed."""

    serves: tuple[str, ...]
    needs: tuple[str, ...]
    holds: Callable[[Values, float], bool]
    says: str
    applies: Callable[[Family], bool] = lambda _: True


def needed(names: Sequence[str], offered: Iterable[str]) -> list[str]:
    """Return the sites of a block that the identities behind ``names`` compare."""
    here = set(offered)
    chosen = [i for i in _IDENTITIES if set(i.needs) <= here and set(i.serves) & {*names} & here]
    return list(dict.fromkeys(name for identity in chosen for name in identity.needs))


def problem(row: Family, names: Sequence[str], value: Values, bound: float) -> str | None:
    """Return the first identity behind ``names`` that does not hold in a block, in words."""
    for identity in _IDENTITIES:
        if not (set(identity.needs) <= set(value) and set(identity.serves) & set(names)):
            continue
        if identity.applies(row) and not identity.holds(value, bound):
            return identity.says
    return None


def _close(ours: Array, expected: Array, bound: float) -> bool:
    if ours.shape != expected.shape:
        return False
    return bool(np.abs(ours - expected).max() <= bound * max(np.abs(expected).max(), 1e-30))


def _post(value: Values, bound: float) -> bool:
    total = value["resid_pre"] + value["attn_out"] + value["mlp_out"]
    return _close(total, value["resid_post"], bound)


def _middle(value: Values, bound: float) -> bool:
    return _close(value["resid_pre"] + value["attn_out"], value["resid_mid"], bound)


def _heads_sum(value: Values, bound: float) -> bool:
    o_proj = value["o_proj"]
    total = value["head_out"].reshape(len(o_proj), -1, o_proj.shape[-1]).sum(axis=1)
    bias = o_proj - total  # the same at every token
    return bool(np.ptp(bias, axis=0).max() <= bound * max(np.abs(o_proj).max(), 1e-30))


def _mix(value: Values, bound: float) -> bool:
    pattern, values, z = value["attn_pattern"], value["v_proj"], value["z"]
    n_tokens, n_heads, _ = pattern.shape
    by_head = values.reshape(n_tokens, -1, z.shape[-1] // n_heads)
    by_head = np.repeat(by_head, n_heads // by_head.shape[1], axis=1)
    mixed = np.einsum("ths,shd->thd", pattern, by_head).reshape(n_tokens, -1)
    return _close(mixed, z, bound)


def _sums_to_one_at_most(value: Values, bound: float) -> bool:
    pattern = value["attn_pattern"]
    return bool(pattern.min() >= 0 and pattern.sum(axis=-1).max() <= 1 + bound)


def _same_direction(before: str, after: str) -> Callable[[Values, float], bool]:
    def holds(value: Values, _: float) -> bool:
        a, b = value[before][0], value[after][0]
        # Some models also lengthen what they rotate.
        return a.shape == b.shape and bool(a @ b >= 0.9 * np.linalg.norm(a) * np.linalg.norm(b))

    return holds


def _gates(value: Values, _: float) -> bool:
    gate, up, act = value["gate_proj"], value["up_proj"], value["mlp_act"]
    if not gate.shape == up.shape == act.shape:
        return False
    product = gate * up
    # Near zero the sign of a gate is rounding.
    clear = (np.abs(gate) >= np.median(np.abs(gate))) & (product != 0)
    agree = (act[clear] / product[clear] > 0.5) == (gate[clear] > 0)
    return bool(agree.mean() > 0.9) if agree.size else True


def _same_width(value: Values, _: float) -> bool:
    return value["up_proj"].shape == value["mlp_act"].shape


def _cut_out(row: Family) -> bool:
    return row.qkv_is_fused or row.rope is not None


_IDENTITIES = (
    _Identity(
        ("attn_out", "mlp_out", "resid_mid"),
        ("resid_pre", "attn_out", "mlp_out", "resid_post"),
        _post,
        "`resid_pre` + `attn_out` + `mlp_out` is not `resid_post`",
    ),
    _Identity(
        ("attn_out", "resid_mid"),
        ("resid_pre", "attn_out", "resid_mid"),
        _middle,
        "`resid_pre` + `attn_out` is not `resid_mid`",
    ),
    _Identity(
        ("o_proj", "z", "head_out"),
        ("attn", "o_proj"),
        lambda value, bound: _close(value["o_proj"], value["attn"], bound),
        "attention returns something else than `o_proj`",
    ),
    _Identity(
        ("head_out",),
        ("head_out", "o_proj"),
        _heads_sum,
        "the heads' `head_out` and a bias do not sum to `o_proj`",
    ),
    _Identity(
        ("v_proj", "z", "head_out", "attn_pattern"),
        ("attn_pattern", "v_proj", "z"),
        _mix,
        "`attn_pattern` times `v_proj` is not `z`",
    ),
    _Identity(
        ("attn_pattern",),
        ("attn_pattern",),
        _sums_to_one_at_most,
        "a row of `attn_pattern` is no distribution",
    ),
    _Identity(
        ("q_proj", "q_rope"),
        ("q_proj", "q_rope"),
        _same_direction("q_proj", "q_rope"),
        "`q_rope` of the first token does not point where `q_proj` does",
        _cut_out,
    ),
    _Identity(
        ("k_proj", "k_rope"),
        ("k_proj", "k_rope"),
        _same_direction("k_proj", "k_rope"),
        "`k_rope` of the first token does not point where `k_proj` does",
        _cut_out,
    ),
    _Identity(
        ("down_proj", "mlp_act"),
        ("mlp", "down_proj"),
        lambda value, bound: _close(value["down_proj"], value["mlp"], bound),
        "the MLP returns something else than `down_proj`",
    ),
    _Identity(
        ("gate_proj", "up_proj"),
        ("gate_proj", "up_proj", "mlp_act"),
        _gates,
        "`mlp_act` is not `up_proj` gated by `gate_proj`",
    ),
    _Identity(
        ("up_proj", "mlp_act"),
        ("up_proj", "mlp_act"),
        _same_width,
        "`up_proj` and `mlp_act` differ in width",
    ),
)
