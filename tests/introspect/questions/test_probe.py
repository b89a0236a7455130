"""A probe of two lists: it finds what is there, says nothing without groups, and what is saved reads as it did."""

import numpy as np
import pytest
from errors import raises
from in_process import invoke
from words import WORDS

from circuit.artifacts.steering_files.files import read_steering_file
from circuit.errors import DataError, UsageError
from circuit.introspect.probes.result import ProbeQuestion
from circuit.introspect.probes.two_classes import TwoClasses, fit
from circuit.introspect.questions.probe import ProbeRequest, check_names
from circuit.stages.options import ModelOptions
from circuit.stages.probes.request import ApplyRequest
from circuit.stages.rows.prompt_input import PromptInput
from circuit.stages.run import run
from circuit.values.prompt_format import RAW

LABELS = ("asks", "shouts")


def classes(n):
    return TwoClasses.of(
        PromptInput([f"{w}?" for w in WORDS[:n]]),
        PromptInput([f"{w}!" for w in WORDS[-n:]]),
        LABELS,
    )


@pytest.mark.parametrize("method", ["logistic", "difference"])
def test_last_tokens_are_told_apart(llama, method):
    question = ProbeQuestion(llama, classes(12), RAW)
    found, direction = question.answer([0, 1], method, ["moon?", "sea?", "sea!"])
    assert [each.layer for each in found.scores] == [0, 1]
    assert all(each.auroc[0] == 1 for each in found.scores)
    assert found.claimed
    assert (found.layer, found.choosing[0]) == (0, 1)
    assert [each.label for each in found.tests] == ["asks", "asks", "shouts"]
    assert [each.seen for each in found.tests] == [True, False, False]
    assert np.linalg.norm(direction.vector) == pytest.approx(1, abs=1e-5)
    assert found.train_projections["asks"] > found.train_projections["shouts"]


def test_labels_that_say_nothing_claim_nothing(llama):
    rng = np.random.default_rng(0)
    texts = [f"{w}{mark}" for w in WORDS for mark in "ab"]
    order = rng.permutation(len(texts))
    a, b = ([texts[i] for i in part] for part in (order[:12], order[12:]))
    both = TwoClasses.of(PromptInput(a), PromptInput(b), LABELS)
    found, _ = ProbeQuestion(llama, both, RAW).answer([0, 1, 2])
    assert found.claimed is False


def test_few_groups_are_not_claimed(llama):
    found, _ = ProbeQuestion(llama, classes(3), RAW).answer([0])
    assert found.n_groups == 6
    assert found.claimed is None
    both = TwoClasses.of(PromptInput(["a?"]), PromptInput(["b!"]), LABELS)
    one, direction = ProbeQuestion(llama, both, RAW).answer([0, 1, 2], tests=["a?", "b!"])
    assert (one.scores, one.claimed, direction.layer) == ([], None, 1)
    assert [each.label for each in one.tests] == ["asks", "shouts"]


def test_prompts_that_differ_in_a_blank_share_a_group():
    texts = [f"{w} =" for w in WORDS]
    both = TwoClasses.of(PromptInput([f"{t} " for t in texts]), PromptInput(texts), LABELS)
    assert both.n_groups == 12
    assert both.groups[:12] == both.groups[12:]


def test_difference_is_the_best_probe_of_two_normal_distributions():
    rng = np.random.default_rng(0)
    gap = np.zeros(6)
    gap[:2] = 2, 1
    y = np.repeat([1, 0], 5000)
    rows = rng.standard_normal((10000, 6)) + np.where(y[:, None] == 1, gap, 0)
    both = TwoClasses([""] * 10000, y, [str(i) for i in range(10000)], LABELS)
    found, _ = fit(rows.astype(np.float32), both, "difference", name="gap")
    np.testing.assert_allclose(found.slope * found.vector, gap, atol=0.1)
    assert found.bias == pytest.approx(-(gap @ gap) / 2, abs=0.15)


@pytest.mark.parametrize("method", ["logistic", "difference"])
def test_what_is_saved_reads_as_it_did(llama, llama_folder, tmp_path, method):
    both = classes(4)
    _, direction = ProbeQuestion(llama, both, RAW).answer([1], method)
    options = ModelOptions(model=str(llama_folder))
    for save in (
        {"save_probe": "mark", "save_direction": "mark.npz"},
        {"save_direction": "o.json"},
    ):
        request = ProbeRequest(
            model=options,
            class_a="|".join(both.texts[:4]),
            class_b="|".join(both.texts[4:]),
            label_a=LABELS[0],
            label_b=LABELS[1],
            layers="1",
            method=method,
            test="sea?",
            **{name: tmp_path / file for name, file in save.items()},
        )
        found = run(request)
    for name in ("mark.safetensors", "mark.npz", "o.json"):
        (read,) = read_steering_file(tmp_path / name)
        np.testing.assert_array_equal(read.vector, direction.vector)
        assert (read.layer, read.positive_label, read.negative_label) == (1, *LABELS)
    saved = tmp_path / "mark.safetensors"
    applied = run(ApplyRequest(model=options, probes=saved, prompt="sea?"))
    assert applied.classes == ["shouts", "asks"]
    p = applied.readings[0].probabilities[-1][1]
    assert p == pytest.approx(found.tests[0].probability, abs=1e-4)


LINE = "introspect probe -m {m} -a a?|b? -b a!|b! -l 1 --save-probe mark --save-direction mark.npz"


@pytest.mark.parametrize("more", ["", " -o probe.json"])
def test_a_second_run_keeps_what_the_first_saved(llama_folder, tmp_path, monkeypatch, more):
    monkeypatch.chdir(tmp_path)
    words = (LINE.format(m=llama_folder) + more).split()
    assert invoke(words).exit_code == 0
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    again = invoke(words)
    assert again.exit_code == 0, again.output
    assert ("is reused" in again.stderr) == bool(more)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    (tmp_path / "mark.npz").unlink()
    assert "is reused" not in invoke(words).stderr
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    other = invoke([*words, "--method", "difference"])
    assert other.error.code == "output-exists"


def test_what_is_no_probe(llama, tmp_path):
    with raises(DataError, "prompt-in-both-classes", prompt="a"):
        TwoClasses.of(PromptInput(["a"]), PromptInput(["b", "a"]), LABELS)
    with raises(UsageError, "equal-labels", label="x"):
        TwoClasses.of(PromptInput(["a"]), PromptInput(["b"]), ("x", "x"))
    with raises(UsageError, "unknown-probe-method", method="svm"):
        ProbeQuestion(llama, classes(2), RAW).answer([0], "svm")
    for names in ((tmp_path / "a.pt", None), (None, tmp_path / "a.npz")):
        with raises(UsageError, "unknown-format"):
            check_names(*names)
