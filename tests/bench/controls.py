"""How often a direction like any other is said to act: p against controls, alone and over all that is tested together.

    python tests/bench/controls.py [--repeats 2000]

First table: effects of one vector and of k controls from one distribution; the share of repeats with p ≤ α. Second table: answers
of 36 prompts in 12 groups at four coefficients, where every direction shifts the share of answers by a random amount of its own;
the share of repeats in which some coefficient has p ≤ 0.05, the same over all coefficients, and is called *used* (p over all and
both intervals). Third table: how often the intervals of change and excess hold the true difference (0.2), for prompts that share
half of their luck with their group.
"""

import argparse

import numpy as np
from scipy.stats import norm

from circuit.methods.uncertainty.against_controls import acts, against_controls
from circuit.methods.uncertainty.p_values import control_p, family_control_p

NOISES = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "t with 2 df": lambda rng, shape: rng.standard_t(2, shape),
}
COEFFICIENTS = np.array([-1, -0.5, 0.5, 1])


def alone(repeats: int) -> None:
    print("noise         k    α      P(p ≤ α)")
    for name, noise in NOISES.items():
        for k in (10, 19, 99, 999):
            rng = np.random.default_rng(k)
            draws = noise(rng, (repeats, k + 1))
            ps = np.array([control_p(row[0], row[1:]) for row in draws])
            level = max(1, round(0.05 * (k + 1))) / (k + 1)
            print(f"{name:12}  {k:3}  {level:.3f}  {np.mean(ps <= level + 1e-12):.3f}")


def answers(
    rng: np.random.Generator, shape: tuple[int, ...], share: np.ndarray | float, size: int = 3
) -> np.ndarray:
    """Draw answers that meet a criterion; prompts of a group share half of their luck."""
    luck = rng.normal(size=(*shape[:-1], shape[-1] // size)).repeat(size, axis=-1)
    return ((luck + rng.normal(size=shape)) / np.sqrt(2) < norm.ppf(share)).astype(float)


def together(repeats: int, k: int = 19) -> None:
    rng, groups = np.random.default_rng(1), np.arange(36) // 3
    some, any_, used = 0, 0, 0
    for _ in range(repeats):
        unsteered = answers(rng, (36,), 0.5)
        shift = 0.25 * rng.normal(size=(k + 1, 1, 1)) * COEFFICIENTS[None, :, None]
        given = answers(rng, (k + 1, 4, 36), np.clip(0.5 + shift, 0.02, 0.98))
        change = given.mean(axis=2) - unsteered.mean()
        p_any = family_control_p(change[0], change[1:])
        found = [
            against_controls(given[0, c], unsteered, given[1:, c], groups, n_boot=300)
            for c in range(4)
        ]
        some += any(control_p(change[0, c], change[1:, c]) <= 0.05 for c in range(4))
        any_ += min(p_any) <= 0.05
        used += any(
            acts(p, f.change.as_triple(), f.excess.as_triple())
            for p, f in zip(p_any, found, strict=True)
        )
    print(
        f"\n{repeats} nulls, {k} controls: some p ≤ 0.05 {some / repeats:.3f}, p over all {any_ / repeats:.3f}, used {used / repeats:.3f}"
    )


def coverage(repeats: int, k: int = 39) -> None:
    print("\ngroups  change  excess")
    for n_groups in (10, 12, 16, 30):
        rng, n = np.random.default_rng(n_groups), 3 * n_groups
        held, groups = np.zeros(2), np.arange(n) // 3
        for _ in range(repeats):
            steered, unsteered, controls = (
                answers(rng, (n,), 0.6),
                answers(rng, (n,), 0.4),
                answers(rng, (k, n), 0.4),
            )
            found = against_controls(steered, unsteered, controls, groups, n_boot=300)
            held += [each.low <= 0.2 <= each.high for each in (found.change, found.excess)]
        print(f"{n_groups:6}  {held[0] / repeats:.3f}   {held[1] / repeats:.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=2000)
    repeats = parser.parse_args().repeats
    alone(5 * repeats)
    together(repeats)
    coverage(repeats // 2)
