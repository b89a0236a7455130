import numpy as np
import pytest
from planted import planted

from circuit.errors import UsageError
from circuit.methods.bootstrap import Draws, Estimate
from circuit.methods.emergence import (
    Scored,
    check_threshold,
    emergence,
    emergence_layer,
    saturation_layer,
    steps,
    threshold_crossing,
)
from circuit.methods.probing import probe
from circuit.methods.task import prepare
from circuit.methods.verdict import NOT, SELECTIVE, SURFACE, TOKENS, decodable, verdict


def scored(value, spread=0.02, seed=0, n=500):
    draws = Draws(value, value + spread * np.random.default_rng(seed).normal(size=n), 1.0)
    return Scored(draws.estimate(), draws)


def at(values, spread=0.02):
    return {k: scored(v, spread, seed=k) for k, v in enumerate(values)}


def starred(values):
    return dict.fromkeys(range(len(values)), True)


def test_emergence_needs_to_stay():
    layers = [0, 2, 4, 6, 8, 10]
    low = [0.4, 0.7, 0.5, 0.8, 0.8, 0.9]
    assert emergence_layer(layers, low, [0.6] * 6) == 6
    assert emergence_layer(layers, low, [0.95] * 6) is None
    assert emergence_layer(layers, [0.7] * 6, [0.6] * 6) == 0
    assert emergence_layer(layers, [0.5] * 5 + [0.7], [0.6] * 6) == 10


def test_threshold_crossing_is_the_first():
    assert threshold_crossing([0, 4, 8], [0.5, 0.75, 0.9], 0.75) == 4
    assert threshold_crossing([0, 4, 8], [0.5, 0.6, 0.7], 0.75) is None
    with pytest.raises(UsageError):
        check_threshold(0.5)


def test_a_clear_step_is_certain_and_a_slope_is_not():
    values = [0.5, 0.5, 0.5, 0.9, 0.9, 0.9]
    step = emergence(at(values), [scored(0.5)], starred(values))
    assert (step.layer, step.median, step.interval, step.never) == (3, 3, (3, 3), 0)
    values = [0.5, 0.55, 0.58, 0.61, 0.64, 0.67, 0.7, 0.75]
    slope = emergence(at(values), [scored(0.5)], starred(values))
    assert slope.interval[0] <= slope.layer <= slope.interval[1]
    assert slope.interval[0] < slope.interval[1]


def test_the_best_baseline_and_the_star_both_count():
    values = [0.6, 0.7, 0.8, 0.9, 0.9]
    lax = emergence(at(values), [scored(0.5)], starred(values))
    strict = emergence(at(values), [scored(0.5), scored(0.75, seed=9)], starred(values))
    unstarred = emergence(at(values), [scored(0.5)], {k: k > 2 for k in range(5)})
    assert (lax.layer, strict.layer, unstarred.layer) == (0, 3, 3)


def test_nothing_emerges_from_flat_curves():
    values = [0.5] * 6
    found = emergence(at(values), [scored(0.5, seed=50)], starred(values))
    assert (found.layer, found.median, found.interval) == (None, None, (None, None))
    assert found.never > 0.99


def test_saturation_is_the_first_that_is_not_worse():
    draws = {k: each.draws for k, each in at([0.5, 0.7, 0.895, 0.9, 0.9], 0.001).items()}
    assert saturation_layer(draws, n_groups=2000) == 2
    assert saturation_layer({0: draws[0]}, n_groups=2000) == 0
    # Ten groups cannot tell 0.7 from 0.9.
    assert saturation_layer(draws, n_groups=10) == 1


def test_steps_are_paired():
    found = steps({k: each.draws for k, each in at([0.5, 0.5, 0.9]).items()}, n_groups=1000)
    assert found[1].low < 0 < found[1].high
    assert found[2].low > 0.3
    assert list(found) == [1, 2]


def planted_at(k, seed, n_layers=6, *, n=80, n_groups=20, d=64):
    """Layers of noise on which a concept is written from layer ``k`` on."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_groups), n // n_groups)
    y = (rng.permutation(n_groups) % 2)[groups]
    v = rng.normal(size=d)
    v *= 4 / np.linalg.norm(v)
    return (
        {
            layer: rng.normal(size=(n, d)) + 3 * rng.normal(size=d) + (layer >= k) * y[:, None] * v
            for layer in range(n_layers)
        },
        y,
        groups,
    )


def located(layers, y, groups, seed, surface=None):
    task = prepare(y, groups, seed=seed, n_boot=200, n_shuffles=199)
    results = {layer: probe(H, task) for layer, H in layers.items()}
    beside = probe(np.zeros((len(y), 1)) if surface is None else surface, task)
    return (
        emergence(
            {layer: Scored(r.auroc, r.draws) for layer, r in results.items()},
            [Scored(beside.auroc, beside.draws)],
            decodable(results),
        ),
        results,
        beside,
    )


@pytest.mark.slow
def test_a_planted_concept_emerges_where_it_is_written_in_90_of_100_seeds():
    right = held = early = 0
    for seed in range(100):
        k = seed % 5
        found, _, _ = located(*planted_at(k, seed), seed)
        right += found.layer == k
        early += found.layer is not None and found.layer < k
        low, high = found.interval
        held += low is not None and high is not None and low <= k <= high
    assert right >= 90
    assert held >= 90
    assert early <= 2


def test_a_planted_concept_is_selective_and_noise_is_not_decodable():
    found, results, beside = located(*planted_at(2, 0), 0)
    assert found.layer == 2
    assert [k for k, star in decodable(results).items() if star] == [2, 3, 4, 5]
    sides = {"surface": [beside.auroc], "tokens": [beside.auroc], "control": [beside.auroc]}
    assert verdict(results, **sides) == SELECTIVE
    nothing = {k: r for k, r in results.items() if k < 2}
    assert verdict(nothing, **sides) == NOT


def test_what_the_surface_carries_is_called_surface():
    layers, y, groups = planted_at(0, 3)
    found, results, beside = located(layers, y, groups, 3, surface=y[:, None] * 1.0)
    assert beside.auroc.value == 1
    assert found.layer is None
    chance = [Estimate(0.5, 0.4, 0.6)]
    assert verdict(results, surface=[beside.auroc], tokens=chance, control=chance) == SURFACE
    assert verdict(results, surface=chance, tokens=[beside.auroc], control=chance) == TOKENS


def test_under_ten_groups_nothing_is_claimed():
    H, y, groups, _ = planted(32, 64, 8, gap=20)
    task = prepare(y, groups, n_boot=50, n_shuffles=199)
    results = {0: probe(H, task)}
    assert results[0].auroc.value == 1
    assert not any(decodable(results).values())
    assert verdict(results, surface=[], tokens=[], control=[]) == "few groups"
