import numpy as np
import pytest
from errors import raises
from planted_rows import noise

from circuit.errors import DataError
from circuit.methods.probes.description_length import block_ends, description_length


def labelled(gap, n=600, d=40, seed=0):
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n // 4), 4)
    y = groups % 2
    H = rng.normal(size=(n, d))
    H[:, 0] += gap * y
    return H, y, groups


def test_noise_is_not_compressed_and_a_clear_concept_is():
    found = [description_length(*labelled(gap), n_boot=100) for gap in (0, 1.5, 6)]
    noise_, weak, strong = (each.compression for each in found)
    assert noise_.value == pytest.approx(1, abs=0.06)
    assert noise_.low < 1
    assert weak.low > 1
    assert weak.high < strong.low
    assert found[2].bits < 0.3 * found[2].uniform_bits


def test_the_code_is_bounded_by_the_entropy_of_the_model_that_made_the_labels():
    # Labels from known probabilities cannot be coded shorter than their entropy in the mean.
    rng = np.random.default_rng(0)
    x = rng.normal(size=800)
    p = 1 / (1 + np.exp(-2 * x))
    y = (rng.random(800) < p).astype(int)
    entropy = -(p * np.log2(p) + (1 - p) * np.log2(1 - p)).sum()
    found = description_length(x[:, None], y, np.arange(800), n_boot=50)
    assert entropy * 0.95 < found.bits < entropy * 1.15
    assert found.compression.value == pytest.approx(800 / found.bits)


def test_blocks_end_with_groups_and_with_the_last_row():
    codes = np.repeat(np.arange(100), 7)
    ends = block_ends(codes)
    assert ends[-1] == 700
    assert all(end % 7 == 0 for end in ends)
    assert ends == sorted(set(ends))
    assert block_ends(np.arange(1000)) == [1, 2, 4, 8, 16, 32, 62, 125, 250, 500, 1000]


def test_three_classes_cost_log_three():
    H, _, groups = labelled(0)
    found = description_length(H, groups % 3, groups, n_boot=20)
    assert found.uniform_bits == pytest.approx(600 * np.log2(3))
    assert found.compression.value == pytest.approx(1, abs=0.1)


def test_few_rows_are_refused():
    with raises(DataError, "too-few-rows", n=480):
        description_length(*noise(480, 8, 120))
