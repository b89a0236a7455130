"""steer: what is said to be steered is steered, and what is compared is comparable."""

import json

import numpy as np
import pytest

from circuit.artifacts.prompts.prompts import PromptSet
from circuit.artifacts.steering_files.files import Direction, read_steering_file, write_npz
from circuit.errors import CircuitError, DataError, ModelError, UsageError
from circuit.stages.rows.prompting import parse_prompts
from circuit.stages.rows.same_weights import check_model
from circuit.stages.steering.from_prompts import Pair, extract_direction
from circuit.stages.steering.intervention import Intervention
from circuit.stages.steering.source import Source, one_direction
from circuit.stages.steering.steer import (
    Job,
    format_for,
    save_direction,
    steer,
)
from circuit.stages.steering.trial import Answers, judge
from circuit.values.identity import ModelIdentity
from circuit.values.prompt_format import RAW
from circuit.values.sampling import Sampling
from circuit.values.sites import Site

SHORT = Sampling(max_tokens=6)


def made_direction(model, layer=1, **fields):
    vector = np.random.default_rng(0).standard_normal(model.d_model)
    vector = (vector / np.linalg.norm(vector)).astype(np.float32)
    identity = model.identity
    return Direction("d", "resid_post", layer, vector, 2.0, model=identity, **fields)


def outputs(results, coefficient):
    return [g["output"] for g in results["generations"] if g["coefficient"] == coefficient]


def test_extraction_is_the_difference_of_the_last_residuals(llama):
    import mlx.core as mx

    from circuit.model.prompts.tokens import encode_prompts
    from circuit.model.sites.sites import hidden_states

    direction = extract_direction(llama, Pair("1 = ", "1 ="), layer="0", form=RAW)
    site = Site("resid_post", 0)
    ends = [
        np.array(hidden_states(llama, mx.array(p.ids[None]), [site])[site])[0, -1]
        for p in encode_prompts(llama, ["1 = ", "1 ="])
    ]
    difference = ends[0] - ends[1]
    assert direction.norm == pytest.approx(np.linalg.norm(difference), rel=1e-5)
    np.testing.assert_allclose(direction.vector * direction.norm, difference, rtol=1e-4, atol=1e-5)
    cosine = ends[0] @ ends[1] / np.linalg.norm(ends[0]) / np.linalg.norm(ends[1])
    assert direction.extra["cosine_similarity"] == pytest.approx(cosine, rel=1e-5)
    assert direction.layer == 0


def test_extraction_defaults_to_the_middle_and_refuses_equal_prompts(llama):
    assert extract_direction(llama, Pair("a", "b"), layer=None, form=RAW).layer == 1
    with pytest.raises(DataError, match="the same residual"):
        extract_direction(llama, Pair("a", "a"), layer=None, form=RAW)


def test_coefficient_zero_is_the_unsteered_model_and_others_are_not(llama):
    from circuit.model.forward.generate import generate
    from circuit.model.prompts.tokens import encode_prompts

    prompts = ["Hello", "50 + 25 = ", "50 + 25 ="]
    job = Job(Intervention.of(made_direction(llama)), prompts, [-3.0, 0.0, 3.0], RAW, SHORT)
    results, _ = steer(llama, job)
    plain = [g.text for g in generate(llama, encode_prompts(llama, prompts), Sampling(6))]
    assert outputs(results, 0.0) == plain
    assert outputs(results, 3.0) != plain
    assert outputs(results, 3.0) != outputs(results, -3.0)
    assert [g["prompt"] for g in results["generations"][:3]] == prompts


def test_random_controls_are_reproducible_and_stand_beside(llama):
    job = Job(
        Intervention.of(made_direction(llama)),
        ["a", "b"],
        [0.0, 2.0],
        RAW,
        SHORT,
        "regex:.",
        controls=3,
    )
    first, again = (steer(llama, job)[0]["trial"] for _ in range(2))
    assert first == again
    rates = {rate["coefficient"]: rate for rate in first["rates"]}
    assert len(rates[2.0]["controls"]) == 3
    assert rates[0.0]["controls"] == []


