"""Check that a family's row describes a model, by identities that its sites must satisfy.

They are measured in one block on a few tokens, to the precision of the model's dtype:

    resid_mid = resid_pre + attn_out        resid_post = resid_pre + attn_out + mlp_out
    o_proj = what attention returns         down_proj = what the MLP returns
    sum of head_out = o_proj - its bias     z = attn_pattern · v_proj, head by head

A fused map is cut in the right places when, at token 0, which is not rotated, ``q_rope`` has the
direction of ``q_proj`` (keys likewise), and when ``mlp_act / (gate_proj · up_proj)`` is above one
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
class Identity:
    """What must hold between the sites in ``needs`` before one in ``checks`` is trusted."""

    checks: tuple[str, ...]
    needs: tuple[str, ...]
    holds: Callable[[Values, float], bool]
    failure: str
    applies: Callable[[Family], bool] = lambda _: True


def compared_sites(names: Sequence[str], offered: Iterable[str]) -> list[str]:
    """Return the sites of a block that the identities behind ``names`` compare."""
    here = set(offered)
    chosen = [i for i in _IDENTITIES if set(i.needs) <= here and set(i.checks) & {*names} & here]
    return list(dict.fromkeys(name for identity in chosen for name in identity.needs))


def broken_identity(
    row: Family, names: Sequence[str], value: Values, bound: float
) -> Identity | None:
    """Return the first identity behind ``names`` that does not hold in a block."""
    for identity in _IDENTITIES:
        if not (set(identity.needs) <= set(value) and set(identity.checks) & set(names)):
            continue
        if identity.applies(row) and not identity.holds(value, bound):
            return identity
    return None


def _close(ours: Array, expected: Array, bound: float) -> bool:
    if ours.shape != expected.shape:
        return False
    return bool(np.abs(ours - expected).max() <= bound * max(np.abs(expected).max(), 1e-30))


def _adds_up_to_post(value: Values, bound: float) -> bool:
    total = value["resid_pre"] + value["attn_out"] + value["mlp_out"]
    return _close(total, value["resid_post"], bound)


def _adds_up_to_mid(value: Values, bound: float) -> bool:
    return _close(value["resid_pre"] + value["attn_out"], value["resid_mid"], bound)


def _heads_add_up(value: Values, bound: float) -> bool:
    o_proj = value["o_proj"]
    total = value["head_out"].reshape(len(o_proj), -1, o_proj.shape[-1]).sum(axis=1)
    bias = o_proj - total  # the same at every token
    return bool(np.ptp(bias, axis=0).max() <= bound * max(np.abs(o_proj).max(), 1e-30))


def _pattern_mixes_values(value: Values, bound: float) -> bool:
    pattern, values, z = value["attn_pattern"], value["v_proj"], value["z"]
    n_tokens, n_heads, _ = pattern.shape
    by_head = values.reshape(n_tokens, -1, z.shape[-1] // n_heads)
    by_head = np.repeat(by_head, n_heads // by_head.shape[1], axis=1)
    mixed = np.einsum("ths,shd->thd", pattern, by_head).reshape(n_tokens, -1)
    return _close(mixed, z, bound)


def _is_distribution(value: Values, bound: float) -> bool:
    pattern = value["attn_pattern"]
    return bool(pattern.min() >= 0 and pattern.sum(axis=-1).max() <= 1 + bound)


def _same_direction(before: str, after: str) -> Callable[[Values, float], bool]:
    def holds(value: Values, _: float) -> bool:
        a, b = value[before][0], value[after][0]
        # Some models also lengthen what they rotate.
        return a.shape == b.shape and bool(a @ b >= 0.9 * np.linalg.norm(a) * np.linalg.norm(b))

    return holds


def _is_gated(value: Values, _: float) -> bool:
    gate, up, act = value["gate_proj"], value["up_proj"], value["mlp_act"]
    if not gate.shape == up.shape == act.shape:
        return False
    product = gate * up
    # Near zero the sign of a gate is rounding.
    clear = (np.abs(gate) >= np.median(np.abs(gate))) & (product != 0)
    agree = (act[clear] / product[clear] > 0.5) == (gate[clear] > 0)
    return bool(agree.mean() > 0.9) if agree.size else True


def _has_same_width(value: Values, _: float) -> bool:
    return value["up_proj"].shape == value["mlp_act"].shape


def _needs_cut_check(row: Family) -> bool:
    return row.qkv is not None or row.rope is not None


_IDENTITIES = (
    Identity(
        ("attn_out", "mlp_out", "resid_mid"),
        ("resid_pre", "attn_out", "mlp_out", "resid_post"),
        _adds_up_to_post,
        "`resid_pre` + `attn_out` + `mlp_out` is not `resid_post`",
    ),
    Identity(
        ("attn_out", "resid_mid"),
        ("resid_pre", "attn_out", "resid_mid"),
        _adds_up_to_mid,
        "`resid_pre` + `attn_out` is not `resid_mid`",
    ),
    Identity(
        ("o_proj", "z", "head_out"),
        ("attn", "o_proj"),
        lambda value, bound: _close(value["o_proj"], value["attn"], bound),
        "attention does not return `o_proj`",
    ),
    Identity(
        ("head_out",),
        ("head_out", "o_proj"),
        _heads_add_up,
        "the heads' `head_out` and a bias do not sum to `o_proj`",
    ),
    Identity(
        ("v_proj", "z", "head_out", "attn_pattern"),
        ("attn_pattern", "v_proj", "z"),
        _pattern_mixes_values,
        "`attn_pattern` times `v_proj` is not `z`",
    ),
    Identity(
        ("attn_pattern",),
        ("attn_pattern",),
        _is_distribution,
        "a row of `attn_pattern` is not a distribution",
    ),
    Identity(
        ("q_proj", "q_rope"),
        ("q_proj", "q_rope"),
        _same_direction("q_proj", "q_rope"),
        "`q_rope` of the first token does not have the direction of `q_proj`",
        _needs_cut_check,
    ),
    Identity(
        ("k_proj", "k_rope"),
        ("k_proj", "k_rope"),
        _same_direction("k_proj", "k_rope"),
        "`k_rope` of the first token does not have the direction of `k_proj`",
        _needs_cut_check,
    ),
    Identity(
        ("down_proj", "mlp_act"),
        ("mlp", "down_proj"),
        lambda value, bound: _close(value["down_proj"], value["mlp"], bound),
        "the MLP does not return `down_proj`",
    ),
    Identity(
        ("gate_proj", "up_proj"),
        ("gate_proj", "up_proj", "mlp_act"),
        _is_gated,
        "`mlp_act` is not `up_proj` gated by `gate_proj`",
    ),
    Identity(
        ("up_proj", "mlp_act"),
        ("up_proj", "mlp_act"),
        _has_same_width,
        "`up_proj` and `mlp_act` differ in width",
    ),
)
