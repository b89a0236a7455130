"""Change and excess: what they are, how often they hold the truth, and what is called acting."""

import numpy as np
import pytest

from circuit.methods.uncertainty.against_controls import acts, against_controls
from circuit.methods.uncertainty.p_values import family_control_p


def outcomes(rng, shape, p, *, group_size=3):
    """Answers that meet a criterion: prompts of a group share half of their luck."""
    n = shape[-1]
    luck = rng.normal(size=(*shape[:-1], n // group_size)).repeat(group_size, axis=-1)
    own = rng.normal(size=shape)
    from scipy.stats import norm

    return ((luck + own) / np.sqrt(2) < norm.ppf(p)).astype(float)


def test_change_and_excess_are_differences_of_means():
    rng = np.random.default_rng(0)
    steered, unsteered, controls = rng.random(30), rng.random(30), rng.random((19, 30))
    found = against_controls(steered, unsteered, controls, np.arange(30))
    assert found.change.value == pytest.approx(steered.mean() - unsteered.mean())
    assert found.excess.value == pytest.approx(steered.mean() - controls.mean())
    assert found.change.low < found.change.value < found.change.high


def test_without_controls_there_is_no_excess_and_one_group_has_no_interval():
    steered, unsteered = np.ones(4), np.zeros(4)
    assert against_controls(steered, unsteered, np.zeros((1, 4)), np.arange(4)).excess is None
    assert against_controls(steered, unsteered, np.zeros((19, 4)), ["a"] * 4) is None


def test_answers_that_all_agree_still_leave_the_groups_that_were_not_seen():
    found = against_controls(np.ones(20), np.zeros(20), np.zeros((19, 20)), np.arange(20))
    for each in (found.change, found.excess):
        assert each.low == pytest.approx(0.05 ** (1 / 20))
        assert each.value == 1


def test_a_push_that_hurts_less_than_random_ones_does_not_act():
    """77 of 78 answers become 78, and random directions leave 0.70 to 0.90 of them."""
    rng = np.random.default_rng(0)
    unsteered = np.r_[np.ones(77), 0]
    controls = (rng.random((99, 78)) < np.linspace(0.7, 0.9, 99)[:, None]).astype(float)
    found = against_controls(np.ones(78), unsteered, controls, np.arange(78) // 3)
    (p_any,) = family_control_p([1 / 78], (controls.mean(axis=1) - unsteered.mean())[:, None])
    assert found.excess.low > 0
    assert p_any == 1
    assert not acts(p_any, found.change.as_triple(), found.excess.as_triple())
    assert not acts(0.01, found.change.as_triple(), found.excess.as_triple())


def test_a_direction_acts_where_it_does_more_than_nothing_and_more_than_chance():
    up, down, none = (0.5, 0.2, 0.8), (-0.5, -0.8, -0.2), (0.1, -0.1, 0.3)
    assert acts(0.05, up, up)
    assert acts(0.05, down, down)
    assert not acts(0.05, up, down)
    assert not acts(0.05, up, none)
    assert not acts(0.051, up, up)
    assert not acts(None, up, up)
    assert not acts(0.05, up, None)


@pytest.mark.slow
def test_intervals_hold_the_truth_for_correlated_prompts():
    """Truth: a share of 0.6 against 0.4, with 16 groups of 3 prompts that share half of their luck."""
    rng, held, repeats = np.random.default_rng(3), np.zeros(2), 400
    groups = np.arange(48) // 3
    for _ in range(repeats):
        steered, unsteered = outcomes(rng, (48,), 0.6), outcomes(rng, (48,), 0.4)
        controls = outcomes(rng, (39, 48), 0.4)
        found = against_controls(steered, unsteered, controls, groups, n_boot=400)
        held += [each.low <= 0.2 <= each.high for each in (found.change, found.excess)]
    assert (held / repeats >= 0.93).all()


@pytest.mark.slow
def test_a_direction_like_any_other_is_said_to_act_in_one_case_of_twenty_at_most():
    """Six coefficients and two labels: every direction moves the answers, by a random amount of its own."""
    rng, groups, repeats = np.random.default_rng(4), np.arange(36) // 3, 500
    claimed = 0
    for _ in range(repeats):
        unsteered = outcomes(rng, (36,), 0.5)
        strength = rng.normal(size=(20, 1, 1)) * np.array([-1, -0.5, 0.5, 1])[None, :, None] * 0.25
        share = np.clip(0.5 + strength + 0 * unsteered, 0.02, 0.98)
        answers = (rng.random(share.shape) < share).astype(
            float
        )  # (direction, coefficient, prompt)
        change = answers.mean(axis=2) - unsteered.mean()
        p_any = family_control_p(change[0], change[1:])
        found = [
            against_controls(answers[0, c], unsteered, answers[1:, c], groups, n_boot=200)
            for c in range(4)
        ]
        claimed += any(
            acts(p, each.change.as_triple(), each.excess.as_triple())
            for p, each in zip(p_any, found, strict=True)
        )
    assert claimed / repeats <= 0.07  # 0.05 and three standard errors of 500 repeats
