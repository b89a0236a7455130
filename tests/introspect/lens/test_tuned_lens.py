"""A tuned lens starts as the logit lens, learns a planted map, and belongs to one model."""

import json
import shutil

import numpy as np
import pytest
from checkpoints import write_checkpoint
from errors import raises
from in_process import run

from circuit.errors import ArtifactError, DataError, UsageError
from circuit.introspect.inputs.choices import LayerStrategy
from circuit.introspect.lens.logit_lens import AnalysisConfig, analyze
from circuit.introspect.lens.tuned_lens import (
    check_lens_options,
    default_texts,
    read_lens,
    tune_lens,
)
from circuit.introspect.questions.tune_lens import COMMAND, TuneLensRequest
from circuit.model.checkpoint.loading import load_model
from circuit.model.gradients.lens_training import AffineMap, train_maps
from circuit.stages.options import ModelOptions

TEXTS = [f"{a} {b} {c}." for a in ("one", "two", "three") for b in ("big", "old") for c in "xyzuvw"]
ALL = AnalysisConfig(LayerStrategy.ALL)


@pytest.fixture(scope="module")
def folder(llama_folder, tmp_path_factory):
    """A folder with a trained lens of the model."""
    folder = tmp_path_factory.mktemp("lens")
    (folder / "texts.txt").write_text("\n".join(TEXTS))
    return folder


@pytest.fixture(scope="module")
def lens(folder, llama_folder):
    """The lens, trained and written by its command."""
    request = TuneLensRequest(
        model=ModelOptions(model=str(llama_folder)),
        texts=f"@{folder / 'texts.txt'}",
        steps=150,
        rate=3e-3,
        output=folder / "lens.safetensors",
    )
    trained = COMMAND.run(request)
    again = COMMAND.run(request)
    assert (trained.reused, again.reused) == (False, True)
    assert again.result.result == trained.result.result
    np.testing.assert_array_equal(again.result.maps[0].matrix, trained.result.maps[0].matrix)
    return trained.result


def test_a_lens_without_a_step_is_the_logit_lens(llama):
    untrained = tune_lens(llama, TEXTS, n_steps=1, rate=0.0)
    for fit in untrained.result.layers:
        assert fit.tuned == fit.plain
    same = analyze(llama, ["one big x."], ALL, lens=untrained.maps)
    assert same == analyze(llama, ["one big x."], ALL)


def test_training_brings_early_layers_nearer_to_the_model(llama, lens):
    assert [fit.layer for fit in lens.result.layers] == [0, 1]
    for fit in lens.result.layers:
        assert fit.tuned[0] < 0.7 * fit.plain[0]
        assert 0 <= fit.tuned[1] <= fit.tuned[0] <= fit.tuned[2]


def test_a_notebook_shows_a_lens(lens):
    assert "nats per token" in lens._repr_html_()


def test_no_bound_of_a_divergence_is_negative(identity_llama):
    """Where blocks do nothing every layer reads as the last, but for what training unsettles."""
    for fit in tune_lens(identity_llama, TEXTS[:12], n_steps=2, rate=1e-2).result.layers:
        assert min(fit.tuned + fit.plain) >= 0


@pytest.mark.usefixtures("lens")
def test_what_a_tuned_lens_read_comes_from_its_file(llama_folder, folder, monkeypatch):
    line = f'introspect analyze -m {llama_folder} -p "one" --layers 0 -o found.json'
    run(f"{line} --lens tuned --lens-file lens.safetensors", folder, monkeypatch)
    (source,) = json.loads((folder / "found.json").read_text())["inputs"]
    assert source["path"] == "lens.safetensors"


def test_a_map_that_is_known_is_learnt(llama):
    """Residuals that are the last ones, shifted: the bias is what has to be undone."""
    rng = np.random.default_rng(0)
    last = rng.standard_normal((400, 32)).astype(np.float32)
    shift = rng.standard_normal(32).astype(np.float32)
    shifted = {0: last + shift}
    (one,) = train_maps(llama, shifted, last, steps=range(300), n_steps=300, rate=2e-2).values()
    cosine = one.bias @ shift / np.linalg.norm(one.bias) / np.linalg.norm(shift)
    assert cosine < -0.9


def test_it_is_kept_to_the_bit_and_belongs_to_one_model(llama, lens, folder, tmp_path):
    manifest = json.loads((folder / "lens.json").read_text())
    assert manifest["schema"] == "circuit.lens_maps/1"
    assert manifest["results"]["layers"][0]["tuned"] == lens.result.layers[0].tuned
    read = read_lens(folder / "lens", llama)
    for k, one in lens.maps.items():
        np.testing.assert_array_equal(read[k].matrix, one.matrix)
        np.testing.assert_array_equal(read[k].bias, one.bias)
    (tuned,), (plain,) = (analyze(llama, ["one big x."], ALL, lens=each) for each in (read, None))
    assert tuned.layer_predictions[0] != plain.layer_predictions[0]
    assert tuned.layer_predictions[-1] == plain.layer_predictions[-1]
    other = load_model(str(write_checkpoint(tmp_path / "other", seed=1)))
    with raises(UsageError, "lens-of-another-model"):
        read_lens(folder / "lens", other)
    with raises(ArtifactError, "file-not-found"):
        read_lens(tmp_path / "none", llama)


@pytest.mark.usefixtures("lens")
def test_changed_maps_are_refused(llama, folder, tmp_path):
    rng, sound = np.random.default_rng(0), (folder / "lens.safetensors").read_bytes()
    for name in ("lens.safetensors", "lens.json"):
        shutil.copy(folder / name, tmp_path / name)
    for at in rng.integers(0, len(sound), 50):
        changed = bytearray(sound)
        changed[at] ^= 1 << int(rng.integers(8))
        (tmp_path / "lens.safetensors").write_bytes(changed)
        with raises(ArtifactError, "output-changed"):
            read_lens(tmp_path / "lens", llama)
    (tmp_path / "lens.safetensors").write_bytes(sound)
    read_lens(tmp_path / "lens", llama)


def test_maps_and_bad_input(llama):
    h = np.array([[1.0, 2.0]], np.float32)
    a = np.array([[0.0, 1.0], [0.0, 0.0]], np.float32)
    np.testing.assert_array_equal(AffineMap(a, np.ones(2, np.float32))(h), [[4.0, 3.0]])
    assert len(default_texts()) > 100
    with raises(DataError, "too-few-texts", n=2):
        tune_lens(llama, ["a", "b", "a"])
    for lens, file, code in (
        ("tuned", None, "lens-and-file"),
        ("logit", "f", "lens-and-file"),
        ("sharp", None, "unknown-lens"),
    ):
        with raises(UsageError, code):
            check_lens_options(lens, file)
