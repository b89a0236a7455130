"""The sweep: a planted direction steers, a random one does not, and nothing is measured on what was fitted."""

import json
from dataclasses import replace

import numpy as np
import pytest
from checkpoints import unit_vector
from errors import raises
from in_process import invoke
from sweeping import DOSES, FEW, experiment, planted, prompt_set

from circuit.artifacts.files.documents import plain, restored
from circuit.artifacts.manifest.manifest import Run
from circuit.artifacts.prompts.prompts import PromptSet
from circuit.artifacts.prompts.read import read_prompts
from circuit.artifacts.steering_files.files import (
    Direction,
    read_directions,
    write_directions,
    write_npz,
)
from circuit.errors import CircuitError, DataError, UsageError
from circuit.stages.options import (
    DirectionOptions,
    ModelOptions,
    OutputOptions,
    ReadoutOptions,
)
from circuit.stages.rows.holdout import check_apart
from circuit.stages.rows.provenance import fit_of, shuffled_vectors, training_prompts
from circuit.stages.run import Session
from circuit.stages.steering.controls import controls
from circuit.stages.steering.intervention import Intervention
from circuit.stages.steering.readout import Readout
from circuit.stages.sweep.document import sweep_document
from circuit.stages.sweep.experiment import SweepSettings, check_test, check_training
from circuit.stages.sweep.request import SweepRequest
from circuit.stages.sweep.result import ControlSlopes, SweepResult
from circuit.stages.sweep.run import SWEEP, sweep
from circuit.stages.sweep.verdict import verdict


@pytest.fixture(scope="module")
def at(identity_llama):
    return planted(identity_llama)


@pytest.fixture(scope="module")
def result(identity_llama, at):
    """A sweep of the planted direction."""
    return sweep(identity_llama, experiment(at))


# ------------------------------------------------------------------------ what is measured


def test_a_planted_direction_steers_and_its_reverse_goes_the_wrong_way(identity_llama, at, result):
    assert result.slope > 0
    assert result.slope_ci[0] > 0
    assert result.anti_steerable_frac == 0
    assert result.slope > max(map(abs, result.random.slopes))
    assert result.random.perm_p == pytest.approx(1 / 5)
    assert result.bidirectional
    assert result.monotone_frac == 1
    back = sweep(identity_llama, experiment(replace(at, vector=-at.vector)))
    assert back.slope == pytest.approx(-result.slope, rel=1e-4)
    assert back.random.perm_p == pytest.approx(1 / 5)  # two-sided
    assert back.anti_steerable_frac == 1


def test_dose_zero_is_the_unsteered_model(result):
    zero = DOSES.index(0.0)
    assert result.kl_p95[zero] == 0
    assert result.top1[zero] == 1
    assert result.nll_delta[zero] == 0
    assert result.change[zero] == (0, 0, 0)
    for curve in result.random.curves:
        assert curve[zero] == pytest.approx(result.curve[zero][0], abs=1e-5)


def test_a_random_direction_is_not_called_steering(llama):
    direction = Direction("r", "resid_post", 1, unit_vector(llama.d_model, 77), 1.0)
    found = sweep(llama, experiment(direction, Readout(("Y",))))
    assert found.verdict.word != "steers"


def test_the_whole_of_it_with_calibration_prompt_and_same_kl(llama):
    direction = Direction("r", "resid_post", 1, unit_vector(llama.d_model), 1.0)
    settings = replace(
        FEW, strength=None, kl=0.02, same_kl=True, n_random=1, prompt_baseline="Say yes. "
    )
    readout = Readout(criterion="regex:e", max_tokens=4)
    found = sweep(llama, experiment(direction, readout, settings=settings))
    assert found.calibration.status == "converged"
    assert found.c_star == found.calibration.coefficient
    assert found.rates[0][0] == found.curve[0][0]
    assert found.prompt_baseline.text == "Say yes. "
    assert found.random.same == "kl"
    assert found.valid_frac is None


def test_a_result_comes_back_from_its_record(result):
    assert restored(SweepResult, json.loads(json.dumps(plain(result)))) == result


def test_few_groups_have_no_claim_and_few_prompts_no_score(identity_llama, at):
    few = sweep(identity_llama, experiment(at, test=prompt_set(4, 2)))
    assert few.score is None
    assert few.verdict.word == "few groups"
    assert any("no score" in text for text in few.warnings)


