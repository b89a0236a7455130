"""Archives: exact round trips, equal bytes, and nothing half-written."""

import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from errors import raises
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from processes import run_in_read_only
from safetensors.numpy import load_file

from circuit.artifacts.archive.archive import Archive, is_archive, read_archive, write_archive
from circuit.artifacts.archive.bfloat16 import from_bfloat16, to_bfloat16
from circuit.artifacts.archive.layout import Layout, Tensor
from circuit.artifacts.archive.writer import ArchiveWriter
from circuit.errors import ArtifactError, UsageError

LARGE = Layout.of({"x": Tensor("F32", (100, 100))}, {})
finite = st.floats(-1e4, 1e4, width=32)
arrays = npst.arrays(np.float32, npst.array_shapes(max_dims=3, max_side=5), elements=finite)
quick = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@quick
@given(st.dictionaries(st.text("abc._@0", min_size=1, max_size=6), arrays, max_size=4))
def test_round_trip_is_exact_and_other_readers_agree(tmp_path: Path, tensors):
    path = tmp_path / "x.safetensors"
    write_archive(path, tensors, {"kind": "test"}, force=True)
    read, other = read_archive(path), load_file(path)
    assert read.keys() == other.keys() == tensors.keys()
    for name, values in tensors.items():
        np.testing.assert_array_equal(read[name], values, strict=True)
        np.testing.assert_array_equal(other[name], values, strict=True)


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x[:, -1],
        lambda x: x[:, :, 0].T,
        lambda x: x[::2, ::-1],
        lambda x: np.broadcast_to(x[0, 0], (3, 4)),
        lambda x: np.asfortranarray(x[0]),
        lambda x: x.astype(">f4"),
        lambda x: x.astype(np.float64),
        lambda x: x[0, 0, 0],
        lambda x: x[:0],
    ],
)
def test_layout_in_memory_does_not_matter(tmp_path: Path, view):
    values = view(np.random.default_rng(0).normal(size=(5, 6, 4)).astype(np.float32))
    write_archive(tmp_path / "x.safetensors", {"x": values}, {})
    read = Archive(tmp_path / "x.safetensors").read("x")
    np.testing.assert_array_equal(read, np.asarray(values, np.float32))
    assert read.dtype == np.float32


@pytest.mark.parametrize(("dtype", "error"), [("float16", 2**-11), ("bfloat16", 2**-8)])
def test_narrow_types_read_as_float32(tmp_path: Path, dtype: str, error: float):
    values = np.random.default_rng(0).normal(size=(7, 9)).astype(np.float32)
    path = tmp_path / "x.safetensors"
    write_archive(path, {"a": values[:, :3], "b": values.T}, {}, dtype=dtype)
    np.testing.assert_allclose(read_archive(path)["b"], values.T, rtol=error)
    assert Archive(path).dtype("b") == {"float16": "F16", "bfloat16": "BF16"}[dtype]
    assert path.stat().st_size < 2 * values.size * 2 + 300


@quick
@given(npst.arrays(np.float32, 20, elements=st.floats(-(2.0**99), 2.0**99, width=32)))
def test_bfloat16_rounds_to_nearest(values):
    rounded = from_bfloat16(to_bfloat16(values))
    below = from_bfloat16((values.view(np.uint32) >> 16).astype(np.uint16))
    above = from_bfloat16(((values.view(np.uint32) >> 16) + 1).astype(np.uint16))
    with np.errstate(invalid="ignore", over="ignore"):
        best = np.minimum(abs(values - below), abs(values - above))
    np.testing.assert_array_equal(abs(values - rounded), best)


@pytest.mark.parity
def test_bfloat16_equals_torch():
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    theirs = torch.from_numpy(values).bfloat16().float().numpy()
    np.testing.assert_array_equal(from_bfloat16(to_bfloat16(values)), theirs)


def test_equal_contents_have_equal_bytes(tmp_path: Path):
    tensors = {name: np.full((3, 2), i, np.float32) for i, name in enumerate("cab")}
    metadata = {"z": 1, "a": {"y": [1, 2], "x": "é"}}
    for i in range(5):
        shuffled = dict(sorted(tensors.items(), key=lambda item: hash((item[0], i))))
        write_archive(tmp_path / f"{i}.safetensors", shuffled, metadata)
    assert len({(tmp_path / f"{i}.safetensors").read_bytes() for i in range(5)}) == 1
    assert Archive(tmp_path / "0.safetensors").metadata == metadata


