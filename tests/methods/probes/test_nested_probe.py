"""The score of choosing a layer for logistic probes: unbiased on noise, and right where one layer knows."""

import numpy as np
import pytest

from circuit.methods.probes.nested_probe import nested_probe
from circuit.methods.probes.probing import probe
from circuit.methods.probes.question import prepare


def scored(gap: float, seed: int, layers: int = 6):
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(24), 4)
    y = groups % 2
    task = prepare(y, groups, n_boot=50, n_shuffles=0, seed=seed)
    rows = rng.normal(size=(layers, 96, 12))
    rows[2, :, 0] += gap * y
    probes = {layer: probe(H, task) for layer, H in enumerate(rows)}
    return probes, nested_probe(probes, task), task


def test_on_noise_the_nested_score_is_at_chance_and_the_best_layer_is_above():
    found = [scored(0.0, seed) for seed in range(8)]
    best = np.mean([max(p.estimate for p in probes.values()) for probes, _, _ in found])
    chosen = np.mean([choice.auroc.value for _, choice, _ in found])
    assert best > 0.56
    assert chosen == pytest.approx(0.5, abs=0.05)


def test_the_informative_layer_is_chosen_and_keeps_its_score():
    probes, choice, _ = scored(4.0, 0)
    assert set(choice.chosen) == {2}
    assert choice.auroc.value == probes[2].estimate


def test_the_choice_ignores_the_rows_that_it_is_scored_on():
    probes, choice, task = scored(1.0, 1)
    for k in range(len(task.splits)):
        losses = {layer: found.inner_loss[k] for layer, found in probes.items()}
        assert choice.chosen[k] == min(losses, key=losses.__getitem__)
    H = np.random.default_rng(1).normal(size=(96, 12))
    _, held_out = task.splits[0]
    other = H.copy()
    other[held_out] += 5
    assert probe(H, task).inner_loss[0] == probe(other, task).inner_loss[0]


def test_one_layer_has_no_nested_score():
    probes, _, task = scored(0.0, 0, layers=3)
    assert nested_probe({0: probes[0]}, task) is None
