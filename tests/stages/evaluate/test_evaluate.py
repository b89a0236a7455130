"""Answers under steering vectors: what is added, what it is compared with, and what a kill leaves."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from errors import raises

from circuit.artifacts.activations.answers import answers_path
from circuit.artifacts.manifest.manifest import digest
from circuit.artifacts.prompts.tables import read_table
from circuit.artifacts.steering_files.config import SteeringConfig
from circuit.artifacts.steering_files.files import Direction, write_npz
from circuit.errors import ArtifactError, DataError, ModelError, UsageError
from circuit.model.sites.sites import hidden_states
from circuit.present.document import Notice, Table
from circuit.stages.evaluate.experiment import TOGETHER, UNSTEERED
from circuit.stages.evaluate.present import present
from circuit.stages.evaluate.request import EvaluateRequest
from circuit.stages.evaluate.run import plan
from circuit.stages.rows.prompting import encode
from circuit.stages.run import SILENT, Session, execute, without_model
from circuit.stages.steering.from_prompts import extract_direction
from circuit.stages.steering.generate import coherence, mean_coherence, write
from circuit.stages.steering.vectors import vectors_of
from circuit.values.prompt_format import RAW
from circuit.values.requests import assembled
from circuit.values.sampling import Sampling
from circuit.values.sites import Site

CONFIG = """
vectors:
  - {name: pair, positive_prompt: "red ", negative_prompt: blue, layer: 1, coefficient: 2}
  - {name: unit, positive_prompt: red, layer: 0, coefficient: 0.5, normalize: true}
  - {name: share, positive_prompt: red, layer: 2, coefficient: 0.25, rule: norm}
  - {name: nothing, file: given.npz, coefficient: 0}
"""
QUESTIONS = """
- {id: two, paraphrases: [red green, blue], samples_per_paraphrase: 2}
- white
"""
OPTIONS = {
    "max_tokens": 6,
    "criterion": ["red"],
    "together": True,
    "controls": 1,
    "chat": False,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, llama):
    """A configuration, questions, and a steering file of the model's width."""
    folder = tmp_path_factory.mktemp("evaluate")
    (folder / "steering.yaml").write_text(CONFIG)
    (folder / "questions.yaml").write_text(QUESTIONS)
    vector = np.eye(1, llama.d_model, dtype=np.float32)[0]
    write_npz(folder / "given.npz", Direction("given", "resid_post", 1, vector, 3.0))
    return folder


def plan_of(folder: Path, output: Path | None = None, config="steering.yaml", **more):
    """Plan a run of the fixtures' questions, with ``OPTIONS`` but for ``more``."""
    options = {"model": "tiny", "questions": folder / "questions.yaml", **OPTIONS, **more}
    if config is not None:
        options["steering_config"] = folder / config
    return plan(assembled(EvaluateRequest, {**options, "output": output}))


def run(llama, planned, session=SILENT):
    """Execute a plan with a model that is loaded already."""
    begin = without_model(about(planned.begin(llama), llama))
    return execute(replace(planned, model=None, begin=begin), session)


def about(job, llama):
    """Return a job that says whose numbers it makes."""
    return replace(job, about_model=llama.identity, about_tokenizer=llama.tokenizer_identity)


def interventions(llama, folder):
    """Return the vectors of the fixtures' configuration."""
    path = folder / "steering.yaml"
    return vectors_of(llama, SteeringConfig.load(path), path, RAW)


@pytest.fixture(scope="module")
def result(llama, folder):
    return run(llama, plan_of(folder, folder / "evaluation")).result


def test_every_vector_answers_every_question(result):
    names = [UNSTEERED, "pair", "unit", "share", "nothing", TOGETHER]
    assert [each.vector for each in result.overall] == names
    assert [(each.vector, each.question, each.n) for each in result.table] == [
        (name, question, n) for name in names for question, n in (("two", 4), ("2", 5))
    ]
    two = [a for a in result.answers if (a.vector, a.question) == ("pair", "two")]
    assert [a.prompt for a in two] == ["red green", "blue", "red green", "blue"]
    assert len({a.answer for a in two}) > 1  # drawn, not repeated


