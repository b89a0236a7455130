import numpy as np
import pytest
from errors import raises
from planted_rows import planted

from circuit.errors import UsageError
from circuit.methods.probes.probing import probe
from circuit.methods.probes.question import prepare
from circuit.methods.probes.verdict import (
    NOT_DECODABLE,
    SELECTIVE,
    SURFACE,
    TOKENS,
    decodable,
    verdict,
)
from circuit.methods.uncertainty.above_baseline import Certainty, bounds
from circuit.methods.uncertainty.bootstrap import Draws
from circuit.methods.uncertainty.emergence import (
    LayerAuroc,
    check_threshold,
    emergence,
    emergence_layer,
    saturation_layer,
    steps,
    threshold_crossing,
)

MANY = Certainty(1000, 1.0)


def scored(value, spread=0.02, seed=0, n=500):
    draws = Draws(value, value + spread * np.random.default_rng(seed).normal(size=n), 1.0)
    return LayerAuroc(draws.estimate(), draws)


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
    with raises(UsageError, "out-of-range", value=0.5):
        check_threshold(0.5)


def test_a_clear_step_is_certain_and_a_slope_is_not():
    values = [0.5, 0.5, 0.5, 0.9, 0.9, 0.9]
    step = emergence(at(values), [scored(0.5).draws], starred(values), MANY)
    assert (step.layer, step.median, step.interval, step.never) == (3, 3, (3, 3), 0)
    values = [0.5, 0.55, 0.58, 0.61, 0.64, 0.67, 0.7, 0.75]
    slope = emergence(at(values), [scored(0.5).draws], starred(values), MANY)
    assert slope.interval[0] <= slope.layer <= slope.interval[1]
    assert slope.interval[0] < slope.interval[1]


def test_emergence_needs_every_baseline_and_decodability():
    values = [0.6, 0.7, 0.8, 0.9, 0.9]
    lax = emergence(at(values), [scored(0.5).draws], starred(values), MANY)
    strict = emergence(
        at(values), [scored(0.5).draws, scored(0.75, seed=9).draws], starred(values), MANY
    )
    unstarred = emergence(at(values), [scored(0.5).draws], {k: k > 2 for k in range(5)}, MANY)
    assert (lax.layer, strict.layer, unstarred.layer) == (0, 3, 3)


def test_nothing_emerges_from_flat_curves():
    values = [0.5] * 6
    found = emergence(at(values), [scored(0.5, seed=50).draws], starred(values), MANY)
    assert (found.layer, found.median, found.interval) == (None, None, (None, None))
    assert found.never > 0.99


def test_saturation_is_the_first_layer_that_is_not_worse():
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
            {layer: LayerAuroc(r.auroc, r.draws) for layer, r in results.items()},
            [beside.draws],
            decodable(results),
            Certainty.of(y, groups),
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
    control = dict.fromkeys(results, beside.draws)
    sides = {"surface": [beside], "tokens": [beside], "control": control}
    assert verdict(results, **sides, certainty=MANY) == SELECTIVE
    nothing = {k: r for k, r in results.items() if k < 2}
    assert verdict(nothing, **sides, certainty=MANY) == NOT_DECODABLE


def test_a_label_that_the_text_gives_away_is_called_surface():
    layers, y, groups = planted_at(0, 3)
    found, results, beside = located(layers, y, groups, 3, surface=y[:, None] * 1.0)
    assert beside.auroc.value == 1
    assert found.layer is None
    chance = probe(np.zeros((len(y), 1)), prepare(y, groups, seed=3, n_boot=200, n_shuffles=199))
    rest = {"control": dict.fromkeys(results, chance.draws), "certainty": MANY}
    assert verdict(results, surface=[beside], tokens=[chance], **rest) == SURFACE
    assert verdict(results, surface=[chance], tokens=[beside], **rest) == TOKENS
    by_layer = dict.fromkeys(results, beside)
    assert verdict(results, surface=[chance], tokens=[chance, by_layer], **rest) == TOKENS


def test_under_ten_groups_nothing_is_claimed():
    H, y, groups, _ = planted(32, 64, 8, gap=20)
    task = prepare(y, groups, n_boot=50, n_shuffles=199)
    results = {0: probe(H, task)}
    assert results[0].auroc.value == 1
    assert not any(decodable(results).values())
    assert verdict(results, surface=[], tokens=[], control=None, certainty=MANY) == "few groups"


def concept(seed, *, n_groups=24, n=144, d=48, gap=0.0, share=0.0):
    """Labels by group, rows of three layers, and a baseline that carries ``share`` of what the layers carry."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_groups), n // n_groups)
    y = (rng.permutation(n_groups) % 2)[groups]
    common = rng.normal(size=n) + gap * y
    text = np.column_stack([share * common + rng.normal(size=n) * (1 - share), np.ones(n)])
    v = rng.normal(size=d)
    v /= np.linalg.norm(v)
    layers = {k: np.outer(common, v) + 0.1 * rng.normal(size=(n, d)) for k in range(3)}
    return layers, text, y, groups


def said(layers, text, y, groups, seed, *, n_shuffles=199):
    task = prepare(y, groups, seed=seed, n_boot=300, n_shuffles=n_shuffles)
    results = {layer: probe(H, task) for layer, H in layers.items()}
    beside = probe(text, task)
    word = verdict(
        results, surface=[beside], tokens=[], control=None, certainty=Certainty.of(y, groups)
    )
    return word, results, beside


def test_a_baseline_at_chance_with_a_wide_interval_explains_nothing():
    word, results, beside = said(*concept(4, gap=1.2), 4)
    best = max(result.auroc.low for result in results.values())
    assert beside.auroc.low < 0.5 < best < beside.auroc.high  # intervals overlap
    assert word == "decodable"


def test_an_undecodable_baseline_that_is_not_exceeded_gives_unresolved():
    layers, text, y, groups = concept(9, gap=1.0, share=0.35)
    word, _, beside = said(layers, text, y, groups, 9)
    assert beside.auroc.value > 0.6
    assert not decodable({0: beside})[0]
    assert word == "unresolved"


def test_bounds_hold_for_all_layers_at_once():
    # Layers that hold what the text holds, and noise beside it, are not above the text.
    wrong = 0
    for seed in range(16):
        layers, text, y, groups = concept(100 + seed, gap=1.5, share=1.0)
        _, results, beside = said(layers, text, y, groups, seed, n_shuffles=0)
        draws = {k: result.draws for k, result in results.items()}
        wrong += bool((bounds(draws, beside.draws, Certainty.of(y, groups))[0] > 0).any())
    assert wrong <= 1


def test_no_score_counts_for_more_than_a_perfect_one_of_as_many_groups():
    perfect = Draws(1.0, np.ones(100), 1.5)
    below = Draws(0.9, np.full(100, 0.9), 1.5)
    assert bounds({0: perfect}, below, Certainty(24, 0.83))[0, 0] < 0
    assert bounds({0: perfect}, below, Certainty(2400, 0.99))[0, 0] > 0
