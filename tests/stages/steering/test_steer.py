"""steer: what is said to be steered is steered, and what is compared is comparable."""

import json

import numpy as np
import pytest
from errors import raises
from in_process import invoke
from steering import SHORT, answered, direction, outputs

from circuit.artifacts.prompts.prompts import PromptSet
from circuit.artifacts.steering_files.files import read_steering_file, write_npz
from circuit.errors import ArtifactError, CircuitError, DataError, ModelError, UsageError
from circuit.stages.options import (
    ActionOptions,
    DirectionOptions,
    FormatOptions,
    ModelOptions,
    OutputOptions,
    SamplingOptions,
)
from circuit.stages.rows.prompting import encode, format_for, parse_prompts
from circuit.stages.rows.same_weights import check_model
from circuit.stages.run import Session
from circuit.stages.steering.document import steer_document
from circuit.stages.steering.from_prompts import extract_direction
from circuit.stages.steering.request import NamedDirectionOptions, PairOptions, SteerRequest
from circuit.stages.steering.source import Source, one_direction, sources_of
from circuit.stages.steering.steer import STEER, streams
from circuit.stages.steering.trial import Answers, judge
from circuit.values.identity import ModelIdentity
from circuit.values.prompt_format import RAW
from circuit.values.sampling import Sampling
from circuit.values.sites import Site

# ---------------------------------------------------------------------------- extraction


def test_extraction_is_the_difference_of_the_last_residuals(llama):
    import mlx.core as mx

    from circuit.model.prompts.tokens import encode_prompts
    from circuit.model.sites.sites import hidden_states

    found = extract_direction(llama, "1 = ", "1 =", layer="0", form=RAW)
    site = Site("resid_post", 0)
    ends = [
        np.array(hidden_states(llama, mx.array(p.ids[None]), [site])[site])[0, -1]
        for p in encode_prompts(llama, ["1 = ", "1 ="])
    ]
    difference = ends[0] - ends[1]
    assert found.norm == pytest.approx(np.linalg.norm(difference), rel=1e-5)
    np.testing.assert_allclose(found.vector * found.norm, difference, rtol=1e-4, atol=1e-5)
    cosine = ends[0] @ ends[1] / np.linalg.norm(ends[0]) / np.linalg.norm(ends[1])
    assert found.extra["cosine_similarity"] == pytest.approx(cosine, rel=1e-5)
    assert found.layer == 0


def test_extraction_defaults_to_the_middle_and_refuses_equal_prompts(llama):
    assert extract_direction(llama, "a", "b", layer=None, form=RAW).layer == 1
    with raises(DataError, "equal-residuals", layer=1):
        extract_direction(llama, "a", "a", layer=None, form=RAW)
    with raises(DataError, "one-layer-expected", n_layers=3):
        extract_direction(llama, "a", "b", layer="all", form=RAW)


def extract(folder, out, **more):
    return SteerRequest(
        model=ModelOptions(model=str(folder)),
        directions=NamedDirectionOptions(layer="2", name="sum"),
        pair=PairOptions(positive="1 = ", negative="1 ="),
        extract=True,
        output=OutputOptions(output=out),
        **more,
    )


@pytest.mark.parametrize("name", ["d.npz", "d.json", "d.safetensors"])
def test_an_extracted_direction_comes_back(llama, llama_folder, tmp_path, name):
    request = extract(llama_folder, tmp_path / name)
    made = STEER.run(request).result
    STEER.run(request)  # the same once more is no conflict
    found = one_direction(Source(tmp_path / name), 3)
    assert np.array_equal(found.vector, made.direction.vector)
    assert (found.layer, found.name, found.norm) == (2, "sum", made.direction.norm)
    check_model(found, llama, allow_other=False)
    data = STEER.data(made)
    assert data["separation"] == pytest.approx(1 - data["cosine_similarity"])
    assert data["output"] == str(tmp_path / name)


def test_what_extraction_does_not_take(llama_folder, tmp_path):
    out = tmp_path / "d.npz"
    for more in ({"action": ActionOptions(rule="raw")}, {"when": "probe.safetensors"}):
        with raises(UsageError, "option-not-applicable"):
            STEER.plan(extract(llama_folder, out, **more))
    with raises(UsageError, "option-needed"):
        STEER.plan(extract(llama_folder, out, prompts="a"))
    with raises(UsageError, "option-needed"):
        STEER.plan(extract(llama_folder, None))


# ------------------------------------------------------------------------------- answers


def test_coefficient_zero_is_the_unsteered_model_and_others_are_not(llama):
    from circuit.model.forward.generate import generate
    from circuit.model.prompts.tokens import encode_prompts

    prompts = ["Hello", "50 + 25 = ", "50 + 25 ="]
    result = answered(llama, direction(llama), prompts, [-3.0, 0.0, 3.0])
    plain = [each.text for each in generate(llama, encode_prompts(llama, prompts), SHORT)]
    assert outputs(result, 0.0) == plain
    assert outputs(result, 3.0) != plain
    assert outputs(result, 3.0) != outputs(result, -3.0)
    assert [each.prompt for each in result.generations[:3]] == prompts


