"""The sweep: a planted direction steers, a random one does not, and nothing is measured on what was fitted."""

import json
from dataclasses import replace

import numpy as np
import pytest
from checkpoints import unit_vector
from circuit.stages.sweep.job import Choices, Job

from circuit.artifacts.manifest.manifest import Run
from circuit.artifacts.prompts.prompts import PromptSet
from circuit.artifacts.prompts.read import read_prompts
from circuit.artifacts.steering_files.files import Direction, write_directions
from circuit.errors import CircuitError, DataError, UsageError
from circuit.stages.rows.holdout import check_apart
from circuit.stages.steering.controls import controls
from circuit.stages.steering.intervention import Intervention, Manner
from circuit.stages.steering.readout import Readout
from circuit.stages.sweep.best_layers import best_layers
from circuit.stages.sweep.run import sweep
from circuit.stages.sweep.select import Choosing, chosen_path, select, the_best
from circuit.stages.sweep.verdict import verdict
from circuit.values.prompt_format import RAW

DOSES = (-1.0, -0.5, 0.0, 0.5, 1.0)
FEW = Choices(DOSES, strength=0.5, n_random=4, n_shuffled=0, n_tokens=4, n_boot=200)
READ = Readout(("Y",), ("N",))
NEUTRAL = ("The plates are here.", "Rice is cooked.", "A fence runs there.", "When is it?")


def job_of(direction, readout=READ, test=None, choices=FEW, **fields):
    test = test or prompt_set()
    return Job(Intervention.of(direction), test, readout, RAW, choices, neutral=NEUTRAL, **fields)


def prompt_set(n_groups=12, per_group=2, name="test"):
    return PromptSet.model_validate(
        {
            "name": name,
            "labels": ["no", "yes"],
            "prompts": [
                {
                    "text": f"{name} question {g} number {i}: is it? ",
                    "label": ("no", "yes")[i % 2],
                    "group": f"{name}/{g}",
                }
                for g in range(n_groups)
                for i in range(per_group)
            ],
        }
    )


@pytest.fixture(scope="module")
def planted(identity_llama):
    """In a model of identity blocks, the difference of two output rows moves exactly their log-ratio."""
    import mlx.core as mx

    weights = np.array(identity_llama.network.lm_head.weight.astype(mx.float32))
    from circuit.model.prompts.tokens import encode_prompts

    ids = [int(encode_prompts(identity_llama, [letter])[0].ids[-1]) for letter in "YN"]
    v = weights[ids[0]] - weights[ids[1]]
    return Direction(
        "yes", "resid_post", 1, v / np.linalg.norm(v), float(np.linalg.norm(v)), "pair"
    )


def test_a_planted_direction_steers_and_its_reverse_goes_the_wrong_way(identity_llama, planted):
    job = job_of(planted)
    results, _ = sweep(identity_llama, job)
    assert results["slope"] > 0
    assert results["slope_ci"][0] > 0
    assert results["anti_steerable_frac"] == 0
    assert results["slope"] > max(map(abs, results["random"]["slopes"]))
    assert results["random"]["perm_p"] == pytest.approx(1 / 5)
    assert results["bidirectional"]
    assert results["monotone_frac"] == 1
    reverse = replace(planted, vector=-planted.vector)
    back, _ = sweep(identity_llama, replace(job, intervention=Intervention.of(reverse)))
    assert back["slope"] == pytest.approx(-results["slope"], rel=1e-4)
    assert back["random"]["perm_p"] == pytest.approx(1 / 5)  # two-sided
    assert back["anti_steerable_frac"] == 1


def test_dose_zero_is_the_model_as_it_is(identity_llama, planted):
    job = job_of(planted)
    results, _ = sweep(identity_llama, job)
    zero = DOSES.index(0.0)
    assert results["kl_p95"][zero] == 0
    assert results["top1"][zero] == 1
    assert results["nll_delta"][zero] == 0
    assert results["change"][zero] == [0, 0, 0]
    for curve in results["random"]["curves"]:
        assert curve[zero] == pytest.approx(results["curve"][zero][0], abs=1e-5)


