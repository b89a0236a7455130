"""Iso-KL calibration: on its target where the divergence is continuous, and honest where it jumps."""

import json

import numpy as np
import pytest
from checkpoints import unit_vector, write_checkpoint
from errors import raises

from circuit.artifacts.files.documents import plain, restored
from circuit.artifacts.steering_files.files import Direction, write_npz
from circuit.errors import CircuitError, DataError, UsageError
from circuit.stages.options import ActionOptions, DirectionOptions, ModelOptions, OutputOptions
from circuit.stages.steering.calibrate import CALIBRATE
from circuit.stages.steering.intervention import Intervention, Term
from circuit.stages.steering.neutral import neutral_prompts, neutral_set
from circuit.stages.steering.request import CalibrateRequest
from circuit.stages.steering.rollouts import prepared, roll_out
from circuit.stages.steering.strength import (
    TOGETHER,
    Calibration,
    calibrate,
    calibrated,
    calibrations,
)
from circuit.values.prompt_format import RAW, PromptFormat


def random_direction(model, layer, seed=0):
    return Direction("r", "resid_post", layer, unit_vector(model.d_model, seed), 1.0)


def along_random(model, layer=1, seed=0):
    return Intervention.of(random_direction(model, layer, seed))


@pytest.fixture(scope="module")
def neutral(llama):
    return prepared(llama, neutral_prompts(llama, RAW, neutral_set().texts[:12]), 8)


@pytest.fixture(scope="module")
def tiny():
    return ModelOptions(model="tiny").load()


def test_a_rollout_of_no_steering_diverges_nowhere(llama, neutral):
    for steerings in ([], along_random(llama).at(0.0)):
        found = roll_out(llama, steerings, neutral)
        assert not found.kl.any()
        assert found.agree.all()
        assert len(found.kl) == sum(min(len(ids) + 1, 8) for ids in found.answers)


def test_the_divergence_grows_with_the_square_of_a_small_strength(llama, neutral):
    intervention = along_random(llama)
    small, large = (
        roll_out(llama, intervention.at(c), neutral).statistic("mean") for c in (0.01, 0.02)
    )
    assert large / small == pytest.approx(4, rel=0.25)


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("layer", [0, 2])
def test_random_checkpoints_land_on_the_target(tmp_path, family, layer):
    from circuit.model.checkpoint.loading import load_model

    model = load_model(str(write_checkpoint(tmp_path, family, seed=layer)))
    prompts = neutral_prompts(model, RAW, neutral_set().texts[:12])
    found = calibrate(model, along_random(model, layer), prepared(model, prompts, 8), target=0.02)
    assert found.status == "converged"
    for sign, side in found.sides.items():
        assert side.kl == pytest.approx(0.02, rel=0.05)
        assert len(side.history) <= 12
        assert (side.coefficient > 0) == (sign == "+")
    assert found.coefficient == min(abs(side.coefficient) for side in found.sides.values())


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "layer", "chat"), [(0, 3, False), (1, 0, False), (1, 3, True)])
def test_tiny_lands_on_one_nat(tiny, seed, layer, chat):
    prompts = prepared(tiny, neutral_prompts(tiny, PromptFormat(chat)))
    found = calibrate(tiny, along_random(tiny, layer, seed), prompts, sign=1)
    assert found.status == "converged"
    assert found.kl == pytest.approx(1, rel=0.05)
    assert len(found.sides["+"].history) <= 12


def test_a_divergence_that_cannot_be_reached_is_said(llama, neutral):
    found = calibrate(llama, along_random(llama), neutral, target=500)
    assert found.status == "below"
    assert found.kl < 500


def test_turning_stops_at_the_whole_angle(llama, neutral):
    term = Term(random_direction(llama, 1))
    turned = Intervention((term,), ActionOptions(operator="angular"))
    found = calibrate(llama, turned, neutral, target=500, sign=1)
    assert found.coefficient == pytest.approx(1.0)
    assert found.status == "below"


def test_coefficient_one_is_c_star_afterwards(llama, neutral):
    found = calibrate(llama, along_random(llama), neutral, target=0.02)
    intervention = calibrated(llama, along_random(llama), neutral, 0.02)
    assert intervention.factor == found.coefficient
    side = min(found.sides.values(), key=lambda each: abs(each.coefficient))
    c = 1.0 if side.coefficient > 0 else -1.0
    again = roll_out(llama, intervention.at(c), neutral).statistic("p95")
    assert again == pytest.approx(found.kl, rel=1e-4)


