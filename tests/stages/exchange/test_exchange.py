"""export and import: what goes into another program's file, what is taken from one, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from checkpoints import write_checkpoint
from errors import raises

from circuit.artifacts.manifest.manifest import Run, digest
from circuit.artifacts.steering_files.files import (
    Direction,
    read_steering_file,
    unit,
    write_directions,
    write_npz,
)
from circuit.artifacts.steering_files.formats import formats
from circuit.errors import CircuitError, ModelError, UsageError
from circuit.stages.directions.show import show_directions
from circuit.stages.exchange.export import EXPORT, length_of
from circuit.stages.exchange.import_file import IMPORT
from circuit.stages.exchange.request import ExportRequest, ImportRequest
from circuit.stages.options import ArchiveOutputOptions
from circuit.stages.rows.same_weights import check_model
from circuit.stages.run import Session, silent
from circuit.stages.steering.source import Source
from circuit.values.identity import ModelIdentity

D = 32


def export_directions(file, out, *, force=False, note=silent, **options):
    request = ExportRequest(file=file, output=out, force=force, **options)
    return EXPORT.run(request, Session(note=note)).result


def import_directions(file, out, *, force=False, note=silent, **options):
    output = ArchiveOutputOptions(output=out, force=force)
    return IMPORT.run(ImportRequest(file=file, output=output, **options), Session(note=note))


def direction(name="tool", layer=1, seed=0, **fields):
    vector, _ = unit(np.random.default_rng([seed, layer]).normal(size=D), "v")
    return Direction(name, "resid_post", layer, vector, 2.3 + layer, "mean_diff", **fields)


def archive(folder: Path, *directions, model=None) -> Path:
    run = Run.since(0.0)
    write_directions(folder / "d", directions, parameters={}, inputs=[], run=run, model=model)
    return folder / "d.safetensors"


def same(a: Direction, b: Direction) -> bool:
    says = [{k: v for k, v in vars(each).items() if k != "vector"} for each in (a, b)]
    return says[0] == says[1] and a.vector.tobytes() == b.vector.tobytes()


@pytest.fixture
def several(tmp_path):
    """Two names at three layers; `tool` at layer 2 is recommended."""
    found = [direction(layer=layer) for layer in (0, 1)]
    found += [direction(layer=2, extra={"recommended": True})]
    return archive(tmp_path, *found, *(direction("mood", layer, 1) for layer in (0, 1, 2)))


def test_the_recommended_name_is_exported_at_every_layer(tmp_path, several):
    notes = []
    results = export_directions(several, tmp_path / "x.svec", note=notes.append)
    assert (results.name, results.blocks, results.format) == ("tool", [0, 1, 2], "svec")
    assert "--name chooses another: tool, mood" in notes[0]
    chosen = export_directions(several, tmp_path / "y.svec", name="mood", layers="1,2")
    assert (chosen.name, chosen.blocks) == ("mood", [1, 2])


def test_a_file_of_one_direction_takes_the_recommended_one(tmp_path, several):
    assert export_directions(several, tmp_path / "x.npz").blocks == [2]
    assert export_directions(several, tmp_path / "y.npz", layers="0").blocks == [0]
    with raises(UsageError, "one-direction-expected", count=3):
        export_directions(several, tmp_path / "z.npz", layers="all")
    plain = archive(tmp_path / "p", direction(layer=0), direction(layer=1))
    with raises(UsageError, "one-direction-expected", count=2):
        export_directions(plain, tmp_path / "z.npz")


def test_block_zero_is_left_out_of_gguf_and_it_says_so(tmp_path, several):
    notes = []
    results = export_directions(several, tmp_path / "x.gguf", note=notes.append)
    assert results.blocks == [1, 2]
    assert any("block 0 is left out" in note for note in notes)
    assert [line.count("--control-vector-layer-range 2 2") for line in results.commands] == [
        1,
        1,
    ]
    with raises(CircuitError, "block-0-only"):
        export_directions(several, tmp_path / "y.gguf", layers="0")


@pytest.mark.parametrize(
    ("out", "options", "code"),
    [
        ("x.safetensors", {}, "ambiguous-format"),
        ("x.bin", {}, "unknown-format"),
        ("x.gguf", {"format_name": "ggml"}, "unknown-format"),
        ("x.gguf", {"format_name": "saklas"}, "suffix-of-another-format"),
        ("x.gguf", {"name": "nobody"}, "unknown-direction"),
        ("x.gguf", {"layers": "9"}, "layer-out-of-range"),
        ("x.gguf", {"scale": "-1"}, "bad-scale"),
        ("x.gguf", {"scale": "big"}, "bad-scale"),
        ("x.npz", {"scale": "unit"}, "option-not-applicable"),
        ("d.safetensors", {"format_name": "saklas"}, "output-is-input"),
        ("d.json", {}, "output-is-input"),
    ],
)
def test_what_cannot_be_exported_is_refused_and_nothing_is_written(
    tmp_path, several, out, options, code
):
    before = {each: digest(each) for each in tmp_path.iterdir()}
    with raises(CircuitError, code) as caught:
        export_directions(several, tmp_path / out, force=True, **options)
    assert caught.value.hint
    assert {each: digest(each) for each in tmp_path.iterdir()} == before


def test_names_without_a_recommended_one_have_to_be_chosen(tmp_path):
    plain = archive(tmp_path, direction("a"), direction("b"))
    with raises(UsageError, "several-directions", names=["a", "b"]):
        export_directions(plain, tmp_path / "x.gguf")


def test_a_saklas_sidecar_does_not_replace_a_manifest(tmp_path, several):
    with raises(UsageError, "output-is-input"):
        export_directions(
            tmp_path / "d.json", tmp_path / "d.safetensors", format_name="saklas", force=True
        )


def test_scales():
    assert [length_of(text) for text in (None, "natural", "unit", "2.5")] == [None, None, 1.0, 2.5]
    for bad in ("nan", "inf", "0", ""):
        with raises(UsageError, "bad-scale", scale=bad):
            length_of(bad)


@pytest.mark.parametrize("name", [name for name, each in formats().items() if each.SEVERAL])
def test_export_and_import_give_the_archive_back(tmp_path, llama, name):
    identity = llama.identity
    made = [direction(layer=layer, model=identity) for layer in (1, 2)]
    file = archive(tmp_path, *made, model=identity)
    out = tmp_path / ("x" + formats()[name].SUFFIX)
    export_directions(file, out, format_name=name)
    done = import_directions(out, tmp_path / "back", model=llama.id)
    assert (done.result.format, done.reused) == (name, False)
    back = read_steering_file(tmp_path / "back.safetensors")
    assert all(same(a, b) for a, b in zip(made, back, strict=True))
    check_model(back[0], llama, allow_other=False)
    assert import_directions(out, tmp_path / "back", model=llama.id).reused


def test_an_import_says_where_it_came_from(tmp_path, llama, llama_folder):
    write_npz(tmp_path / "v.npz", direction(layer=1))
    import_directions(tmp_path / "v.npz", tmp_path / "in", model=str(llama_folder))
    manifest = json.loads((tmp_path / "in.json").read_text())
    assert manifest["schema"] == "circuit.directions/1"
    assert manifest["parameters"] == {
        "format": "npz",
        "layer_offset": 0,
        "model": str(llama_folder),
    }
    assert manifest["inputs"] == [{"path": "v.npz", "sha256": digest(tmp_path / "v.npz")}]
    model = manifest["model"]
    assert (model["family"], model["n_layers"], model["d_model"]) == ("llama", 3, D)
    shown, _ = show_directions(tmp_path / "in.safetensors")
    assert "v.npz" in shown.provenance["made from"]
    check_model(read_steering_file(tmp_path / "in.safetensors")[0], llama, allow_other=False)


def test_layers_can_be_counted_otherwise(tmp_path):
    formats()["svec"].write(tmp_path / "v.svec", [direction(layer=1), direction(layer=2)])
    import_directions(tmp_path / "v.svec", tmp_path / "in", layer_offset=-1)
    assert [each.layer for each in read_steering_file(tmp_path / "in.json")] == [0, 1]
    with raises(UsageError, "layer-out-of-range"):
        import_directions(tmp_path / "v.svec", tmp_path / "other", layer_offset=-2)
    with raises(CircuitError, "output-exists"):
        import_directions(tmp_path / "v.svec", tmp_path / "in")


def test_a_model_of_another_width_or_depth_is_refused(tmp_path, llama_folder):
    llama, out = str(llama_folder), tmp_path / "in"
    wide, _ = unit(np.ones(D + 1), "v")
    write_npz(tmp_path / "wide.npz", Direction("a", "resid_post", 1, wide, 1.0))
    write_npz(tmp_path / "deep.npz", direction(layer=3))
    other = ModelIdentity(id="other", n_layers=4, d_model=D)
    formats()["gguf"].write(tmp_path / "other.gguf", [direction(model=other)])
    for name, words in {
        "wide.npz": "33 entries, .* has width 32",
        "deep.npz": "layer 3, .* has layers 0 to 2",
        "other.gguf": "a model of 4 layers, .* has 3",
    }.items():
        with pytest.raises(ModelError, match=words):
            import_directions(tmp_path / name, out, model=llama)
    assert not out.with_suffix(".json").exists()
    import_directions(tmp_path / "deep.npz", out, model=llama, layer_offset=-1)


def test_the_files_own_model_is_kept(tmp_path, llama_folder):
    notes = []
    own = ModelIdentity(id="org/m", n_layers=3, d_model=D, weights_sha256="0" * 64)
    formats()["gguf"].write(tmp_path / "x.gguf", [direction(model=own)])
    import_directions(
        tmp_path / "x.gguf", tmp_path / "in", model=str(llama_folder), note=notes.append
    )
    assert read_steering_file(tmp_path / "in.json")[0].model == own
    assert "made with `org/m`" in notes[0]
    with raises(UsageError, "other-model", model="org/m"):
        import_directions(tmp_path / "x.gguf", tmp_path / "y", model_id="org/other")
    with raises(UsageError, "model-named-twice"):
        import_directions(tmp_path / "x.gguf", tmp_path / "y", model="a", model_id="b")


def test_without_a_model_it_says_that_nothing_will_be_noticed(tmp_path):
    notes = []
    formats()["svec"].write(tmp_path / "x.svec", [direction()])
    import_directions(tmp_path / "x.svec", tmp_path / "in", note=notes.append)
    assert "no model is named" in notes[0]
    import_directions(tmp_path / "x.svec", tmp_path / "id", model_id="org/m")
    assert read_steering_file(tmp_path / "id")[0].model == ModelIdentity(id="org/m", d_model=D)


def test_what_is_no_other_programs_file_is_not_imported(tmp_path, several):
    with raises(UsageError, "own-archive"):
        import_directions(several, tmp_path / "in")
    with raises(CircuitError, "file-not-found"):
        import_directions(tmp_path / "missing.gguf", tmp_path / "in")
    with raises(UsageError, "output-is-input"):
        formats()["steering-lite"].write(tmp_path / "s.safetensors", [direction()])
        import_directions(tmp_path / "s.safetensors", tmp_path / "s", force=True)


@pytest.mark.parametrize("name", formats())
def test_steer_takes_every_format(tmp_path, llama, name):
    file = tmp_path / ("x" + formats()[name].SUFFIX)
    formats()[name].write(file, [direction(layer=1)])
    (term,) = Source(file).terms(n_layers=3)
    assert (term.direction.layer, term.direction.norm) == (1, direction(layer=1).norm)
    check_model(term.direction, llama, allow_other=False)


def test_the_shape_of_a_model_is_found_without_its_weights(tmp_path):
    from circuit.model.checkpoint.loading import load_model, shape_of

    for family, more in {"llama": {}, "gpt2": {"n_ctx": 64, "n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": 64, "layer_norm_epsilon": 1e-5}}.items():  # fmt: skip
        folder = write_checkpoint(tmp_path / family, family, **more)
        shape, model = shape_of(str(folder)), load_model(str(folder))
        assert (shape.n_layers, shape.d_model) == (model.n_layers, model.d_model)
    with raises(ModelError, "model-not-found"):
        shape_of("./nowhere")
