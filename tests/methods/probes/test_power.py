import numpy as np
import pytest

from circuit.methods.probes.power import TARGET, power
from circuit.methods.probes.probing import cross_validated_probe
from circuit.methods.probes.verdict import decodable
from circuit.present.numbers import power_sentences
from circuit.values.power import Power


def probed(seed, n_groups=24, apart=0.0, n_shuffles=99):
    """Probe rows of which half of the variance is shared by the four rows of a group."""
    rng = np.random.default_rng([seed, n_groups])
    groups = np.arange(n_groups).repeat(4)
    y = groups % 2
    H = rng.normal(size=(len(y), 8)) + rng.normal(size=(n_groups, 8))[groups]
    H[:, 0] += apart * y
    return {0: cross_validated_probe(H, y, groups, n_boot=200, n_shuffles=n_shuffles, seed=seed)}


def test_more_groups_find_smaller_effects():
    found = [power(probed(0, n_groups)) for n_groups in (12, 24, 80)]
    smallest = [each.detectable for each in found]
    assert smallest == sorted(smallest, reverse=True)
    assert found[-1].detectable < TARGET + 0.05
    # A design needs no more groups than it has exactly where it finds the target already.
    assert all(
        (each.groups <= n) == (each.detectable <= TARGET)
        for each, n in zip(found, (12, 24, 80), strict=True)
    )


def test_without_permutations_there_is_no_power():
    assert power(probed(0, n_shuffles=0)) is None
    assert power_sentences(None) == []


@pytest.mark.slow
def test_the_effect_that_is_said_to_be_found_in_four_of_five_cases_is():
    # Around the separation whose mean AUROC is what the design calls detectable.
    said = np.mean([power(probed(seed)).detectable for seed in range(10)])
    for apart in np.arange(1.5, 6, 0.25):
        if np.mean([probed(s, apart=apart)[0].auroc.value for s in range(20)]) >= said:
            break
    found = np.mean([decodable(probed(seed, apart=apart))[0] for seed in range(100)])
    assert 0.65 <= found <= 0.95


def test_the_sentence_says_what_would_have_been_found():
    said = power_sentences(Power(detectable=0.812, target=0.7, groups=1234))
    assert said == [
        "This design would find an AUROC of 0.81 in 80 % of cases; one of 0.7 needs about 1,234 "
        "such groups."
    ]
    none = power_sentences(Power(detectable=None, target=0.7, groups=99))
    assert none[0].startswith("This design would find no AUROC in 80 % of cases;")
