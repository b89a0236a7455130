"""The best layers for a word: typed, sorted, and measured at the same damage."""

import pytest
from errors import raises
from sweeping import NEUTRAL

from circuit.errors import UsageError
from circuit.stages.sweep.best_layers import best_layers


def test_best_layers_are_typed_sorted_and_at_the_same_damage(llama):
    prompts = ["One day", "Then they", "My friend", "The dog"]
    pair = ("I am so happy", "I am so sad")
    found = best_layers(llama, pair, prompts, "joy", kl=0.02, neutral=NEUTRAL)
    assert [each.gain for each in found] == sorted((e.gain for e in found), reverse=True)
    assert {each.layer for each in found} == {0, 1, 2}
    for each in found:
        assert each.low <= each.gain <= each.high
        if each.status == "converged":
            assert each.kl == pytest.approx(0.02, rel=0.05)
    with raises(UsageError, "no-prompts"):
        best_layers(llama, ("a", "b"), [], "joy")