def test_controls_have_the_size_and_place_of_the_direction():
    direction = Direction("r", "resid_post", 1, unit_vector(8), 3.0)
    steering = replace(Intervention.of(direction), factor=0.7)
    made = controls(steering, 2, [[unit_vector(8, 5)]], 0)
    assert [control.name for control in made] == ["random 1", "random 2", "shuffled 1"]
    for control in made:
        assert control.intervention.factor == 0.7
        assert control.intervention.terms[0].direction.layer == 1


# ----------------------------------------------------------------------------- held apart


def test_sets_that_share_a_group_or_a_text_are_refused():
    test = prompt_set()
    with pytest.raises(DataError, match="share 2 groups"):
        check_apart({"validation": prompt_set(2), "test": test})
    renamed = {"name": "x", "prompts": [{"text": test.texts[0], "group": "other"}]}
    with pytest.raises(DataError, match="share 1 texts"):
        check_apart({"train": PromptSet.model_validate(renamed), "test": test})


def test_test_prompts_that_were_fitted_to_are_refused(workspace):
    fit = fit_of(workspace / "directions.safetensors")
    with pytest.raises(DataError, match="training"):
        check_training([fit], "test", read_prompts(workspace / "prompts.json"))
    check_training([None, fit], "test", prompt_set())


def test_training_prompts_and_shuffled_labels_come_from_the_manifest(workspace):
    fit = fit_of(workspace / "directions.safetensors")
    assert fit is not None
    direction = read_directions(workspace / "directions.safetensors")[2]
    assert training_prompts(fit).texts == read_prompts(workspace / "prompts.json").texts
    drawn = np.stack(shuffled_vectors(direction, fit, None, 20, 0))
    assert np.allclose(np.linalg.norm(drawn, axis=1), 1, atol=1e-5)
    assert np.array_equal(drawn, np.stack(shuffled_vectors(direction, fit, None, 20, 0)))
    assert abs(float(np.mean(drawn @ direction.vector))) < 0.5
    assert fit_of(workspace / "computation.npz") is None
    with pytest.raises(UsageError):
        shuffled_vectors(direction, None, None, 1, 0)


@pytest.mark.parametrize("named", ["directions.json", "directions.safetensors"])
def test_a_chosen_direction_leads_back_to_what_it_was_fitted_to(workspace, tmp_path, named):
    direction = read_directions(workspace / "directions.json")[1]
    write_directions(
        tmp_path / "chosen",
        [direction],
        parameters={},
        inputs=[workspace / named],
        run=Run.since(0.0),
        model=direction.model,
    )
    fit = fit_of(tmp_path / "chosen.json")
    assert fit is not None
    assert fit.archive.resolve() == (workspace / "activations.json").resolve()
    assert fit.directions.parameters["method"] == "mean_diff"


# ------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"doses": (-1.0, 0.0, 1.0)}, "too-few-doses"),
        ({"doses": (-1.0, -0.5, 0.5, 1.0)}, "invalid-doses"),
        ({"doses": (1.0, 0.5, 0.0, -0.5, -1.0)}, "invalid-doses"),
        ({"doses": (-1.0, -0.5, 0.0, 0.5, float("nan"))}, "not-finite"),
        ({"kl": 0.0}, "out-of-range"),
        ({"strength": -1.0}, "out-of-range"),
        ({"strength": 1.0, "same_kl": True}, "option-not-applicable"),
    ],
)
def test_settings_that_make_no_sweep_are_refused(settings, code):
    with raises(UsageError, code):
        SweepSettings(**settings).check()


def test_one_group_of_test_prompts_is_refused():
    with pytest.raises(DataError, match="one group"):
        check_test(prompt_set(1, 5), Readout(("Y",)), FEW)


# -------------------------------------------------------------------------------- verdict


@pytest.fixture(scope="module")
def steering_result(result):
    """A result that says *steers*."""
    beside = ControlSlopes(
        n=20,
        kind="random",
        same="norm",
        slopes=[0.1, -0.2] * 10,
        slope_p95=0.2,
        perm_p=1 / 21,
        curves=[],
        kl_p95=[],
    )
    numbers = {"n_groups": 12, "valid_frac": 1.0, "slope": 1.0, "slope_ci": (0.5, 1.5)}
    return replace(result, **numbers, random=beside, shuffled=replace(beside, kind="shuffled"))


