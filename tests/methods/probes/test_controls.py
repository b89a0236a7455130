import numpy as np
import pytest
from planted_rows import noise, planted

from circuit.methods.linear.products import decompose
from circuit.methods.probes.controls import (
    control_labels,
    control_task,
    folds_across_groups,
    random_directions,
)
from circuit.methods.probes.probing import probe
from circuit.methods.probes.question import prepare


def controlled(H, y, groups):
    task = prepare(y, groups, n_boot=200, n_shuffles=0)
    prepared = decompose(H, task.splits)
    return control_task(H, task, probe(H, task, prepared), prepared)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_control_labelling_is_constant_in_groups_and_as_balanced_as_the_task(n_classes):
    groups = np.repeat(np.arange(24), 5)
    y = groups % n_classes
    drawn = control_labels(y, groups, np.random.default_rng(0), size=50)
    assert drawn.shape == (50, 120)
    for labels in drawn:
        assert all(len(np.unique(labels[groups == g])) == 1 for g in range(24))
        np.testing.assert_array_equal(np.bincount(labels), np.bincount(y))
    assert len({labels.tobytes() for labels in drawn}) > 45


def test_an_unbalanced_task_has_an_unbalanced_control():
    groups = np.arange(40)
    y = (groups < 8).astype(int)
    assert (
        control_labels(y, groups, np.random.default_rng(0), size=3).sum(axis=1).tolist() == [8] * 3
    )


def test_folds_across_groups_have_every_group_on_both_sides():
    groups = np.repeat(np.arange(12), 6)
    splits = folds_across_groups(groups, np.random.default_rng(0), folds=5)
    assert sorted(np.concatenate([held for _, held in splits]).tolist()) == list(range(72))
    for train, held_out in splits:
        assert not set(train) & set(held_out)
        assert set(groups[held_out]) <= set(groups[train])
    assert folds_across_groups(np.arange(9), np.random.default_rng(0), folds=3) is None


def test_a_planted_concept_is_selective():
    H, y, groups, _ = planted(gap=8)
    found = controlled(H, y, groups)
    assert found.auroc.low < 0.5 < found.auroc.high
    assert found.selectivity.low > 0.2


def test_recognisable_groups_raise_the_memory_score_only():
    # Each group has a large offset of its own and the label means nothing: only a split through groups finds "it".
    H, y, groups = noise(120, 64, 24)
    H += 5 * np.random.default_rng(1).normal(size=(24, 64))[groups]
    found = controlled(H, y, groups)
    assert found.memory.value > 0.97
    assert found.memory.low < 0.97  # 24 groups are no certainty
    assert found.auroc.low < 0.5 < found.auroc.high
    assert found.selectivity.low < 0 < found.selectivity.high


def test_noise_has_no_memory_and_no_selectivity():
    H, y, groups = noise(120, 256, 30)
    found = controlled(H, y, groups)
    assert found.memory.low < 0.5 < found.memory.high
    assert found.selectivity.low < 0 < found.selectivity.high


def test_rows_that_are_their_own_group_have_no_memory():
    H, y, _ = noise(60, 64, 20)
    assert controlled(H, y, np.arange(60)).memory is None


def test_random_directions_are_at_chance_on_noise_and_above_it_on_the_main_axis():
    H, y, groups = noise(120, 256, 30)
    task = prepare(y, groups, n_boot=2, n_shuffles=0)
    chance = random_directions(H, task)
    assert chance.low < 0.5 < chance.high
    assert chance.value == pytest.approx(0.5, abs=0.05)
    # A concept on one of 256 standardised axes is read by a random direction only a little...
    aside = H.copy()
    aside[:, 0] += 50 * y
    assert random_directions(aside, task).value < 0.6
    # ... one that moves most of the features is read by many.
    everywhere = H + 1.5 * y[:, None]
    assert random_directions(everywhere, task).value > 0.7


def test_random_directions_of_equal_rows_score_one_half():
    _, y, groups = noise()
    task = prepare(y, groups, n_boot=2, n_shuffles=0)
    found = random_directions(np.ones((80, 5)), task, n_directions=10)
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)