def test_a_calibration_comes_back_from_its_record(llama, neutral):
    found = calibrate(llama, along_random(llama), neutral, target=0.02)
    assert restored(Calibration, plain(found)) == found


@pytest.mark.parametrize("target", [0.0, -1.0, np.nan, np.inf])
def test_a_target_that_is_none_is_refused(llama, neutral, target):
    with raises(UsageError, "out-of-range"):
        calibrate(llama, along_random(llama), neutral, target=target)


def test_statistics_and_prompts_are_checked(llama, neutral):
    with raises(UsageError, "unknown-statistic", statistic="median"):
        calibrate(llama, along_random(llama), neutral, statistic="median")
    with raises(DataError, "no-prompts"):
        prepared(llama, [])
    with raises(UsageError, "out-of-range", n_tokens=0):
        prepared(llama, neutral.prompts, 0)


# ---------------------------------------------------------------------------- whole runs


@pytest.fixture
def request_for(llama, tmp_path):
    """Requests of small calibrations of one direction."""
    write_npz(tmp_path / "d.npz", random_direction(llama, 1))

    def make(folder, **more):
        values = {"kl": 0.02, "sign": "-", "tokens": 4, "prompts": "A fence.|Rice is cooked."}
        return CalibrateRequest(
            model=ModelOptions(model=str(folder)),
            directions=DirectionOptions(direction=[str(tmp_path / "d.npz")]),
            output=OutputOptions(output=tmp_path / "calibration.json"),
            **{**values, **more},
        )

    return make


def test_a_calibration_is_written_and_reused(llama_folder, request_for, tmp_path):
    first = CALIBRATE.run(request_for(llama_folder))
    again = CALIBRATE.run(request_for(llama_folder))
    assert (first.reused, again.reused) == (False, True)
    assert first.result == again.result
    (side,) = first.result.sides.values()
    assert list(first.result.sides) == ["-"]
    assert all(c < 0 for c, _ in side.history)
    document = json.loads((tmp_path / "calibration.json").read_text())
    assert document["schema"] == "circuit.calibration/1"
    assert document["results"] == plain(first.result)


def test_another_chat_template_is_another_calibration(request_for, tmp_path):
    folder = write_checkpoint(tmp_path / "model")
    CALIBRATE.run(request_for(folder))
    config = folder / "tokenizer_config.json"
    settings = json.loads(config.read_text())
    assert "chat_template" in settings
    config.write_text(json.dumps({**settings, "chat_template": "{{ messages[0].content }}!"}))
    with pytest.raises(CircuitError, match="holds something else"):
        CALIBRATE.run(request_for(folder))


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"sign": "x"}, "unknown-sign"),
        ({"kl": 0.0}, "out-of-range"),
        ({"statistic": "p0"}, "unknown-statistic"),
        ({"action": ActionOptions(rule="kl:1.0")}, "option-not-applicable"),
        ({"action": ActionOptions(rule="kl:x")}, "rule-without-number"),
    ],
)
def test_what_cannot_be_calibrated_is_refused_before_the_model_is_loaded(request_for, more, code):
    with raises(UsageError, code):
        CALIBRATE.plan(request_for("nowhere", **more))


def test_interventions_calibrated_in_step_land_where_each_does_alone(llama, neutral):
    several = [along_random(llama, seed % 3, seed) for seed in range(TOGETHER + 2)]
    together = list(calibrations(llama, several, neutral, target=0.02))
    assert len(together) == len(several)
    for intervention, ours in zip(several, together, strict=True):
        alone = calibrate(llama, intervention, neutral, target=0.02)
        assert ours.status == alone.status
        for sign, side in alone.sides.items():
            found = np.array(ours.sides[sign].history)
            np.testing.assert_allclose(found, side.history, rtol=1e-3, atol=1e-6)


def test_a_search_in_step_reports_each_outcome_of_its_own(llama, neutral):
    tiny_unit = Intervention((Term(random_direction(llama, 1), unit=1e-9),))
    several = [along_random(llama), tiny_unit]
    found = list(calibrations(llama, several, neutral, target=0.02, sign=1))
    assert [each.status for each in found] == ["converged", "below"]
