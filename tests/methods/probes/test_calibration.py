import numpy as np
import pytest
from planted_rows import planted
from sklearn.metrics import brier_score_loss, log_loss

from circuit.methods.probes import calibration
from circuit.methods.probes.probing import cross_validated_probe
from circuit.methods.uncertainty.bootstrap import resample


def probabilities(n=400, n_classes=2, *, sharpen=1.0, seed=0):
    """Log-probabilities (n, K), with labels drawn from them before they are sharpened."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, n_classes)) * 2
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    y = np.array([rng.choice(n_classes, p=row) for row in p])
    logits = logits * sharpen
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)), y


def judged(log_p, y, seed=0):
    rng = np.random.default_rng(seed)
    resamples = resample(y, np.arange(len(y)), n_boot=200, rng=rng)
    return calibration.calibration(log_p, y, resamples, rng=rng)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_scores_are_those_of_scikit_learn(n_classes):
    log_p, y = probabilities(n_classes=n_classes)
    found = judged(log_p, y)
    assert found.log_loss.value == pytest.approx(log_loss(y, np.exp(log_p)))
    if n_classes == 2:
        assert found.brier.value == pytest.approx(brier_score_loss(y, np.exp(log_p[:, 1])))
    for estimate in (found.log_loss, found.brier, found.error):
        assert 0 <= estimate.low <= estimate.value <= estimate.high


def test_a_calibrated_probe_has_the_error_of_chance_and_an_overconfident_one_more():
    honest, sharp = judged(*probabilities()), judged(*probabilities(sharpen=4))
    assert honest.error_by_chance.low <= honest.error.value <= honest.error_by_chance.high
    assert sharp.error.value > sharp.error_by_chance.high
    assert sharp.log_loss.value > honest.log_loss.value


def test_frequencies_cost_their_entropy():
    log_p, y = probabilities()
    share = np.mean(y)
    expected = -(share * np.log(share) + (1 - share) * np.log(1 - share))
    assert judged(log_p, y).log_loss_of_frequencies == pytest.approx(expected)


def test_the_sweep_keeps_shares_rising_in_bins_of_equal_size():
    log_p, y = probabilities()
    confidence, true = calibration.confidence_of(np.exp(log_p), y)
    bins = calibration.sweep(confidence, true)
    sizes = np.bincount(bins)
    assert sizes.max() - sizes.min() <= 1
    assert (np.diff(np.bincount(bins, weights=true) / sizes) >= 0).all()
    assert bins.max() >= 3
    order = np.argsort(confidence, kind="stable")
    assert (np.diff(bins[order]) >= 0).all()


def test_one_bin_measures_the_offset():
    statistic = calibration.error_statistic(
        np.full(10, 0.8), np.arange(10) < 5, np.zeros(10, np.intp)
    )
    assert statistic(np.ones((1, 10)))[0] == pytest.approx(0.3)


def test_a_probe_reports_its_calibration():
    H, y, groups, _ = planted(gap=3)
    found = cross_validated_probe(H, y, groups, n_boot=100, n_shuffles=20)
    assert found.calibration.log_loss.high < np.log(2)
    assert found.calibration.brier.high < 0.25
    assert set(found.as_dict()) >= {"log_loss", "brier", "calibration_error", "p"}