@pytest.mark.parametrize(
    ("changed", "random", "shuffled", "word"),
    [
        ({}, {}, {}, "steers"),
        ({"n_groups": 9}, {}, {}, "few groups"),
        ({"valid_frac": 0.4}, {}, {}, "not readable"),
        ({"slope_ci": (-2, -1), "slope": -1.5}, {}, {}, "wrong way"),
        ({"slope_ci": (-0.1, 1)}, {}, {}, "no effect"),
        ({}, {"perm_p": 2 / 21}, {}, "not above random"),
        ({}, {}, {"perm_p": 1 / 20, "p_all": 0.06, "same": "kl"}, "not above shuffled labels"),
        ({}, {"perm_p": 0.2, "p_all": 0.04}, {"perm_p": 1 / 20}, "steers"),
        ({}, {}, {"n": 0, "slopes": [], "perm_p": None}, "few controls"),
        ({}, {"n": 18, "slopes": [0.1] * 18, "perm_p": 1 / 19}, {}, "few controls"),
    ],
)
def test_the_verdict_says_no_more_than_there_is(steering_result, changed, random, shuffled, word):
    found = verdict(
        replace(
            steering_result,
            **changed,
            random=replace(steering_result.random, **random),
            shuffled=replace(steering_result.shuffled, **shuffled),
        )
    )
    assert found.word == word
    assert found.text.endswith(".")


# --------------------------------------------------------------------------- presentation


def test_a_sweep_is_one_finding_with_its_controls_and_figures(result):
    document = sweep_document(result)
    (finding,) = document.findings()
    assert (finding.verdict, finding.strength) == ("not readable", 0)  # two of 263 letters
    assert (finding.score.low, finding.score.high) == result.slope_ci
    assert finding.scale[0] <= finding.score.low <= finding.score.high <= finding.scale[1]
    assert [each.name for each in document.figures()] == ["dose_response", "frontier"]


# ----------------------------------------------------------------------------- whole runs


@pytest.fixture
def request_for(identity_llama, at, tmp_path):
    """Requests of the sweep of the planted direction."""
    write_npz(tmp_path / "d.npz", at)
    prompt_set().save(tmp_path / "test.json")

    def make(**more):
        values = {"doses": ",".join(map(str, DOSES)), "dose_one": 0.5, "random": 1, "shuffled": 0}
        return SweepRequest(
            model=ModelOptions(model=identity_llama.id),
            test=tmp_path / "test.json",
            directions=DirectionOptions(direction=[str(tmp_path / "d.npz")]),
            readout=ReadoutOptions(positive_answers="Y", negative_answers="N"),
            **{**values, **more},
        )

    return make


def test_a_sweep_is_written_reused_and_resumes(request_for, tmp_path):
    out = OutputOptions(output=tmp_path / "sweep.json")

    def stop(items, description, total):
        for i, item in enumerate(items):
            if i == 4:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        SWEEP.run(request_for(output=out), Session(track=stop))
    partial = tmp_path / "sweep.json.partial"
    assert len(partial.read_text().splitlines()) == 1 + 5  # the key, and what was measured
    whole = SWEEP.run(request_for()).result
    measured: list[str] = []

    def seen(items, description, total):
        for item in items:
            measured.append(item[0].name)
            yield item

    first = SWEEP.run(request_for(output=out), Session(track=seen))
    assert (first.reused, first.result) == (False, whole)
    assert not partial.exists()
    again = SWEEP.run(request_for(output=out))
    assert (again.reused, again.result) == (True, whole)
    document = json.loads((tmp_path / "sweep.json").read_text())
    assert document["schema"] == "circuit.sweep/2"
    assert document["results"] == plain(whole)
    with pytest.raises(CircuitError, match="holds something else"):
        SWEEP.run(request_for(output=out, dose_one=0.4))


def test_a_sweep_that_is_forced_begins_anew(request_for, tmp_path):
    out = tmp_path / "sweep.json"
    SWEEP.run(request_for(output=OutputOptions(output=out)))
    forced = OutputOptions(output=out, force=True)
    assert not SWEEP.run(request_for(output=forced, dose_one=0.4)).reused


def test_pictures_are_drawn_beside_a_sweep_that_is_there_too(request_for, tmp_path):
    out, plots = OutputOptions(output=tmp_path / "sweep.json"), tmp_path / "plots"
    SWEEP.run(request_for(output=out))
    assert SWEEP.run(request_for(output=out, plots=plots)).reused
    assert {path.name for path in plots.iterdir()} >= {"dose_response.png", "frontier.png"}
    with raises(UsageError, "option-needed"):
        SWEEP.plan(request_for(plots=plots))


def test_a_rule_that_calibrates_is_refused(request_for):
    from circuit.stages.options import ActionOptions

    with raises(UsageError, "option-not-applicable", rule="kl:1.0"):
        SWEEP.plan(request_for(action=ActionOptions(rule="kl:1.0")))


def test_the_command_prints_the_verdict(workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    done = invoke(["steer", "table", "sweep.json"])
    assert done.exit_code == 0, done.output
    assert "few groups" in done.stdout