def test_a_random_direction_is_not_called_steering(llama):
    direction = Direction("r", "resid_post", 1, unit_vector(llama.d_model, 77), 1.0)
    job = job_of(direction, Readout(("Y",)))
    results, _ = sweep(llama, job)
    assert results["verdict"]["word"] != "steers"


def test_a_sweep_is_written_reused_and_goes_on_where_it_was(identity_llama, planted, tmp_path):
    out = tmp_path / "sweep.json"
    job = job_of(planted)
    seen: list[str] = []

    def stop(items, description, total):
        for i, item in enumerate(items):
            if i == 4:
                raise KeyboardInterrupt
            seen.append(item[0])
            yield item

    with pytest.raises(KeyboardInterrupt):
        sweep(identity_llama, job, out=out, track=stop)
    partial = tmp_path / "sweep.json.partial"
    assert len(partial.read_text().splitlines()) == 1 + 4
    whole, _ = sweep(identity_llama, job)
    results, reused = sweep(identity_llama, job, out=out)
    assert not reused
    assert results == whole
    assert not partial.exists()
    assert sweep(identity_llama, job, out=out)[1]
    assert json.loads(out.read_text())["schema"] == "circuit.sweep/2"
    with pytest.raises(CircuitError, match="holds something else"):
        sweep(identity_llama, replace(job, choices=replace(FEW, seed=1)), out=out)


def test_the_whole_of_it_with_calibration_prompt_and_same_kl(llama):
    direction = Direction("r", "resid_post", 1, unit_vector(llama.d_model), 1.0)
    choices = replace(
        FEW, strength=None, kl=0.02, same_kl=True, n_random=1, prompt_baseline="Say yes. "
    )
    job = job_of(direction, Readout(criterion="regex:e", max_tokens=4), choices=choices)
    results, _ = sweep(llama, job)
    assert results["calibration"]["status"] == "converged"
    assert results["c_star"] == results["calibration"]["coefficient"]
    assert results["rates"][0][0] == results["curve"][0][0]
    assert results["prompt_baseline"]["text"] == "Say yes. "
    assert results["random"]["same"] == "kl"
    assert results["valid_frac"] is None


def test_sets_that_share_a_group_or_a_text_are_refused(identity_llama, planted):
    test = prompt_set()
    shared = prompt_set(2, name="test")
    job = job_of(planted, test=test, others={"validation": shared})
    with pytest.raises(DataError, match="validation and the test prompts share 2 groups"):
        sweep(identity_llama, job)
    renamed = PromptSet.model_validate(
        {"name": "x", "prompts": [{"text": test.texts[0], "group": "other"}]}
    )
    with pytest.raises(DataError, match="share 1 texts"):
        check_apart({"train": renamed, "test": test})


def test_training_prompts_and_shuffled_labels_come_from_the_manifest(workspace, tmp_path):
    from circuit.artifacts.steering_files.files import read_directions
    from circuit.stages.rows.provenance import fit_of, shuffled_vectors, training_prompts

    fit = fit_of(workspace / "directions.safetensors")
    assert fit is not None
    direction = read_directions(workspace / "directions.safetensors")[2]
    assert training_prompts(fit).texts == read_prompts(workspace / "prompts.json").texts
    drawn = np.stack(shuffled_vectors(direction, fit, None, 20, 0))
    assert np.allclose(np.linalg.norm(drawn, axis=1), 1, atol=1e-5)
    assert np.array_equal(drawn, np.stack(shuffled_vectors(direction, fit, None, 20, 0)))
    assert abs(float(np.mean(drawn @ direction.vector))) < 0.5
    assert fit_of(workspace / "computation.npz") is None
    with pytest.raises(UsageError, match="does not lead to what it was fitted to"):
        shuffled_vectors(direction, None, None, 1, 0)


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"doses": (-1.0, 0.0, 1.0)}, "two doses and more"),
        ({"doses": (-1.0, -0.5, 0.5, 1.0)}, "lack 0"),
        ({"doses": (1.0, 0.5, 0.0, -0.5, -1.0)}, "do not rise"),
        ({"doses": (-1.0, -0.5, 0.0, 0.5, float("nan"))}, "not a finite number"),
        ({"kl": 0.0}, "no KL divergence"),
        ({"strength": -1.0}, "not the strength"),
        ({"strength": 1.0, "same_kl": True}, "same KL need"),
    ],
)
def test_choices_that_make_no_sweep_are_refused(choices, words):
    with pytest.raises(UsageError, match=words):
        Choices(**choices).check()