def test_random_controls_are_reproducible_and_stand_beside(llama):
    judged = {"criterion": "regex:.", "controls": 3}
    first, again = (
        answered(llama, direction(llama), ["a", "b"], [0.0, 2.0], **judged).trial for _ in range(2)
    )
    assert first == again
    rates = {rate.coefficient: rate for rate in first.rates}
    assert len(rates[2.0].controls) == 3
    assert rates[0.0].controls == []


def test_a_text_that_falls_into_repetition_is_flagged(llama):
    from circuit.methods.steering.coherence import collapsed
    from circuit.model.forward.generate import generate
    from circuit.model.interventions.steering import steered
    from circuit.stages.steering.intervention import Intervention

    at, long = Intervention.of(direction(llama)), Sampling(30)
    result = answered(llama, at, ["Hello"], [0.0, 40.0], sampling=long)
    with steered(llama, at.at(40.0)):
        ids = generate(llama, encode(llama, ["Hello"], RAW), long)[0].ids
    assert result.generations[1].collapsed == collapsed(ids)


def test_an_answer_that_is_shown_is_the_one_that_is_written(llama):
    pieces = []
    session = Session(stream=pieces.append)
    shown = answered(llama, direction(llama), ["Hello"], [2.0], session=session)
    written = answered(llama, direction(llama), ["Hello"], [2.0])
    assert shown == written
    assert "Hello" in pieces[0]  # the heading
    assert "".join(pieces[1:]) == written.generations[0].output


def test_one_answer_is_shown_where_a_terminal_is_or_it_is_asked_for():
    def request(**more):
        values = {"model": ModelOptions(model="m"), "prompts": "a", **more}
        return SteerRequest(**values)

    assert streams(request(), True)
    assert not streams(request(), False)
    assert streams(request(stream=True), False)
    assert not streams(request(stream=False), True)
    for several in ({"prompts": "a|b"}, {"compare": "0,1"}, {"criterion": "number"}):
        assert not streams(request(**several), True)
        with raises(UsageError, "option-not-applicable"):
            streams(request(stream=True, **several), True)


# -------------------------------------------------------------------------------- trials


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


def test_answers_without_a_criterion_claim_nothing(llama):
    result = answered(llama, direction(llama), ["a"], [0.0, 1.0])
    (finding,) = steer_document(result).findings()
    assert (finding.verdict, finding.strength) == ("not measured", 0)
    assert steer_document(result, complete=False).findings() == []


# ---------------------------------------------------------------------------- whole runs


@pytest.fixture
def file(llama, tmp_path):
    write_npz(tmp_path / "d.npz", direction(llama))
    return tmp_path / "d.npz"


def request(folder, file, prompts="a ", *, out=None, **more):
    return SteerRequest(
        model=ModelOptions(model=str(folder)),
        directions=NamedDirectionOptions(direction=[str(file)]),
        prompts=prompts,
        sampling=SamplingOptions(max_tokens=6),
        output=OutputOptions(output=out),
        **{"compare": "0,1", **more},
    )


def test_answers_are_written_reused_and_not_overwritten(llama_folder, file, tmp_path):
    out = tmp_path / "steering.json"
    first = STEER.run(request(llama_folder, file, out=out))
    again = STEER.run(request(llama_folder, file, out=out))
    assert (first.reused, again.reused) == (False, True)
    assert first.result == again.result
    document = json.loads(out.read_text())
    assert document["schema"] == "circuit.steering/1"
    assert document["parameters"]["prompts"] == ["a "]
    with pytest.raises(CircuitError, match="holds something else"):
        STEER.run(request(llama_folder, file, "a", out=out))


def test_another_vector_of_the_same_name_is_another_run(llama, llama_folder, file, tmp_path):
    out = tmp_path / "steering.json"
    STEER.run(request(llama_folder, file, out=out))
    other = direction(llama, seed=1)
    assert other.tensor == direction(llama).tensor
    write_npz(file, other, force=True)
    with pytest.raises(CircuitError, match="holds something else"):
        STEER.run(request(llama_folder, file, out=out))


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"compare": None, "coefficient": float("nan")}, "not-finite"),
        ({"compare": "1,x"}, "not-a-number"),
        ({"coefficient": 1.0}, "option-given-twice"),
        ({"controls": 2}, "option-needed"),
        ({"prompts": None}, "no-prompts"),
        ({"action": ActionOptions(rule="rms")}, "unknown-rule"),
        ({"action": ActionOptions(operator="ablate", rule="raw")}, "option-not-applicable"),
        ({"pair": PairOptions(positive="a")}, "option-needed"),
        ({"pair": PairOptions(positive="a", negative="b")}, "option-given-twice"),
    ],
)
def test_what_cannot_end_well_is_refused_before_the_model_is_loaded(file, more, code):
    with pytest.raises(CircuitError) as caught:
        STEER.plan(request("nowhere", file, **more))
    assert caught.value.code == code