def test_a_control_that_moves_the_rate_as_far_the_other_way_counts():
    answers = [
        Answers(0, 0.0, ["hit", "miss"]),
        Answers(0, 1.0, ["hit", "hit"]),
        Answers(1, 1.0, ["miss", "miss"]),
    ]
    rate = next(r for r in judge(["a", "b"], answers, "hit", 1).rates if r.coefficient == 1.0)
    assert rate.p == 1


def test_a_trial_counts_by_label_with_intervals_and_p():
    prompts = PromptSet.model_validate(
        {
            "name": "s",
            "labels": ["no", "yes"],
            "prompts": [
                {"text": "a", "label": "yes", "group": "g"},
                {"text": "b", "label": "yes", "group": "g"},
                {"text": "c", "label": "no"},
                {"text": "d"},
            ],
        }
    )
    answers = [
        Answers(0, 0.0, ["hit", "hit", "miss", "hit"]),
        Answers(0, 1.0, ["miss", "miss", "hit", "miss"]),
        Answers(1, 1.0, ["hit", "hit", "hit", "hit"]),
        Answers(2, 1.0, ["hit", "miss", "miss", "hit"]),
    ]
    trial = judge(prompts, answers, "hit", 2)
    rates = {(r.label, r.coefficient): r for r in trial.rates}
    steered = rates["yes", 1.0]
    assert (steered.successes, steered.n, steered.n_groups, steered.rate) == (0, 2, 1, 0.0)
    assert steered.controls == [1.0, 0.5]
    assert steered.p == pytest.approx(1 / 3)  # neither control goes down as far
    assert rates["no", 1.0].p == pytest.approx(2 / 3)  # one of two rises as far
    assert rates["yes", 0.0].interval[1] == 1.0
    assert {label for label, _ in rates} == {"yes", "no"}  # no label, no score


def test_answers_are_written_reused_and_not_overwritten(llama, tmp_path):
    job = Job(Intervention.of(made_direction(llama)), ["a "], [0.0, 1.0], RAW, SHORT)
    out = tmp_path / "steering.json"
    first, reused = steer(llama, job, out=out)
    again, reused_again = steer(llama, job, out=out)
    assert (reused, reused_again) == (False, True)
    assert first == again
    document = json.loads(out.read_text())
    assert document["schema"] == "circuit.steering/1"
    assert document["parameters"]["prompts"] == ["a "]
    other = Job(Intervention.of(made_direction(llama)), ["a"], [0.0, 1.0], RAW, SHORT)
    with pytest.raises(CircuitError, match="holds something else"):
        steer(llama, other, out=out)


@pytest.mark.parametrize("name", ["d.npz", "d.json", "d.safetensors"])
def test_a_saved_direction_comes_back(llama, tmp_path, name):
    direction = extract_direction(llama, Pair("1 = ", "1 =", name="sum"), layer="2", form=RAW)
    save_direction(tmp_path / name, direction, force=False)
    found = one_direction(Source(tmp_path / name), 3)
    assert np.array_equal(found.vector, direction.vector)
    assert (found.layer, found.name, found.norm) == (2, "sum", direction.norm)
    check_model(found, llama, allow_other=False)


def test_a_single_direction_may_be_used_at_another_layer(llama, tmp_path):
    write_npz(tmp_path / "d.npz", made_direction(llama, layer=1))
    assert one_direction(Source(tmp_path / "d.npz", layer="0"), 3).layer == 0
    with pytest.raises(UsageError, match="out of range"):
        one_direction(Source(tmp_path / "d.npz", layer="3"), 3)
    with pytest.raises(UsageError, match="no direction `other`"):
        one_direction(Source(tmp_path / "d.npz", name="other"), 3)