def test_one_group_is_refused_and_few_prompts_have_no_score(identity_llama, planted):
    job = job_of(planted, test=prompt_set(1, 5))
    with pytest.raises(DataError, match="of one group"):
        sweep(identity_llama, job)
    few, _ = sweep(identity_llama, replace(job, test=prompt_set(4, 2)))
    assert few["score"] is None
    assert few["verdict"]["word"] == "few groups"
    assert any("no score" in text for text in few["warnings"])


def results_like(**changed):
    beside = {"n": 10, "slopes": [0.1, -0.2] * 5, "same": "norm"}
    return {
        "n_groups": 12,
        "valid_frac": 1.0,
        "slope": 1.0,
        "slope_ci": [0.5, 1.5],
        "random": beside,
        "shuffled": beside,
        **changed,
    }


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({}, "steers"),
        ({"n_groups": 9}, "few groups"),
        ({"valid_frac": 0.4}, "not readable"),
        ({"slope_ci": [-2, -1], "slope": -1.5}, "wrong way"),
        ({"slope_ci": [-0.1, 1]}, "no effect"),
        ({"random": {"n": 2, "slopes": [0.1, -1.2], "same": "norm"}}, "not above random"),
        ({"shuffled": {"n": 1, "slopes": [1.0], "same": "kl"}}, "not above shuffled labels"),
        ({"shuffled": {"n": 0, "slopes": [], "same": "norm"}}, "few controls"),
        ({"random": {"n": 9, "slopes": [0.1] * 9, "same": "norm"}}, "few controls"),
    ],
)
def test_the_verdict_says_no_more_than_there_is(changed, word):
    found = verdict(results_like(**changed))
    assert found["word"] == word
    assert found["text"].endswith(".")


def test_controls_have_the_size_and_place_of_the_direction():
    direction = Direction("r", "resid_post", 1, unit_vector(8), 3.0)
    steering = replace(Intervention.of(direction), factor=0.7)
    made = controls(steering, 2, [[unit_vector(8, 5)]], 0)
    assert [control.name for control in made] == ["random 1", "random 2", "shuffled 1"]
    for control in made:
        assert control.intervention.factor == 0.7
        assert control.intervention.parts[0].direction.layer == 1


def choosing_for(model, planted, **changed):
    other = Direction("r", "resid_post", 0, unit_vector(model.d_model, 3), 1.0, "pair")
    fields = {"kl": 0.02, "shares": (1.0,), "max_depth": 1.0, "n_boot": 100, **changed}
    fields["neutral"] = NEUTRAL
    readout = Readout(("Y",))
    return Choosing([other, planted], Manner(), prompt_set(name="val"), readout, RAW, **fields)


def test_the_planted_direction_is_selected_and_says_how_many_were_tried(
    identity_llama, planted, tmp_path
):
    from circuit.artifacts.steering_files.files import read_directions

    out = tmp_path / "selection.json"
    results, reused = select(identity_llama, choosing_for(identity_llama, planted), out=out)
    assert not reused
    assert results["chosen"]["name"] == "yes"
    assert all(each["kl"] <= 0.02 * 1.05 for each in results["candidates"] if each["allowed"])
    (chosen,) = read_directions(chosen_path(out))
    assert chosen.extra["selection"]["configs_tried"] == 2
    assert np.array_equal(chosen.vector, planted.vector)
    assert select(identity_llama, choosing_for(identity_llama, planted), out=out)[1]


