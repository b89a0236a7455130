"""visualize: the pictures of an archive, of what is there and of what has to be computed."""

import json

import numpy as np
import pytest
from asking import analyze, visualize
from errors import raises
from in_process import invoke
from planted_archive import write_planted
from signed import write_signed

from circuit.errors import ArtifactError, UsageError


def test_visualize_draws_everything_from_what_is_there(chain):
    folder, results = chain.folder, chain.analysis
    notes = []
    kinds = ("pca", "probes", "directions")
    drawn, reused = visualize(folder / "activations", folder / "plots", *kinds, note=notes.append)
    assert not reused
    assert notes == []  # nothing had to be computed
    names = [figure.file for figure in drawn.figures]
    assert names == [
        "pca_layer3.png",
        "probe_accuracy.png",
        "layer_similarity.png",
        "site_similarity_last.png",
        "directions_auroc.png",
        "directions_projection_layer3.png",
        "directions_cosines.png",
        "directions_transfer.png",
    ]
    for figure in drawn.figures:
        assert (folder / "plots" / figure.file).read_bytes().startswith(b"\x89PNG")
        numbers = json.loads((folder / "plots" / figure.numbers).read_text())
        assert numbers["caption"] == figure.caption
    numbers = json.loads((folder / "plots" / "probe_accuracy.json").read_text())
    at_3 = results.entries_at("resid_post", "last")[3]
    assert tuple(numbers["probes"]["label"][3]["auroc"]) == at_3.probes["label"].auroc
    assert visualize(folder / "activations", folder / "plots", *kinds)[1]


def test_the_chain_verifies(chain):
    folder = chain.folder
    visualize(folder / "activations", folder / "plots", "pca", "probes", "directions")
    paths = [folder / name for name in ("analysis.json", "directions.json", "plots/plots.json")]
    assert invoke(["verify", *map(str, paths)]).exit_code == 0


def test_visualize_computes_what_is_missing(tmp_path):
    write_planted(tmp_path / "a", n_layers=2, d=32)
    notes = []
    drawn, _ = visualize(tmp_path / "a", tmp_path / "plots", "pca", "probes", note=notes.append)
    assert len(drawn.figures) == 3
    assert "probing every layer" in notes[0]
    with raises(UsageError, "no-directions"):
        visualize(tmp_path / "a", tmp_path / "more", "directions")
    assert not (tmp_path / "more").exists()


def test_an_analysis_of_another_archive_is_not_drawn(chain, tmp_path):
    folder = chain.folder
    write_planted(tmp_path / "activations", n_layers=2, d=32, seed=5)
    (tmp_path / "analysis.json").write_bytes((folder / "analysis.json").read_bytes())
    notes = []
    visualize(tmp_path / "activations", tmp_path / "plots", "pca", note=notes.append)
    assert "made from another archive" in notes[0]
    with raises(ArtifactError, "made-from-another-archive"):
        visualize(
            tmp_path / "activations",
            tmp_path / "plots",
            "pca",
            analysis=folder / "analysis.json",
            force=True,
        )


def test_an_analysis_that_lacks_a_key_is_not_drawn_and_a_reused_run_says_so_again(tmp_path):
    write_planted(tmp_path / "activations", n_layers=2, d=32)
    analyze(
        tmp_path / "activations.safetensors", tmp_path / "analysis.json", n_boot=50, n_shuffles=50
    )
    document = json.loads((tmp_path / "analysis.json").read_text())
    del document["results"]["curves"]
    write_signed(tmp_path / "analysis.json", document)
    for reused in (False, True):
        notes = []
        drawn = visualize(tmp_path / "activations", tmp_path / "plots", "pca", note=notes.append)
        assert drawn[1] is reused
        assert str(tmp_path / "analysis.json") in notes[0]
        assert "`curves`" in notes[0]


@pytest.mark.slow
def test_umap_is_stored_and_drawn_from_the_store(tmp_path):
    write_planted(tmp_path / "activations", n_layers=1, d=32)
    results, _ = analyze(
        tmp_path / "activations", tmp_path / "analysis.json", umap=True, n_boot=100
    )
    assert np.shape(results.layers[0].umap.coordinates) == (122, 2)
    notes = []
    drawn, _ = visualize(tmp_path / "activations", tmp_path / "plots", "umap", note=notes.append)
    assert notes == []
    assert drawn.figures[0].file == "umap_layer0.png"
