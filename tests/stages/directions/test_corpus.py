"""The corpus of mean_centered: which prompts it holds, and what cannot serve."""

import numpy as np
import pytest
from asking import directions
from errors import raises
from planted_archive import prompt_set, write_planted
from planted_directions import PAIR, elsewhere

from circuit.artifacts.activations.activations import Activations
from circuit.artifacts.prompts.prompts import Prompt, PromptSet
from circuit.artifacts.steering_files.files import read_directions
from circuit.errors import DataError, UsageError
from circuit.stages.directions.show import show_directions


def centred(archive, layer, rows):
    """The direction that the formula gives: mean of the tool rows minus the mean of ``rows``."""
    opened = Activations.open(archive)
    H = opened.read("resid_post", layer).astype(np.float64)
    tool = np.array([p.label == "tool" for p in opened.prompts])
    others = [H[~tool & np.array([p.label is not None for p in opened.prompts])], *rows]
    v = H[tool].mean(axis=0) - np.concatenate(others).mean(axis=0)
    return v / np.linalg.norm(v)


def test_mean_centered_takes_the_prompts_beside_the_two_classes(tmp_path):
    extra = tuple(Prompt(text=f"plain {i}", category="smalltalk") for i in range(60))
    prompts = PromptSet(name="c", labels=PAIR, prompts=(*prompt_set(edge=False).prompts, *extra))
    write_planted(tmp_path / "a", prompts=prompts, n_layers=2, d=48)
    notes, how = [], {"method": "mean_centered", "n_boot": 50}
    results, _ = directions(tmp_path / "a", tmp_path / "d", note=notes.append, **how)
    assert "mean_centered: a corpus of 60 prompts of neither class (tool_vs_no_tool)" in notes
    beside = Activations.open(tmp_path / "a").read("resid_post", 1)[120:]
    found = read_directions(tmp_path / "d")[1].vector
    assert found @ centred(tmp_path / "a", 1, [beside]) == pytest.approx(1, abs=1e-5)
    assert found @ centred(tmp_path / "a", 1, []) < 0.999
    assert results.layers[1].auroc[0] > 0.9
    assert (results.best.layer, results.best.auroc, results.transfer) == (
        1,
        None,
        None,
    )
    assert any("the choice of a layer is not scored" in note for note in notes)


def test_mean_centered_takes_the_corpus_of_another_archive(fitted, tmp_path):
    plain = tuple(Prompt(text=f"plain {i}") for i in range(40))
    own = prompt_set(edge=False).prompts
    corpus = PromptSet(name="corpus", prompts=(*plain, *(Prompt(text=p.text) for p in own[:5])))
    write_planted(tmp_path / "corpus", prompts=corpus, n_layers=2, d=48, seed=4)
    how = {"method": "mean_centered", "layers": "1", "n_boot": 50, "corpus": tmp_path / "corpus"}
    notes = []
    directions(fitted / "a", tmp_path / "d", note=notes.append, **how)
    assert "mean_centered: a corpus of 40 prompts of neither class (tool_vs_no_tool)" in notes
    beside = Activations.open(tmp_path / "corpus").read("resid_post", 1)[:40]
    found = read_directions(tmp_path / "d")[0].vector
    assert found @ centred(fitted / "a", 1, [beside]) == pytest.approx(1, abs=1e-5)
    assert "corpus.json" in show_directions(tmp_path / "d")[0].provenance["made from"]
    _, again = directions(fitted / "a", tmp_path / "d", **how)
    assert again


def test_a_corpus_that_cannot_serve_is_refused(fitted, tmp_path):
    with raises(UsageError, "option-not-applicable", method="mean_diff"):
        directions(fitted / "a", tmp_path / "d", corpus=fitted / "other")
    write_planted(tmp_path / "wide", prompts=elsewhere(), n_layers=2, d=64)
    how = {"method": "mean_centered", "corpus": tmp_path / "wide"}
    with raises(DataError, "widths-differ", site="resid_post"):
        directions(fitted / "a", tmp_path / "d", **how)
    write_planted(tmp_path / "same", n_layers=2, d=48, prompts=prompt_set(edge=False), seed=2)
    how = {"method": "mean_centered", "corpus": tmp_path / "same"}
    with raises(DataError, "empty-corpus"):
        directions(fitted / "a", tmp_path / "d", **how)
    alone = PromptSet(name="two", labels=PAIR, prompts=prompt_set(edge=False).prompts)
    write_planted(tmp_path / "two", prompts=alone, n_layers=1, d=48)
    notes = []
    how = {"method": "mean_centered", "n_boot": 20}
    directions(tmp_path / "two", tmp_path / "e", note=notes.append, **how)
    assert any("so this is the difference of means" in note for note in notes)