def test_deep_layers_do_not_count_and_nothing_allowed_is_an_error(
    identity_llama, planted, tmp_path
):
    shallow = choosing_for(identity_llama, planted, max_depth=0.3)
    results, _ = select(identity_llama, shallow, out=tmp_path / "s.json")
    assert results["chosen"]["layer"] == 0
    with pytest.raises(DataError, match="none of 0 candidates"):
        the_best([], 1.0)
    with pytest.raises(UsageError, match="not a share of the depth"):
        choosing_for(identity_llama, planted, max_depth=0).check()
    with pytest.raises(UsageError, match="shares of c"):
        choosing_for(identity_llama, planted, shares=(2.0,)).check()


def test_best_layers_are_typed_sorted_and_at_the_same_damage(llama):
    prompts = ["One day", "Then they", "My friend", "The dog"]
    pair = ("I am so happy", "I am so sad")
    found = best_layers(
        llama, *pair, prompts, "joy", kl=0.02, neutral=NEUTRAL, n_tokens=6, n_boot=100
    )
    assert [each.gain for each in found] == sorted((e.gain for e in found), reverse=True)
    assert {each.layer for each in found} == {0, 1, 2}
    for each in found:
        assert each.low <= each.gain <= each.high
        if each.status == "converged":
            assert each.kl == pytest.approx(0.02, rel=0.05)
    with pytest.raises(UsageError, match="no prompts"):
        best_layers(llama, "a", "b", [], "joy")


def test_pictures_are_drawn_of_one_sweep_and_of_several(identity_llama, planted, tmp_path):
    from circuit.stages.figures.sweep import visualize_sweeps

    from circuit.stages.figures.reports import visualize_report
    from circuit.stages.report.request import ReportRequest
    from circuit.stages.run import run

    out = tmp_path / "sweep.json"
    sweep(identity_llama, job_of(planted), out=out)
    results, _ = visualize_report(out, tmp_path / "plots")
    assert [figure["file"] for figure in results["figures"]] == [
        "dose_response.png",
        "frontier.png",
    ]
    assert visualize_report(out, tmp_path / "plots")[1]
    page = run(ReportRequest(paths=(out,), output=tmp_path / "report.html"))
    assert page.findings[0].verdict == "not readable"  # two of 263 letters
    assert (tmp_path / "report.html").read_text("utf-8").count("<img ") == 2
    many, _ = visualize_sweeps({"a": out, "b": out}, tmp_path / "many")
    assert (tmp_path / "many" / "steering.png").is_file()
    assert many["figures"][0]["caption"]


@pytest.mark.parametrize("named", ["directions.json", "directions.safetensors"])
def test_a_chosen_direction_leads_back_to_what_it_was_fitted_to(workspace, tmp_path, named):
    from circuit.artifacts.steering_files.files import read_directions
    from circuit.stages.rows.provenance import fit_of

    source = workspace / "directions.json"
    direction = read_directions(source)[1]
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


def test_specificity_runs_every_direction_on_every_test_set(workspace):
    from circuit.stages.sweep.results import read_sweep

    from circuit.stages.legacy import ModelOptions
    from circuit.stages.sweep.specificity import specificity

    model = ModelOptions("tiny").load()
    sweep_file = workspace / "sweep.json"
    found, _ = specificity(model, {"a": sweep_file, "b": sweep_file})
    measured = read_sweep(sweep_file).results
    for row in found["slopes"]:
        for value, low, high in row:
            assert value == pytest.approx(measured["slope"], abs=1e-4)
            assert low <= value <= high
    with pytest.raises(UsageError, match="two sweeps and more"):
        specificity(model, {"a": sweep_file})