def test_a_vector_adds_what_its_entry_says(llama, folder):
    steerings = {vector.name: vector.at()[0] for vector in interventions(llama, folder)}
    form = RAW
    pair = extract_direction(llama, "red ", "blue", layer="1", form=form)
    added = steerings["pair"]
    assert (added.site.layer, added.coefficient, added.unit) == (1, 2, pair.norm)
    assert np.array_equal(added.vector, pair.vector)
    assert (steerings["unit"].unit, steerings["share"].unit) == (1.0, None)
    single = extract_direction(llama, "red", layer="0", form=form)
    (rows,) = encode(llama, ["red"], form)
    held = np.array(
        hidden_states(llama, mx.array(rows.ids[None]), [Site("resid_post", 0)]).popitem()[1]
    )
    assert np.allclose(single.vector * single.norm, held[0, -1], atol=1e-5)


def test_coefficient_0_answers_as_the_model_does(result):
    of = {
        name: [a.answer for a in result.answers if a.vector == name]
        for name in (UNSTEERED, "nothing", "pair")
    }
    assert of[UNSTEERED] == of["nothing"]
    assert of[UNSTEERED] != of["pair"]
    overall = {each.vector: each for each in result.overall}
    assert overall["nothing"].kl == 0
    assert overall["nothing"].differences["nll"] == (0, 0, 0)
    assert overall["pair"].kl > 0


def test_shares_are_of_the_residuals_that_are_there(result):
    share = {each.name: each.share for each in result.vectors}
    assert share["share"] == 0.25
    assert share["nothing"] == 0
    assert share["unit"] > 0


def test_a_question_is_answered_alike_whatever_else_is_asked(llama, result, tmp_path):
    (tmp_path / "questions.yaml").write_text("- {id: two, paraphrases: [red green, blue]}\n")
    alone = run(llama, plan_of(tmp_path, config=None, n_per_question=4)).result
    assert [a.answer for a in alone.answers if a.vector == UNSTEERED] == [
        a.answer for a in result.answers if (a.vector, a.question) == (UNSTEERED, "two")
    ]
    assert alone.overall[0].rates["red"].difference is None  # of one question


def test_a_run_that_was_killed_resumes(llama, folder, result, tmp_path):
    def dies(planned, *_):
        for number, each in enumerate(planned):
            if number == 5:
                raise KeyboardInterrupt
            yield each

    for name in ("steering.yaml", "questions.yaml", "given.npz"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(KeyboardInterrupt):
        run(llama, plan_of(tmp_path, tmp_path / "evaluation"), Session(track=dies))
    partial = tmp_path / "evaluation.answers.jsonl.partial"
    kept = partial.read_text()
    assert len(kept.splitlines()) == 1 + 4 + 5 + 4 + 5 + 4
    # What is kept is not answered again: the run resumes from whatever is there.
    first = json.loads(kept.splitlines()[1])
    partial.write_text(kept.replace(json.dumps(first["text"], ensure_ascii=False), '"kept"', 1))
    resumed = run(llama, plan_of(tmp_path, tmp_path / "evaluation"))
    assert not resumed.reused
    assert resumed.result.answers[0].answer == "kept"
    assert resumed.result.answers[1:] == result.answers[1:]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "evaluation.json",
        "given.npz",
        "questions.yaml",
        "steering.yaml",
    ]


def test_a_finished_run_is_reused_and_another_refused(llama, folder, result):
    table = folder / "evaluation.csv"
    again = run(llama, plan_of(folder, table))
    assert again.reused
    assert again.result == result
    rows = read_table(table).rows
    assert [row["answer"] or None for row in rows] == [a.answer or None for a in result.answers]
    assert list(rows[0])[:2] == ["vector", "question"]  # an empty cell is no value
    before = digest(folder / "evaluation.json")
    with raises(ArtifactError, "output-exists"):
        run(llama, plan_of(folder, folder / "evaluation", n_per_question=1))
    assert digest(folder / "evaluation.json") == before
    assert not answers_path(folder / "evaluation").exists()


def test_a_forced_run_replaces_the_table_too(llama, folder, tmp_path):
    table = shutil.copytree(folder, tmp_path / "copy") / "evaluation.csv"
    run(llama, plan_of(table.parent, table))
    before = table.read_bytes()
    with raises(ArtifactError, "output-exists"):
        run(llama, plan_of(table.parent, table, n_per_question=1))
    assert table.read_bytes() == before
    run(llama, plan_of(table.parent, table, n_per_question=1, force=True))
    assert table.read_bytes() != before
    assert run(llama, plan_of(table.parent, table, n_per_question=1)).reused


