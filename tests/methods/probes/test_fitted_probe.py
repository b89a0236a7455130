import numpy as np
import pytest
from planted_rows import noise, planted
from sklearn.linear_model import LogisticRegression

from circuit.methods.probes.fitted_probe import fit_probe


@pytest.mark.parametrize("n_classes", [2, 3])
def test_probabilities_are_those_of_scikit_learn_on_new_rows(n_classes):
    H, _, groups = noise(90, 40, 30)
    y = groups % n_classes
    H[:, 0] += 2 * y
    found = fit_probe(H, y, groups)
    mean, scale = H.mean(axis=0), H.std(axis=0)
    model = LogisticRegression(C=found.c, tol=1e-8, max_iter=1000).fit((H - mean) / scale, y)
    new = np.random.default_rng(9).normal(size=(20, 40)) * 3
    expected = model.predict_proba((new - mean) / scale)
    np.testing.assert_allclose(found.probabilities(new), expected, atol=1e-3)
    assert found.weights.shape == (40, 1 if n_classes == 2 else 3)


def test_equal_rows_have_no_weights_and_the_frequencies_as_probabilities():
    _, y, groups, _ = planted()
    found = fit_probe(np.ones((80, 6)), y, groups)
    assert np.abs(found.weights).max() < 1e-12
    assert found.probabilities(np.ones((1, 6)))[0, 1] == pytest.approx(y.mean(), abs=1e-6)
