"""Rows with known truth, for the tests of methods, plots and stages."""

import numpy as np


def noise(n=80, d=256, n_groups=20, *, seed=0):
    """Rows without signal; labels are constant within groups."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_groups), n // n_groups)
    y = (rng.permutation(n_groups) % 2)[groups]
    return rng.normal(size=(len(groups), d)), y, groups


def planted(n=80, d=256, n_groups=20, *, gap=6.0, seed=0):
    """Noise with unit variance, an offset common to all rows, and ``gap`` along a known unit vector."""
    H, y, groups = noise(n, d, n_groups, seed=seed)
    rng = np.random.default_rng(seed + 1000)
    direction = rng.normal(size=d)
    direction /= np.linalg.norm(direction)
    return H + 5 * rng.normal(size=d) + gap * y[:, None] * direction, y, groups, direction


def planted_pairs(n_pairs=40, d=256, n_groups=10, *, gap=6.0, seed=0):
    """Pairs share a large random offset, so that only their difference tells the classes apart."""
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=d)
    direction /= np.linalg.norm(direction)
    pairs = np.repeat(np.arange(n_pairs), 2)
    y = np.tile([1, 0], n_pairs)
    shared = rng.normal(size=(n_pairs, d))[pairs]
    H = shared + 0.5 * rng.normal(size=(2 * n_pairs, d)) + gap * y[:, None] * direction
    return H, y, pairs % n_groups, pairs, direction
