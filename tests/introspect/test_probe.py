"""A probe of two lists: it finds what is there, says nothing without groups, and what is saved reads as it did."""

import numpy as np
import pytest

from circuit.artifacts.steering_files.files import read_steering_file
from circuit.errors import DataError, UsageError
from circuit.introspect.output.probe_files import check_names, save_direction, saved_direction
from circuit.introspect.questions.probe import Classes, fit, probe, two_classes
from circuit.stages.options import ModelOptions
from circuit.stages.probes.request import ApplyRequest
from circuit.stages.rows.prompt_input import PromptInput
from circuit.stages.run import run
from circuit.values.prompt_format import RAW

WORDS = [
    "sun",
    "moon",
    "tree",
    "stone",
    "river",
    "cloud",
    "bird",
    "fish",
    "hill",
    "lake",
    "rain",
    "snow",
]
LABELS = ("asks", "shouts")


def classes(n):
    return two_classes(
        PromptInput([f"{w}?" for w in WORDS[:n]]),
        PromptInput([f"{w}!" for w in WORDS[-n:]]),
        LABELS,
    )


@pytest.mark.parametrize("method", ["logistic", "difference"])
def test_last_tokens_are_told_apart(llama, method):
    found, fitted = probe(
        llama, classes(12), form=RAW, layers="0,1", method=method, tests=["moon?", "sea?", "sea!"]
    )
    assert [each.layer for each in found.scores] == [0, 1]
    assert all(each.auroc[0] == 1 for each in found.scores)
    assert found.claimed
    assert (found.layer, found.choosing[0]) == (0, 1)
    assert [each.label for each in found.tests] == ["asks", "asks", "shouts"]
    assert [each.seen for each in found.tests] == [True, False, False]
    assert np.linalg.norm(fitted.vector) == pytest.approx(1, abs=1e-5)
    assert found.train_projections["asks"] > found.train_projections["shouts"]


def test_labels_that_say_nothing_claim_nothing(llama):
    rng = np.random.default_rng(0)
    texts = [f"{w}{mark}" for w in WORDS for mark in "ab"]
    order = rng.permutation(len(texts))
    a, b = ([texts[i] for i in part] for part in (order[:12], order[12:]))
    found, _ = probe(
        llama, two_classes(PromptInput(a), PromptInput(b), LABELS), form=RAW, layers="0,1,2"
    )
    assert found.claimed is False


def test_few_groups_are_not_claimed(llama):
    found, _ = probe(llama, classes(3), form=RAW, layers="0")
    assert found.n_groups == 6
    assert found.claimed is None
    one, fitted = probe(
        llama,
        two_classes(PromptInput(["a?"]), PromptInput(["b!"]), LABELS),
        form=RAW,
        tests=["a?", "b!"],
    )
    assert (one.scores, one.claimed, fitted.layer) == ([], None, 1)
    assert [each.label for each in one.tests] == ["asks", "shouts"]


def test_prompts_that_differ_in_a_blank_share_a_group():
    texts = [f"{w} =" for w in WORDS]
    both = two_classes(PromptInput([f"{t} " for t in texts]), PromptInput(texts), LABELS)
    assert both.n_groups == 12
    assert both.groups[:12] == both.groups[12:]


def test_difference_is_the_best_probe_of_two_normal_distributions():
    rng = np.random.default_rng(0)
    gap = np.zeros(6)
    gap[:2] = 2, 1
    y = np.repeat([1, 0], 5000)
    rows = rng.standard_normal((10000, 6)) + np.where(y[:, None] == 1, gap, 0)
    both = Classes([""] * 10000, y, [str(i) for i in range(10000)], LABELS)
    found = fit(rows.astype(np.float32), both, "difference", 0)
    np.testing.assert_allclose(found.slope * found.vector, gap, atol=0.1)
    assert found.bias == pytest.approx(-(gap @ gap) / 2, abs=0.15)


@pytest.mark.parametrize("method", ["logistic", "difference"])
def test_what_is_saved_reads_as_it_did(llama, llama_folder, tmp_path, method):
    found, fitted = probe(llama, classes(4), form=RAW, layers="1", method=method, tests=["sea?"])
    kept = saved_direction(llama, found, fitted, "raw", "mark")
    for name in ("mark", "mark.npz", "other.json"):
        save_direction(tmp_path / name, kept, llama, {}, started=0.0, force=False)
    for name in ("mark.safetensors", "mark.npz", "other.json"):
        (read,) = read_steering_file(tmp_path / name)
        np.testing.assert_array_equal(read.vector, fitted.vector)
        assert (read.layer, read.positive_label, read.negative_label) == (1, *LABELS)
    options, saved = ModelOptions(model=str(llama_folder)), tmp_path / "mark.safetensors"
    applied = run(ApplyRequest(model=options, probes=saved, prompt="sea?"))
    assert applied.classes == ["shouts", "asks"]
    p = applied.readings[0].probabilities[-1][1]
    assert p == pytest.approx(found.tests[0].probability, abs=1e-4)


def test_what_is_no_probe(llama, tmp_path):
    with pytest.raises(DataError, match="is in both classes"):
        two_classes(PromptInput(["a"]), PromptInput(["b", "a"]), LABELS)
    with pytest.raises(UsageError, match="both classes are called"):
        two_classes(PromptInput(["a"]), PromptInput(["b"]), ("x", "x"))
    with pytest.raises(UsageError, match="no probe method"):
        probe(llama, classes(2), form=RAW, method="svm")
    with pytest.raises(UsageError, match="out of range"):
        probe(llama, classes(2), form=RAW, layers="7")
    for names in ((tmp_path / "a.pt", None), (None, tmp_path / "a.npz")):
        with pytest.raises(UsageError, match="cannot be saved"):
            check_names(*names)
