"""Three prompts of a class prove nothing, however many there are of the other."""

import numpy as np
import pytest

from circuit.methods.probes.probing import cross_validated_probe
from circuit.methods.probes.verdict import DECODABLE, FEW_GROUPS, decodable, verdict
from circuit.methods.uncertainty.above_baseline import Certainty
from circuit.methods.uncertainty.splits import enough_groups, least_groups


@pytest.mark.parametrize(("n", "few"), [(3, True), (4, True), (8, False)])
def test_a_class_of_few_groups_is_not_decodable(n, few):
    rng = np.random.default_rng(0)
    y = np.array([1] * n + [0] * 150)
    groups = np.array([*range(n), *(100 + i % 30 for i in range(150))])
    H = rng.normal(size=(len(y), 6))
    H[:, 0] += 6 * y
    found = cross_validated_probe(H, y, groups, n_boot=200, n_shuffles=200)
    assert (found.n_groups, found.least_groups) == (30 + n, n)
    assert found.auroc.value > 0.95
    assert decodable({0: found}) == {0: not few}
    beside = {"surface": [], "tokens": [], "control": None, "certainty": Certainty.of(y, groups)}
    assert verdict({0: found}, **beside) == (FEW_GROUPS if few else DECODABLE)


def test_pairs_have_every_group_in_both_classes():
    assert least_groups(np.array([0, 1] * 12), np.arange(24) // 2) == 12
    assert [enough_groups(*each) for each in ((10, 5), (10, 4), (9, 9))] == [True, False, False]