def test_directions_of_another_model_are_refused(llama):
    stranger = Direction(
        "d",
        "resid_post",
        0,
        made_direction(llama).vector,
        1.0,
        model=ModelIdentity(id="someone/else"),
    )
    with pytest.raises(ModelError, match="was made with model `someone/else`"):
        check_model(stranger, llama, allow_other=False)
    check_model(stranger, llama, allow_other=True)


def test_prompts_keep_their_blanks(tmp_path):
    assert parse_prompts("100 - 37 = |100 - 37 =") == ["100 - 37 = ", "100 - 37 ="]
    lines = tmp_path / "lines.txt"
    lines.write_text("a = \n\nb|c\n")
    assert parse_prompts(f"@{lines}") == ["a = ", "b|c"]
    with pytest.raises(CircuitError, match="cannot be read"):
        parse_prompts(f"@{tmp_path / 'none.txt'}")


def test_the_format_is_the_sets_or_the_directions_own(llama):
    chat = PromptSet.model_validate({"name": "s", "format": "chat", "prompts": [{"text": "x"}]})
    none = {"chat": None, "system": None, "tools": None}
    assert format_for(chat, None, **none).chat
    assert not format_for(["x"], None, **none).chat
    assert format_for(["x"], made_direction(llama, format="chat"), **none).chat
    assert not format_for(
        ["x"], made_direction(llama, format="chat"), **{**none, "chat": False}
    ).chat


def test_steering_files_that_say_nothing_useful(tmp_path):
    np.savez(tmp_path / "nan.npz", direction=np.full(4, np.nan, np.float32), layer=0)
    np.savez(tmp_path / "pickle.npz", direction=np.array([{"a": 1}], dtype=object), layer=0)
    (tmp_path / "text.npz").write_text("no")
    for name, words in {
        "nan.npz": "NaN",
        "pickle.npz": "pickled",
        "text.npz": "not a NumPy",
    }.items():
        with pytest.raises(CircuitError, match=words):
            read_steering_file(tmp_path / name)


def test_another_vector_of_the_same_name_is_another_run(llama, tmp_path):
    out = tmp_path / "steering.json"
    first = extract_direction(llama, Pair("a", "b"), layer="1", form=RAW)
    other = extract_direction(llama, Pair("c", "d"), layer="1", form=RAW)
    assert first.tensor == other.tensor
    steer(llama, Job(Intervention.of(first), ["x"], [1.0], RAW, SHORT), out=out)
    with pytest.raises(CircuitError, match="holds something else"):
        steer(llama, Job(Intervention.of(other), ["x"], [1.0], RAW, SHORT), out=out)


def test_what_cannot_end_well_is_refused_before_anything_is_generated(llama, tmp_path, monkeypatch):
    def never(*_):
        raise AssertionError("the work has begun")

    monkeypatch.setattr("circuit.stages.steering.steer._answers", never)
    (tmp_path / "file").write_text("")
    at = made_direction(llama)
    with pytest.raises(UsageError, match="not a regular expression"):
        steer(llama, Job(Intervention.of(at), ["a"], [1.0], RAW, SHORT, "regex:["))
    with pytest.raises(UsageError, match="not a finite number"):
        steer(llama, Job(Intervention.of(at), ["a"], [float("nan")], RAW, SHORT))
    with pytest.raises(CircuitError, match="is not a folder"):
        steer(
            llama,
            Job(Intervention.of(at), ["a"], [1.0], RAW, SHORT),
            out=tmp_path / "file" / "out.json",
        )


def test_a_line_ends_at_a_newline_and_nowhere_else(tmp_path):
    lines = tmp_path / "lines.txt"
    lines.write_bytes("\ufeffa\u2028b\r\nc\x0bd".encode())
    assert parse_prompts(f"@{lines}") == ["a\u2028b", "c\x0bd"]