def test_differences_are_paired_and_controls_are_counted(result):
    for each in result.overall[1:]:
        rate = each.rates["red"]
        middle, low, high = rate.difference
        assert (
            low
            <= middle
            == pytest.approx(rate.rate - result.overall[0].rates["red"].rate, abs=1e-6)
        )
        assert high >= middle
        assert rate.p in (0.5, 1.0)  # of one control
        assert len(rate.controls) == 1


def test_the_document_has_a_row_for_each_vector_and_says_what_is_small(result):
    document = present(result)
    (table,) = document.every(Table)
    assert [row[0] for row in table.rows] == [each.vector for each in result.overall]
    assert any("2 independent questions" in notice.text for notice in document.every(Notice))
    assert any("`nothing` adds 0.0%" in notice.text for notice in document.every(Notice))


@pytest.mark.parametrize(
    ("entry", "error", "code"),
    [
        (
            "{name: v, positive_prompt: a, layer: 99, coefficient: 1}",
            UsageError,
            "layer-out-of-range",
        ),
        ("{name: v, file: wide.npz, coefficient: 1}", ModelError, "widths-differ"),
        (
            "{name: v, positive_prompt: a, negative_prompt: a, layer: 1, coefficient: 1}",
            DataError,
            "equal-residuals",
        ),
    ],
)
def test_a_vector_that_does_not_fit_is_named(llama, tmp_path, entry, error, code):
    wide = np.eye(1, llama.d_model + 1, dtype=np.float32)[0]
    write_npz(tmp_path / "wide.npz", Direction("wide", "resid_post", 1, wide, 1.0))
    (tmp_path / "steering.yaml").write_text(f"vectors:\n  - {entry}\n")
    (tmp_path / "questions.yaml").write_text(QUESTIONS)
    with raises(error, code) as found:
        plan_of(tmp_path).begin(llama)
    assert "vector `v`" in found.value.message


def test_errors_come_before_a_model_is_loaded(folder, tmp_path):
    with raises(UsageError, "answers-alike", question="two"):
        plan_of(folder, n_per_question=5, temperature=0.0)
    plan_of(folder, n_per_question=1, temperature=0.0)
    with raises(UsageError, "not-a-pattern"):
        plan_of(folder, criterion=["regex:("])
    (tmp_path / "questions.yaml").write_text(QUESTIONS)
    for entry, code in (("rule: volume", "unknown-rule"), ("operator: x", "unknown-operator")):
        text = f"vectors: [{{name: v, positive_prompt: a, layer: 0, coefficient: 1, {entry}}}]"
        (tmp_path / "steering.yaml").write_text(text)
        with raises(UsageError, code):
            plan_of(tmp_path)


def test_coherence_is_the_likelihood_under_the_model_as_it_is(llama):
    encoded = encode(llama, ["red green", "blue"], RAW)
    answers = write(llama, encoded, [], Sampling(5))
    found = coherence(llama, encoded, answers, [])
    ids = np.concatenate([encoded[0].ids, answers[0].ids])
    logits = llama.network(mx.array(ids[None])).astype(mx.float32)[0]
    log_probs = np.array(logits - mx.logsumexp(logits, axis=-1, keepdims=True))
    start = len(encoded[0].ids)
    own = [log_probs[t - 1, ids[t]] for t in range(start, len(ids))]
    assert found[0].nll == pytest.approx(-np.mean(own), abs=1e-4)
    assert found[0].kl == 0


def test_a_sweep_measures_the_coherence_that_an_evaluation_measures(llama):
    encoded = encode(llama, ["red green", "blue", "red"], RAW)
    answers = write(llama, encoded, [], Sampling(max_tokens=5))
    answers = [
        replace(answer, ids=answer.ids[:n]) for answer, n in zip(answers, (5, 1, 0), strict=True)
    ]
    each = coherence(llama, encoded, answers, [])[:2]
    means = mean_coherence(llama, encoded, [answer.ids for answer in answers])
    for name, value in vars(means).items():
        assert value == pytest.approx(np.mean([getattr(one, name) for one in each])), name