def test_a_criterion_that_cannot_be_read_is_refused_before_the_model_is_loaded(file):
    with pytest.raises(UsageError, match="not a regular expression"):
        STEER.plan(request("nowhere", file, criterion="regex:["))


def test_a_folder_that_is_none_is_refused_before_the_model_is_loaded(file, tmp_path):
    (tmp_path / "file").write_text("")
    with raises(ArtifactError, "not-a-folder"):
        STEER.run(request("nowhere", file, out=tmp_path / "file" / "out.json"))


def test_text_that_is_shown_while_it_is_written_is_no_json(file):
    words = ["steer", "-m", "tiny", "-d", str(file), "-p", "a", "--stream", "--json"]
    done = invoke(words)
    assert (done.exit_code, done.error.code) == (2, "stream-with-json")


def test_options_before_a_verb_are_refused(file):
    done = invoke(["steer", "-m", "tiny", "calibrate", "-d", str(file)])
    assert (done.exit_code, done.error.code) == (2, "options-before-verb")


# ---------------------------------------------------------------- files, models, formats


def test_a_single_direction_may_be_used_at_another_layer(llama, tmp_path):
    write_npz(tmp_path / "d.npz", direction(llama, layer=1))
    assert one_direction(Source(tmp_path / "d.npz", layer="0"), 3).layer == 0
    with pytest.raises(UsageError, match="out of range"):
        one_direction(Source(tmp_path / "d.npz", layer="3"), 3)
    with raises(UsageError, "unknown-direction", name="other"):
        one_direction(Source(tmp_path / "d.npz", name="other"), 3)
    with raises(UsageError, "one-layer-expected", n_layers=3):
        one_direction(Source(tmp_path / "d.npz", layer="all"), 3)


def test_name_and_layer_belong_to_one_direction(file):
    with raises(UsageError, "option-not-applicable", n_directions=2):
        sources_of(DirectionOptions(direction=[str(file), str(file)], layer="3"))
    with raises(UsageError, "no-direction"):
        sources_of(DirectionOptions())
    (only,) = sources_of(DirectionOptions(direction=[f"{file},layer=1"], layer="0"))
    assert only.layer == "0"


def test_directions_of_another_model_are_refused(llama):
    stranger = direction(llama, 0)
    object.__setattr__(stranger, "model", ModelIdentity(id="someone/else"))
    with pytest.raises(ModelError, match="`someone/else`"):
        check_model(stranger, llama, allow_other=False)
    check_model(stranger, llama, allow_other=True)


def test_prompts_keep_their_spaces(tmp_path):
    assert parse_prompts("100 - 37 = |100 - 37 =") == ["100 - 37 = ", "100 - 37 ="]
    lines = tmp_path / "lines.txt"
    lines.write_text("a = \n\nb|c\n")
    assert parse_prompts(f"@{lines}") == ["a = ", "b|c"]
    with pytest.raises(ArtifactError):
        parse_prompts(f"@{tmp_path / 'none.txt'}")


def test_a_line_ends_at_a_newline_and_nowhere_else(tmp_path):
    lines = tmp_path / "lines.txt"
    lines.write_bytes("\ufeffa\u2028b\r\nc\x0bd".encode())
    assert parse_prompts(f"@{lines}") == ["a\u2028b", "c\x0bd"]


def test_the_format_is_the_options_the_sets_or_the_directions_own():
    chat = PromptSet.model_validate({"name": "s", "format": "chat", "prompts": [{"text": "x"}]})
    none = FormatOptions()
    assert format_for(chat, none).chat
    assert not format_for(["x"], none).chat
    assert format_for(["x"], none, made_in="chat").chat
    assert not format_for(["x"], FormatOptions(chat=False), made_in="chat").chat


@pytest.mark.parametrize("name", ["nan.npz", "pickle.npz", "text.npz"])
def test_steering_files_that_say_nothing_useful(tmp_path, name):
    np.savez(tmp_path / "nan.npz", direction=np.full(4, np.nan, np.float32), layer=0)
    np.savez(tmp_path / "pickle.npz", direction=np.array([{"a": 1}], dtype=object), layer=0)
    (tmp_path / "text.npz").write_text("no")
    with pytest.raises(CircuitError) as caught:
        read_steering_file(tmp_path / name)
    assert caught.value.code in {"not-a-direction", "pickle-refused", "not-npz"}
