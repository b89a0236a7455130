"""What the model answers is kept with a verdict, and a direction is fitted to what it did."""

import json

import pytest
from asking import analyze, directions
from collecting import prepared
from errors import raises
from processes import run_circuit

from circuit.artifacts.activations.activations import Activations
from circuit.artifacts.activations.answers import AnswersWriter, answers_path, read_answers
from circuit.artifacts.prompts.builtin import find_set
from circuit.artifacts.prompts.expansion import expand
from circuit.artifacts.prompts.prompts import PromptSet
from circuit.artifacts.prompts.templates import TemplateSet
from circuit.errors import ArtifactError, DataError, UsageError
from circuit.stages.collect.answers import (
    AnswerOptions,
    answer_all,
    answers,
    check_asked,
    summary,
    units_of,
)
from circuit.stages.collect.recording import Recording
from circuit.stages.collect.run import collect
from circuit.stages.options import ModelOptions
from circuit.stages.rows.labels import labelled, relabelled
from circuit.stages.rows.prompting import choose_format, encode

ASKED = AnswerOptions(12, ("function_call", "refusal", "regex:zzz"))
TINY = "tiny"


@pytest.fixture(scope="module")
def tiny():
    return ModelOptions(model=TINY).load()


@pytest.fixture(scope="module")
def prompts():
    """Every third prompt of the built-in set, of several templates of each class."""
    whole = expand(TemplateSet.load(find_set("tool_calling")))
    return whole.subset(range(0, len(whole.prompts), 3))


@pytest.fixture(scope="module")
def encoded(tiny, prompts):
    return encode(tiny, prompts.texts, choose_format(prompts, chat=None, system=None, tools=None))


def answer(tiny, encoded, prompts, stem, asked=ASKED, **kinds):
    with AnswersWriter(stem, asked.header("key"), range(len(encoded)), **kinds) as writer:
        return answer_all(tiny, encoded, prompts, asked, writer)


@pytest.fixture(scope="module")
def collected(prompts, tmp_path_factory):
    """An archive of tiny with its answers."""
    folder = tmp_path_factory.mktemp("generated")
    prompts.save(folder / "prompts.json")
    wanted = Recording(layers="3", answers=ASKED)
    acts = collect(prepared(TINY, folder / "prompts.json", folder / "acts", recording=wanted))
    return folder, acts.result.manifest.results["answers"]


def test_tiny_calls_the_tools_and_the_verdicts_say_which(collected, prompts):
    folder, counts = collected
    found = read_answers([answers_path(folder / "acts")]).by_row
    assert counts == summary(answers_path(folder / "acts"))
    assert counts["n"] == len(prompts.prompts)
    assert counts["met"]["regex:zzz"] == 0
    assert counts["met"]["function_call"] == sum(counts["tools"].values())
    right, needed = 0, 0
    for row, prompt in enumerate(prompts.prompts):
        called = found[row].verdicts["function_call"]
        assert bool(called) is found[row].text.startswith("<tool_call>")
        assert found[row].n_tokens == 12 or found[row].finished
        needed += prompt.expected_tool is not None
        right += prompt.expected_tool is not None and called == prompt.expected_tool
    assert right > 0.8 * needed > 20


def test_resuming_ends_with_the_same_bytes(collected, tiny, encoded, prompts, tmp_path):
    folder, counts = collected
    units = units_of([len(each.ids) for each in encoded])
    assert sorted(row for unit in units for row in unit) == list(range(len(encoded)))
    with AnswersWriter(tmp_path / "a", ASKED.header("key"), range(len(encoded))) as writer:
        for rows in (
            units[2],
            units[0][:3],
        ):  # of a unit that is not whole, every row is done again
            batch = [encoded[row] for row in rows]
            writer.put(answers(tiny, batch, rows, prompts, ASKED))
    assert answer(tiny, encoded, prompts, tmp_path / "a") == counts
    # The first line names the run, which is another one here.
    same = answers_path(folder / "acts").read_bytes().splitlines()[1:]
    assert answers_path(tmp_path / "a").read_bytes().splitlines()[1:] == same


def test_what_cannot_be_answered_or_judged_is_refused_first(tiny, encoded, prompts):
    check_asked(tiny, encoded, prompts, ASKED)
    with pytest.raises(DataError, match=r"prompt \d+ has \d+ tokens, which with an answer of 500"):
        check_asked(tiny, encoded, prompts, AnswerOptions(500))
    with pytest.raises(UsageError, match="needs prompts with an expected text"):
        check_asked(tiny, encoded, prompts, AnswerOptions(5, ("expected",)))
    with pytest.raises(UsageError, match="is not a regular expression"):
        check_asked(tiny, encoded, prompts, AnswerOptions(5, ("regex:(",)))
    for bad in ((0, ("refusal",)), (5, ()), (5, ("refusal", "refusal"))):
        with pytest.raises(UsageError):
            AnswerOptions(*bad)