@quick
@given(
    st.lists(st.sampled_from(["F32", "F16", "BF16", "I32", "I64"]), min_size=1, max_size=5),
    npst.array_shapes(max_dims=2, max_side=5),
)
def test_arrays_of_different_types_lie_aligned_in_one_file(tmp_path: Path, types, shape):
    path = tmp_path / "x.safetensors"
    path.unlink(missing_ok=True)
    tensors = {f"{i}": Tensor(dtype, shape) for i, dtype in enumerate(types)}
    values = np.random.default_rng(0).integers(-(2**7), 2**7, shape)
    with ArchiveWriter(path, layout := Layout.of(tensors, {"kind": "test"})) as writer:
        for name in tensors:
            for row in reversed(range(shape[0])):
                writer.put(name, values[row : row + 1], row)
        writer.finish()
    read = Archive(path)
    for name, (dtype, _) in tensors.items():
        array = read.integers(name) if dtype[0] == "I" else read.read(name)
        assert array.dtype == {"I32": np.int32, "I64": np.int64}.get(dtype, np.float32)
        np.testing.assert_array_equal(array, values)
        np.testing.assert_array_equal(array[1:], read_rows(read, name, 1, shape[0]))
        assert layout.starts[name] % {"I64": 8, "F32": 4, "I32": 4}.get(dtype, 2) == 0
    if "BF16" not in types:
        assert load_file(path).keys() == tensors.keys()


def read_rows(archive: Archive, name: str, first: int, end: int) -> np.ndarray:
    if archive.dtype(name)[0] == "I":
        return archive.integers(name)[first:end]
    return archive.rows(name, first, end)


def test_integers_are_not_floats(tmp_path: Path):
    tensors = {"i": Tensor("I32", (2,)), "f": Tensor("F32", (2,))}
    with ArchiveWriter(tmp_path / "x.safetensors", Layout.of(tensors, {})) as writer:
        writer.put("f", [1, 2])
        for bad in ([1.0, 2.0], [2**31, 0]):
            with pytest.raises(ValueError, match="takes integers"):
                writer.put("i", bad)
        with pytest.raises(ValueError, match="rows of shape"):
            writer.put("f", [[1.0]])
        with pytest.raises(IndexError, match="has 2 rows"):
            writer.put("f", [1.0], 2)
        writer.put("i", np.array([2**31 - 1, -1]))
        writer.finish()
    read = Archive(tmp_path / "x.safetensors")
    assert read.integers("i").tolist() == [2**31 - 1, -1]
    with raises(ArtifactError, "wrong-dtype"):
        read.integers("f")
    with raises(ArtifactError, "wrong-dtype"):
        read.read("i")


@pytest.mark.parametrize("bits", [0x7F800001, 0x7FFFFFFF, 0xFFFFFFFF, 0xFF800000])
def test_no_spelling_of_nan_becomes_a_number(tmp_path: Path, bits: int):
    # Rounding 0x7FFFFFFF to bfloat16 carries into the sign: it would be stored as minus zero.
    value = np.array([bits], np.uint32).view(np.float32)
    for dtype in ("float32", "float16", "bfloat16"):
        with raises(ArtifactError, "not-finite"):
            write_archive(tmp_path / "x.safetensors", {"x": value}, {}, dtype=dtype)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, bad: float):
    with raises(ArtifactError, "not-finite"):
        write_archive(tmp_path / "x.safetensors", {"x": [1, bad]}, {})
    assert not list(tmp_path.iterdir())


def test_overflow_by_narrowing_is_refused(tmp_path: Path):
    with raises(ArtifactError, "dtype-overflow"):
        write_archive(tmp_path / "x.safetensors", {"x": [1, 7e4]}, {}, dtype="float16")
    with raises(UsageError, "unknown-dtype"):
        write_archive(tmp_path / "x.safetensors", {"x": [1]}, {}, dtype="float8")


def test_nan_in_a_file_is_refused_when_it_is_read(tmp_path: Path):
    path = tmp_path / "x.safetensors"
    write_archive(path, {"x": [1.0, 2.0]}, {})
    data = bytearray(path.read_bytes())
    data[-4:] = np.float32(np.nan).tobytes()
    path.write_bytes(data)
    with raises(ArtifactError, "not-finite"):
        Archive(path).read("x")


