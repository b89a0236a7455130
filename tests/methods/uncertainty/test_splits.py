import numpy as np
import pytest
from errors import raises
from hypothesis import given, settings
from hypothesis import strategies as st

from circuit.errors import DataError
from circuit.methods.uncertainty.splits import (
    group_codes,
    grouped_folds,
    merge_identical,
    permuted_labels,
)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 11), st.integers(0, 2)), min_size=20, max_size=80),
    st.integers(0, 5),
)
def test_folds_keep_groups_and_cover_each_row_once(rows, seed):
    groups, y = np.array(rows).T
    try:
        splits = grouped_folds(y, groups, seed=seed)
    except DataError:
        return
    for train, held_out in splits:
        assert not set(groups[train]) & set(groups[held_out])
        assert set(y[train]) == set(y)
    assert sorted(np.concatenate([held_out for _, held_out in splits])) == list(range(len(y)))


def test_fewer_groups_give_fewer_folds():
    y = np.repeat([0, 1], 12)
    groups = [f"template {i // 4}" for i in range(24)]
    assert len(grouped_folds(y, groups, folds=5)) == 3


@pytest.mark.parametrize(
    ("y", "groups", "code"),
    [
        ([1, 1, 1, 1], [0, 1, 2, 3], "one-class"),
        ([0, 0, 1, 1], [0, 1, 2, 2], "class-of-one-group"),
        ([0, 1, 0, 1], [7, 7, 7, 7], "class-of-one-group"),
    ],
)
def test_labels_that_cannot_be_split_are_refused(y, groups, code):
    with raises(DataError, code) as caught:
        grouped_folds(np.array(y), groups)
    assert caught.value.hint


def test_same_seed_same_folds():
    y, groups = np.arange(60) % 2, np.arange(60) // 3
    a, b = (grouped_folds(y, groups, seed=3) for _ in range(2))
    assert all((x[1] == z[1]).all() for x, z in zip(a, b, strict=True))


def test_identical_rows_share_a_group_transitively():
    H = np.arange(12.0).reshape(6, 2)
    H[3] = H[0]
    texts = ["a", "b", "c", "d", "e", "d"]
    groups, repeats = merge_identical([0, 0, 1, 2, 3, 4], H, texts)
    # row 3 is row 0 by value, row 5 is row 3 by text, row 1 is in the group of row 0
    assert groups.tolist() == [0, 0, 1, 0, 2, 0]
    assert repeats == 2


def test_group_codes_number_by_appearance():
    assert group_codes(["x", "y", "x"]).tolist() == [0, 1, 0]


def test_permuted_labels_stay_constant_in_constant_groups_and_inside_mixed_ones():
    groups = np.array([0, 0, 1, 1, 2, 2, 3, 3])
    y = np.array([0, 0, 1, 1, 0, 1, 1, 0])
    drawn = permuted_labels(y, groups, np.random.default_rng(0), size=50)
    assert (drawn[:, 0] == drawn[:, 1]).all()
    assert (drawn[:, 2] == drawn[:, 3]).all()
    assert (drawn[:, [4, 5]].sum(axis=1) == 1).all()
    assert (drawn[:, [6, 7]].sum(axis=1) == 1).all()
    assert len(np.unique(drawn, axis=0)) > 4
