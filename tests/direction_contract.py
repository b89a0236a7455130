"""What every direction method has to satisfy: ``CHECKS`` are called with the name of a method."""

import importlib
import inspect

import numpy as np
import pytest
from errors import raises
from planted_rows import planted, planted_pairs

from circuit.errors import DataError, UsageError
from circuit.methods.directions import Gradients, available, fit_direction, load
from circuit.methods.quality.crossfit import cross_fitted_quality
from circuit.methods.quality.design import design

EVERYTHING = ("rows", "gradients")
FAST = {"n_boot": 200, "n_shuffles": 10}


def loaded(name):
    return load(name, provides=EVERYTHING)


def by_role(*roles):
    return [name for name in available() if loaded(name).role in roles]


def fit(name, H, y, **options):
    """Fit from class 0 to class 1; a method that needs gradients gets those of a loss that falls along the gap."""
    positive, negative = H[y == 1], H[y == 0]
    if "gradients" in loaded(name).needs:
        slope = positive.mean(axis=0) - negative.mean(axis=0)
        options["gradients"] = Gradients(
            np.tile(-slope, (len(positive), 1)), np.tile(slope, (len(negative), 1))
        )
    return fit_direction(name, positive, negative, **options)


def needs_rows_only(name):
    return loaded(name).needs == ("rows",)


def is_declared(name):
    file = importlib.import_module(f"circuit.methods.directions.{name}")
    method = loaded(name)
    assert len(file.__doc__) > 100
    assert inspect.getdoc(file.fit)
    assert method.needs
    assert set(method.needs) <= set(EVERYTHING)
    assert method.space in {"raw", "rows", "standardised"}
    assert method.space == "raw" or needs_rows_only(name)
    assert method.role in {"method", "baseline", "control"}


def is_a_unit_vector_of_the_positive_side(name):
    H, y, _, _ = planted(gap=12)
    found = fit(name, H, y)
    gap = H[y == 1].mean(axis=0) - H[y == 0].mean(axis=0)
    assert found.vector.dtype == np.float32
    assert np.linalg.norm(found.vector) == pytest.approx(1, abs=1e-6)
    assert found.vector @ gap > 0
    assert found.norm == pytest.approx(np.linalg.norm(gap))
    np.testing.assert_array_equal(found.vector, fit(name, H, y).vector)


def refuses_bad_rows(name):
    H, y, _, _ = planted()
    ones = np.ones((9, 8))
    given = {} if needs_rows_only(name) else {"gradients": Gradients(H[:1], H[:1])}
    with raises(DataError, "empty-class", n_positive=0, n_negative=40):
        fit_direction(name, H[:0], H[y == 0], **given)
    with raises(DataError, "widths-differ", widths=(256, 8)):
        fit_direction(name, H, ones, **given)
    with raises(DataError, "not-finite"):
        fit_direction(name, np.full((3, 8), np.nan), ones, **given)
    with raises(DataError, "unmatched-pairs"):
        fit_direction(name, H[:3], H[3:7], paired=True, **given)


def is_refused_where_its_input_is_missing(name):
    H, y, groups, _ = planted()
    if needs_rows_only(name):
        return
    with raises(UsageError, "method-input-missing", method=name, missing=["gradients"]):
        load(name)
    with raises(UsageError, "method-input-missing"):
        fit_direction(name, H[y == 1], H[y == 0])
    with raises(UsageError, "method-input-missing"):
        cross_fitted_quality(name, H, design(y, groups))


CHECKS = (
    is_declared,
    is_a_unit_vector_of_the_positive_side,
    refuses_bad_rows,
    is_refused_where_its_input_is_missing,
)


def finds_none_between_equal_rows(name):
    with raises(DataError, "same-activations"):
        fit(name, np.ones((9, 8)), np.arange(9) % 2)


def finds_a_planted_direction(name):
    H, y, _, direction = planted(gap=12)
    assert len(H) < H.shape[1]
    found = fit(name, H, y).vector
    assert found @ direction > 0.5
    np.testing.assert_allclose(fit(name, H, 1 - y).vector, -found, atol=1e-5)


def finds_it_in_more_rows_than_features(name):
    H, y, groups, direction = planted(n=160, d=24, n_groups=20, gap=6)
    assert abs(fit(name, H, y).vector @ direction) > 0.7
    if needs_rows_only(name):
        assert cross_fitted_quality(name, H, design(y, groups), **FAST).auroc.value > 0.97


def finds_it_in_pairs(name):
    H, y, groups, pairs, direction = planted_pairs()
    assert fit(name, H, y, paired=True).vector @ direction > 0.8
    if needs_rows_only(name):
        quality = cross_fitted_quality(name, H, design(y, groups, pairs), **FAST)
        assert quality.paired
        assert quality.auroc.value > 0.97
        assert quality.stability.pair_cosine.low > 0.1


def separates_held_out_rows(name):
    H, y, groups, _ = planted(gap=12)
    if needs_rows_only(name):
        quality = cross_fitted_quality(name, H, design(y, groups), **FAST)
        assert quality.auroc.value > 0.97
        assert quality.auroc.low > 0.75
        assert quality.null.p == 1 / 11


METHOD_CHECKS = (
    finds_none_between_equal_rows,
    finds_a_planted_direction,
    finds_it_in_more_rows_than_features,
    finds_it_in_pairs,
    separates_held_out_rows,
)


def knows_nothing_of_the_planted_direction(name):
    H, y, _, direction = planted(gap=6)
    found = fit(name, H, y).vector
    assert abs(found @ direction) < 0.5
    if loaded(name).role == "control":
        assert abs(found @ fit(name, H, y, seed=1).vector) < 0.5


def checks(name):
    """Return the checks that apply to a method."""
    if loaded(name).role == "method":
        return (*CHECKS, *METHOD_CHECKS)
    return (*CHECKS, knows_nothing_of_the_planted_direction)