@pytest.mark.parametrize("data", [b"", b"hello", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0{}x"])
def test_damaged_files_are_an_error(tmp_path: Path, data: bytes):
    (tmp_path / "x.safetensors").write_bytes(data)
    with raises(ArtifactError, "not-safetensors"):
        Archive(tmp_path / "x.safetensors")
    assert not is_archive(tmp_path / "x.safetensors")


def test_a_truncated_file_and_a_missing_one(tmp_path: Path):
    path = tmp_path / "x.safetensors"
    write_archive(path, {"x": np.ones(9)}, {})
    path.write_bytes(path.read_bytes()[:-1])
    with raises(ArtifactError, "not-safetensors"):
        Archive(path)
    with raises(ArtifactError, "file-not-found"):
        Archive(tmp_path / "y.safetensors")


def test_a_name_that_is_not_there_lists_those_that_are(tmp_path: Path):
    write_archive(tmp_path / "x.safetensors", {"a": [1]}, {})
    with raises(ArtifactError, "array-not-in-archive") as caught:
        Archive(tmp_path / "x.safetensors").read("b")
    assert "it holds a" in caught.value.hint


def test_something_else_is_not_overwritten_without_force(tmp_path: Path):
    path = tmp_path / "x.safetensors"
    write_archive(path, {"x": [1]}, {})
    write_archive(path, {"x": [1]}, {})
    with raises(ArtifactError, "output-exists"):
        write_archive(path, {"x": [2]}, {})
    assert read_archive(path)["x"] == [1]
    write_archive(path, {"x": [2]}, {}, force=True)
    assert read_archive(path)["x"] == [2]
    assert [file.name for file in tmp_path.iterdir()] == ["x.safetensors"]


def test_a_full_disk_is_noticed_before_the_work(tmp_path: Path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with raises(ArtifactError, "no-space-left"):
            ArchiveWriter(tmp_path / "x.safetensors", LARGE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_two_processes_cannot_write_the_same_archive(tmp_path: Path):
    layout = Layout.of({"x": Tensor("F32", (1,))}, {})
    with ArchiveWriter(tmp_path / "x.safetensors", layout) as first:
        with raises(ArtifactError, "output-locked"):
            ArchiveWriter(tmp_path / "x.safetensors", layout)
        first.put("x", [1])
        first.finish()
    assert read_archive(tmp_path / "x.safetensors")["x"] == [1]


def test_a_folder_that_is_not_writable(tmp_path: Path):
    code = (
        "import pathlib; from circuit.artifacts.archive.archive import write_archive\n"
        "from circuit.errors import ArtifactError\n"
        "try: write_archive(pathlib.Path('x.safetensors'), {'x': [1]}, {})\n"
        "except ArtifactError as error: print(error)\n"
    )
    assert "the folder is not writable" in run_in_read_only(tmp_path, code)
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_place_of_the_folder(tmp_path: Path):
    (tmp_path / "f").write_text("")
    with raises(ArtifactError, "not-a-folder"):
        write_archive(tmp_path / "f" / "x.safetensors", {"x": [1]}, {})


def test_a_killed_writer_leaves_no_archive(tmp_path: Path):
    code = (
        "import sys, time, pathlib; from circuit.artifacts.archive.writer import ArchiveWriter\n"
        "from circuit.artifacts.archive.layout import Layout, Tensor\n"
        "layout = Layout.of({'x': Tensor('F32', (2, 3))}, {})\n"
        "writer = ArchiveWriter(pathlib.Path(sys.argv[1]), layout)\n"
        "writer.put('x', [[1, 2, 3]]); print('put', flush=True); time.sleep(60)"
    )
    path = tmp_path / "x.safetensors"
    process = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"put\n"
        process.send_signal(signal.SIGKILL)
    assert not path.exists()
    write_archive(path, {"x": [1]}, {})
    assert [file.name for file in tmp_path.iterdir()] == ["x.safetensors"]


def test_memory_does_not_grow_with_rows(tmp_path: Path):
    code = (
        "import resource, sys, pathlib, numpy as np\n"
        "from circuit.artifacts.archive.writer import ArchiveWriter\n"
        "from circuit.artifacts.archive.layout import Layout, Tensor\n"
        "layout = Layout.of({'x': Tensor('F32', (4096, 4096))}, {})\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "batch = np.ones((8, 4096), np.float32); before = peak()\n"
        "with ArchiveWriter(pathlib.Path(sys.argv[1]), layout) as writer:\n"
        "    for row in range(0, 4096, 8): writer.put('x', batch, row)\n"
        "print((peak() - before) / (1 if sys.platform == 'darwin' else 1024))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "x.safetensors"], capture_output=True, check=True
    )
    grown = float(done.stdout)
    assert grown < (8 << 20 if sys.platform == "darwin" else 8 << 10)