def test_labels_of_the_model_are_its_verdicts(collected, prompts):
    folder, _ = collected
    archive = Activations.open(folder / "acts")
    view, agreement = labelled(archive, "model:function_call")
    found = read_answers([answers_path(folder / "acts")]).by_row
    assert view.labels == ["not_function_call", "function_call"]
    assert labelled(archive, "prompts") == (archive, None)
    differing = 0
    for row, (old, new) in enumerate(zip(archive.prompts, view.prompts, strict=True)):
        called = found[row].verdicts["function_call"]
        assert (new.text, new.group, new.pair) == (old.text, old.group, old.pair)
        assert (new.label is None) is (old.label is None)
        if new.label is not None:
            assert new.label == view.labels[bool(called)]
            assert new.expected_tool == (called or None)
            differing += (old.label == "tool") != bool(called)
    assert agreement.n_differing == differing > 0
    assert sum(map(sum, agreement.counts)) == agreement.n
    assert archive.labels == ["no_tool", "tool"]
    assert view.groups().tolist() == archive.groups().tolist()


def test_a_direction_is_fitted_to_what_the_model_did(collected):
    folder, _ = collected
    options = {"labels": "model:function_call", "per_tool": True, "n_boot": 50, "folds": 3}
    results, _ = directions(folder / "acts", folder / "did", **options)
    assert results.label_direction == "function_call_vs_not_function_call"
    assert results.layers[0].auroc[0] > 0.9
    table = results.labels
    assert results.layers[0].n == table.n
    assert any(d.name.startswith("tool:") for d in results.directions)
    held_out = next(iter(results.held_out.values()))
    assert sum(held_out.positive) == sum(row[1] for row in table.counts)
    again, reused = directions(folder / "acts", folder / "did", **options)
    assert (again, reused) == (results, True)
    with raises(ArtifactError, "output-exists"):
        directions(folder / "acts", folder / "did", per_tool=True, n_boot=50, folds=3)
    analysed, _ = analyze(folder / "acts", labels="model:function_call", n_boot=50, folds=3)
    assert analysed.labels == table
    assert analysed.questions["label"].classes_order == table.classes


def test_the_commands_print_the_agreement(collected):
    folder, _ = collected
    for command in ("directions -a acts -o printed --folds 3", "analyze -a acts --folds 3"):
        line = [*command.split(), "--labels", "model:function_call"]
        done = run_circuit(*line, cwd=folder)
        done.check_returncode()
        assert "prompts differ from their label (`tool` taken to mean" in done.stdout
        assert "not_function_call" in done.stdout


def test_labels_that_are_not_there_are_refused(collected, tmp_path):
    folder, _ = collected
    archive = Activations.open(folder / "acts")
    with raises(UsageError, "ambiguous-criterion") as raised:
        labelled(archive, "model")
    assert "model:refusal" in raised.value.hint
    with raises(UsageError, "unknown-criterion", criterion="sorry"):
        labelled(archive, "model:sorry")
    for bad in ("annotator", "model:", "", "prompts:x"):
        with raises(UsageError, "unknown-label-source", labels=bad):
            labelled(archive, bad)
    with raises(DataError, "one-class", label="not_regex:zzz"):
        labelled(archive, "model:regex:zzz")


def test_an_archive_without_answers_is_refused(prompts, tmp_path):
    prompts.subset(range(8)).save(tmp_path / "prompts.json")
    collect(
        prepared(TINY, tmp_path / "prompts.json", tmp_path / "few", recording=Recording(layers="3"))
    )
    with raises(ArtifactError, "no-answers") as raised:
        directions(tmp_path / "few", tmp_path / "d", labels="model")
    assert "--generate" in raised.value.hint


def test_too_few_groups_and_changed_answers_are_refused(
    collected, tiny, prompts, encoded, tmp_path
):
    found = read_answers([answers_path(collected[0] / "acts")]).by_row
    called = [bool(found[row].verdicts["function_call"]) for row in range(len(encoded))]
    asked, rows = (
        AnswerOptions(12),
        [r for r, p in enumerate(prompts.prompts) if p.label is not None],
    )
    tool, none = [r for r in rows if called[r]][:1], [r for r in rows if not called[r]][:8]
    few = prompts.subset([*tool, *none])
    few.save(tmp_path / "prompts.json")
    wanted = Recording(layers="3", answers=asked)
    collect(prepared(TINY, tmp_path / "prompts.json", tmp_path / "few", recording=wanted))
    with raises(DataError, "class-of-one-group", label="function_call"):
        directions(tmp_path / "few", tmp_path / "d", labels="model")
    path = answers_path(tmp_path / "few")
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    with pytest.raises(ArtifactError, match="is not the file that"):
        Activations.open(tmp_path / "few")


def test_prompts_without_labels_are_labelled_by_the_model(prompts):
    from circuit.artifacts.activations.answers import Answer

    bare = PromptSet.model_validate(
        {"name": "bare", "prompts": [{"text": "a"}, {"text": "b", "expected_tool": "t"}]}
    )
    said = {
        row: Answer(row=row, text="", n_tokens=0, finished=True, verdicts={"refusal": bool(row)})
        for row in range(2)
    }
    changed = relabelled(bare, said, "refusal")
    assert [p.label for p in changed.prompts] == ["not_refusal", "refusal"]
    assert changed.prompts[1].expected_tool == "t"
    assert json.loads(changed.model_dump_json())["labels"] == ["not_refusal", "refusal"]
