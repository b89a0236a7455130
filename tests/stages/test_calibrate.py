"""Iso-KL calibration: on its target where the divergence is continuous, and honest where it jumps."""

import numpy as np
import pytest
from checkpoints import unit_vector, write_checkpoint

from circuit.artifacts.steering_files.files import Direction
from circuit.errors import DataError, UsageError
from circuit.stages.steering.intervention import Intervention, Manner, Part
from circuit.stages.steering.neutral import neutral_prompts, neutral_set
from circuit.stages.steering.rollouts import prepared, roll_out
from circuit.stages.steering.strength import (
    Calibration,
    Request,
    calibrate,
    calibrated,
    run_calibration,
)
from circuit.values.prompt_format import RAW, PromptFormat


def random_direction(model, layer, seed=0):
    return Direction("r", "resid_post", layer, unit_vector(model.d_model, seed), 1.0)


@pytest.fixture(scope="module")
def neutral(llama):
    return prepared(llama, neutral_prompts(llama, RAW, neutral_set().texts[:12]), 8)


@pytest.fixture(scope="module")
def tiny():
    from circuit.stages.legacy import ModelOptions

    return ModelOptions("tiny").load()


def test_a_rollout_of_no_steering_diverges_nowhere(llama, neutral):
    found = roll_out(llama, Intervention.of(random_direction(llama, 1)), 0.0, neutral)
    assert not found.kl.any()
    assert found.agree.all()
    assert len(found.kl) == sum(min(len(ids) + 1, 8) for ids in found.answers)


def test_the_divergence_grows_with_the_square_of_a_small_strength(llama, neutral):
    intervention = Intervention.of(random_direction(llama, 1))
    small, large = (
        roll_out(llama, intervention, c, neutral).statistic("mean") for c in (0.01, 0.02)
    )
    assert large / small == pytest.approx(4, rel=0.25)


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("layer", [0, 2])
def test_random_checkpoints_land_on_the_target(tmp_path, family, layer):
    from circuit.model.checkpoint.loading import load_model

    model = load_model(str(write_checkpoint(tmp_path, family, seed=layer)))
    prompts = neutral_prompts(model, RAW, neutral_set().texts[:12])
    found = calibrate(
        model, Intervention.of(random_direction(model, layer)), prompts, target=0.02, n_tokens=8
    )
    assert found.status == "converged"
    for side in found.sides.values():
        assert side.value == pytest.approx(0.02, rel=0.05)
        assert len(side.history) <= 12
    assert found.coefficient == min(side.c for side in found.sides.values())


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "layer", "chat"), [(0, 3, False), (1, 0, False), (1, 3, True)])
def test_tiny_lands_on_one_nat(tiny, seed, layer, chat):
    prompts = neutral_prompts(tiny, PromptFormat(chat))
    found = calibrate(tiny, Intervention.of(random_direction(tiny, layer, seed)), prompts, sign=1)
    assert found.status == "converged"
    assert found.kl == pytest.approx(1, rel=0.05)
    assert len(found.sides["+"].history) <= 12


def test_a_divergence_that_cannot_be_reached_is_said(llama, neutral):
    found = calibrate(llama, Intervention.of(random_direction(llama, 1)), neutral, target=500)
    assert found.status == "below"
    assert not found.converged
    assert found.kl < 500


def test_turning_stops_at_the_whole_angle(llama, neutral):
    turned = Intervention((Part(random_direction(llama, 1)),), Manner(operator="angular"))
    found = calibrate(llama, turned, neutral, target=500, sign=1)
    assert found.coefficient == pytest.approx(1.0)
    assert found.status == "below"


def test_coefficient_one_is_c_star_afterwards(llama, neutral):
    plain = Intervention.of(random_direction(llama, 1))
    intervention, found = calibrated(llama, plain, neutral, 0.02)
    again = roll_out(llama, intervention, 1.0, neutral).statistic("p95")
    side = found.sides["+"] if found.sides["+"].c == found.coefficient else None
    if side is not None:
        assert again == pytest.approx(found.kl, rel=1e-4)
    assert intervention.factor == found.coefficient


def test_a_calibration_comes_back_from_its_record(llama, neutral):
    found = calibrate(llama, Intervention.of(random_direction(llama, 1)), neutral, target=0.02)
    assert Calibration.of(found.as_dict()) == found


def test_a_calibration_is_written_and_reused(llama, neutral, tmp_path):
    request = Request(
        Intervention.of(random_direction(llama, 1)), neutral, {"format": "raw"}, 0.02, sign=-1
    )
    out = tmp_path / "calibration.json"
    first, reused = run_calibration(llama, request, out=out, inputs=[])
    again, reused_again = run_calibration(llama, request, out=out, inputs=[])
    assert (reused, reused_again) == (False, True)
    assert first == again
    assert list(first["sides"]) == ["-"]
    assert all(c < 0 for c, _ in first["sides"]["-"]["history"])


@pytest.mark.parametrize("target", [0.0, -1.0, np.nan, np.inf])
def test_a_target_that_is_none_is_refused(llama, neutral, target):
    with pytest.raises(UsageError, match="no KL divergence"):
        calibrate(llama, Intervention.of(random_direction(llama, 1)), neutral, target=target)


def test_statistics_and_prompts_are_checked(llama, neutral):
    intervention = Intervention.of(random_direction(llama, 1))
    with pytest.raises(UsageError, match="not a statistic"):
        calibrate(llama, intervention, neutral, statistic="median")
    with pytest.raises(DataError, match="no neutral prompts"):
        prepared(llama, [])
    with pytest.raises(UsageError, match="cannot be written"):
        prepared(llama, neutral.prompts, 0)
