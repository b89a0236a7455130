"""Activations: rows go where they belong and come back with their prompts."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from errors import raises
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from signed import write_signed
from written import MODEL, POSITIONS, SITES, WIDTHS, Plan

from circuit.artifacts.activations.activations import Activations
from circuit.artifacts.activations.arrangement import ArrayPlan
from circuit.artifacts.activations.writer import ActivationsWriter
from circuit.artifacts.manifest.manifest import Run
from circuit.artifacts.manifest.origin import Origin
from circuit.errors import ArtifactError, UsageError

LAST = Plan(positions=("last",))
quick = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def simple(stem: Path, **options) -> ActivationsWriter:
    """Start an archive of one array of three prompts."""
    prompts = LAST.prompts.subset(range(3))
    fields = {"sites_layers": [("up_proj", 0)], "positions": ["last"], "d_model": 4}
    origin = options.pop("origin", Origin.of(stem, parameters={}, inputs=[]))
    return ActivationsWriter(stem, ArrayPlan(**(fields | options)), prompts=prompts, origin=origin)


def test_what_was_put_is_read(tmp_path: Path):
    plan = Plan(positions=("last", "mean"))
    finished = plan.write(tmp_path / "a")
    for name in ("a", "a.json", "a.safetensors"):
        opened = Activations.open(tmp_path / name)
        assert opened.manifest == finished.manifest
        assert opened.contents == finished.contents
        assert opened.sites == ["embed", "resid_post", "q_rope", "head_keys"]
        assert (opened.positions, opened.layers("resid_post")) == (["last", "mean"], [0, 3])
        assert (opened.n_layers, opened.d_model, opened.labels) == (4, 3, ["no", "yes"])
        assert (opened.shape("q_rope"), opened.width("q_rope")) == ((2, 2), 4)
        assert opened.prompt_set == plan.prompts
    rows, y = opened.y()
    assert (rows.tolist(), y.tolist()) == ([0, 1, 3, 4, 6, 7, 9, 10], [0, 1] * 4)
    assert opened.groups().tolist() == (["g0", "g1"] * 6)[:11]
    assert opened.pairs().tolist() == [[1, 0], [4, 3], [7, 6], [10, 9]]


@quick
@given(
    st.builds(
        Plan,
        n=st.integers(1, 9),
        size=st.integers(1, 4),
        seed=st.integers(0, 99),
        dtype=st.sampled_from(["float32", "float16", "bfloat16"]),
        positions=st.permutations(POSITIONS).flatmap(
            lambda names: st.integers(1, 5).map(lambda k: tuple(names[:k]))
        ),
    )
)
def test_ragged_rows_come_back_as_they_are_and_as_means(tmp_path: Path, plan: Plan):
    opened = plan.write(tmp_path / "a", force=True)
    for site, layer in SITES:
        for position in plan.positions:
            stored = plan.stored(site, layer, position)
            values, offsets = opened.ragged(site, layer, position)
            np.testing.assert_array_equal(values, stored, strict=True)
            counts = [plan.count(site, position, i) for i in range(plan.n)]
            assert offsets.tolist() == [0, *np.cumsum(counts)]
            read = opened.read(site, layer, position)
            rows = np.split(stored.astype(np.float64), offsets[1:-1])
            assert (read.shape, read.dtype) == ((plan.n, WIDTHS[site]), np.float32)
            # One rounding of an exact mean, and not the order of the sum, decides.
            np.testing.assert_allclose(
                read, [each.mean(axis=0) for each in rows], rtol=1e-7, atol=1e-12
            )
            assert opened.is_ragged(site, position) == plan.is_ragged(site, position)
    for ours, theirs in zip(opened.token_ids(), plan.token_ids, strict=True):
        np.testing.assert_array_equal(ours, theirs.astype(np.int32), strict=True)
    for position in set(plan.positions) - {"mean"}:
        for number, each in enumerate(opened.indices(position)):
            np.testing.assert_array_equal(each, plan.chosen(position, number))


def test_means_do_not_depend_on_how_much_is_read_at_once(tmp_path: Path, monkeypatch):
    opened = Plan(n=40).write(tmp_path / "a")
    whole = opened.read("resid_post", 3, "all")
    for chunk in (1, 7, 100):
        monkeypatch.setattr("circuit.artifacts.archive.ragged._CHUNK", chunk)
        monkeypatch.setattr("circuit.artifacts.archive.archive._CHUNK", chunk)
        np.testing.assert_array_equal(opened.read("resid_post", 3, "all"), whole)


def test_arrays_have_the_documented_names(tmp_path: Path):
    one, two = (
        Plan(positions=names).write(tmp_path / str(len(names)))
        for names in (("-6:",), ("last", "-6:"))
    )
    known = {
        "token_ids",
        "token_ids.offsets",
        "indices@-6:",
        "indices.offsets@-6:",
        "resid_post.offsets@-6:",
    }
    assert {"resid_post.3", "embed", *known} <= set(one.archive.names)
    assert {"resid_post.3@last", "resid_post.3@-6:", "embed@-6:", *known} <= set(two.archive.names)
    other = load_file(two.archive.path)
    rows = slice(*other["resid_post.offsets@-6:"][4:6])
    np.testing.assert_array_equal(
        other["resid_post.3@-6:"][rows], Plan().values("resid_post", 3, "-6:", 4)
    )
    assert (other["token_ids"].dtype, other["token_ids.offsets"].dtype) == (np.int32, np.int64)


def test_what_was_not_collected_is_an_error(tmp_path: Path):
    opened = Plan(positions=("last", "mean")).write(tmp_path / "a")
    with raises(UsageError, "position-not-in-archive"):
        opened.read("resid_post", 3)
    with raises(UsageError, "position-not-in-archive"):
        opened.read("resid_post", 3, "first")
    with raises(UsageError, "layer-not-in-archive") as caught:
        opened.read("resid_post", 2, "last")
    assert "0, 3" in caught.value.hint
    for call in (opened.layers, opened.width, opened.shape):
        with raises(UsageError, "site-not-in-archive"):
            call("mlp_out")
    with raises(UsageError, "array-not-in-archive"):
        opened.indices("mean")
    with simple(tmp_path / "b") as writer:
        writer.put("up_proj", 0, "last", range(3), np.ones((3, 4)))
        writer.done(0)
        plain = writer.finish(run=Run.since(0.0))
    with raises(UsageError, "array-not-in-archive"):
        plain.token_ids()
    assert plain.ragged("up_proj", 0)[1].tolist() == [0, 1, 2, 3]
    assert plain.n_layers == 1


def test_equal_runs_have_equal_bytes_but_for_run(tmp_path: Path):
    archives, manifests = set(), set()
    for name in "abc":
        (tmp_path / name).mkdir()
        Plan(size=ord(name) - 95).write(tmp_path / name / "x")
        archives.add((tmp_path / name / "x.safetensors").read_bytes())
        document = json.loads((tmp_path / name / "x.json").read_text())
        del document["run"]
        manifests.add(json.dumps(document))
        assert sorted(p.name for p in (tmp_path / name).iterdir()) == ["x.json", "x.safetensors"]
    assert len(archives) == len(manifests) == 1


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_values_that_cannot_be_stored_leave_nothing(tmp_path: Path, dtype: str):
    for bad in (np.nan, 1e39):
        with np.errstate(over="ignore"), raises(ArtifactError, "not-finite"):
            with simple(tmp_path / "a", dtype=dtype) as writer:
                writer.put("up_proj", 0, "last", [0], np.full((1, 4), bad))
        assert not list(tmp_path.iterdir())
    if dtype == "float16":
        with raises(ArtifactError, "dtype-overflow"):
            with simple(tmp_path / "a", dtype=dtype) as writer:
                writer.put("up_proj", 0, "last", [0], np.full((1, 4), 7e4))


def test_what_does_not_fit_is_a_bug_of_the_caller(tmp_path: Path):
    with simple(tmp_path / "a") as writer:
        with pytest.raises(ValueError, match="2 rows for these prompts"):
            writer.put("up_proj", 0, "last", [0], np.ones((2, 4)))
        with pytest.raises(ValueError, match="rows of shape"):
            writer.put("up_proj", 0, "last", [0], np.ones((1, 5)))
        with pytest.raises(IndexError):
            writer.put("up_proj", 0, "last", [3], np.ones((1, 4)))
        with pytest.raises(IndexError):
            writer.put("up_proj", 0, "last", [-1], np.ones((1, 4)))
        writer.put("up_proj", 0, "last", [2, 0], np.ones((2, 4)))
        with pytest.raises(ValueError, match="3 of 3 prompts are not done"):
            writer.finish(run=Run.since(0.0))
        writer.done(0)
        with pytest.raises(ValueError, match="1 of 3 prompts are not done"):
            writer.finish(run=Run.since(0.0))
        writer.put("up_proj", 0, "last", [0], np.ones((1, 4)))
        with pytest.raises(ValueError, match="was done before"):
            writer.done(1)
    with pytest.raises(ValueError, match="not being written any more"):
        writer.put("up_proj", 0, "last", [0], np.ones((1, 4)))
    with pytest.raises(ValueError, match="prompt 1 has no rows"):
        simple(tmp_path / "b", counts={("up_proj", "last"): [1, 0, 1]})
    with pytest.raises(ValueError, match="2 prompts were described, not 3"):
        simple(tmp_path / "b", token_ids=[np.arange(3)] * 2)
    with raises(UsageError, "unknown-dtype"):
        simple(tmp_path / "b", dtype="float8")


def test_every_array_of_a_unit_has_the_same_prompts(tmp_path: Path):
    with simple(tmp_path / "a", sites_layers=[("embed", 0), ("up_proj", 0)]) as writer:
        writer.put("up_proj", 0, "last", [0, 1], np.ones((2, 4)))
        with pytest.raises(ValueError, match="rows of different prompts"):
            writer.done(0)
        writer.put("embed", 0, "last", [0], np.ones((1, 4)))
        with pytest.raises(ValueError, match="rows of different prompts"):
            writer.done(0)
        writer.put("embed", 0, "last", [1], np.ones((1, 4)))
        writer.done(0)


def test_another_run_is_not_overwritten_but_a_broken_one_is(tmp_path: Path):
    LAST.write(tmp_path / "a")
    mean = Plan(positions=("mean",))
    with raises(ArtifactError, "output-exists"):
        mean.writer(tmp_path / "a")
    mean.write(tmp_path / "a", force=True)
    (tmp_path / "a.json").unlink()
    with raises(ArtifactError, "manifest-missing"):
        Activations.open(tmp_path / "a")
    assert LAST.write(tmp_path / "a").positions == ["last"]


def test_a_forced_run_that_fails_leaves_the_old_one(tmp_path: Path):
    LAST.write(tmp_path / "a")
    before = (tmp_path / "a.safetensors").read_bytes()
    with raises(ArtifactError, "not-finite"):
        with Plan(positions=("mean",)).writer(tmp_path / "a", force=True) as writer:
            writer.put("embed", 0, "mean", [0], np.full((1, 3), np.nan))
    assert (tmp_path / "a.safetensors").read_bytes() == before
    assert Activations.open(tmp_path / "a").positions == ["last"]


def test_an_archive_of_another_program_is_not_overwritten(tmp_path: Path):
    from safetensors.numpy import save_file

    save_file({"w": np.ones(3, np.float32)}, tmp_path / "model.safetensors")
    with raises(ArtifactError, "output-exists"):
        LAST.writer(tmp_path / "model")
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_changed_archive_is_noticed(tmp_path: Path):
    LAST.write(tmp_path / "a")
    data = bytearray((tmp_path / "a.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "a.safetensors").write_bytes(data)
    with raises(ArtifactError, "output-changed"):
        Activations.open(tmp_path / "a")


def test_a_manifest_of_another_archive_is_refused(tmp_path: Path):
    LAST.write(tmp_path / "good")
    shutil.copy(tmp_path / "good.json", tmp_path / "other.json")
    data = bytearray((tmp_path / "good.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "other.safetensors").write_bytes(data)
    with raises(ArtifactError, "manifest-of-other-file"):
        Activations.open(tmp_path / "other")
    shutil.copy(tmp_path / "good.safetensors", tmp_path / "other.safetensors")
    Activations.open(tmp_path / "other")  # a copy under another name


def test_an_archive_may_be_moved_with_its_manifest(tmp_path: Path):
    LAST.write(tmp_path / "here" / "a")
    (tmp_path / "here").rename(tmp_path / "there")
    Activations.open(tmp_path / "there" / "a")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda d: d["results"]["prompts"]["prompts"].pop(), "archive-inconsistent"),
        (lambda d: d["results"]["layers"].update(resid_post=[2, 7]), "array-not-in-archive"),
        (lambda d: d["results"]["shapes"].update(resid_post=[5]), "archive-inconsistent"),
        (lambda d: d["results"]["shapes"].pop("resid_post"), "invalid-field"),
        (lambda d: d["results"].update(positions=[]), "invalid-field"),
        (lambda d: d["results"].update(positions=["last", "mean"]), "array-not-in-archive"),
        (lambda d: d["results"].pop("prompts"), "invalid-field"),
        (lambda d: d["outputs"].clear() or d["results"].update(layers={}), "invalid-field"),
        (lambda d: d.update(schema="circuit.directions/1"), "wrong-schema"),
        (lambda d: d.update(schema="circuit.activations/1"), "wrong-schema"),
    ],
)
def test_a_manifest_that_does_not_fit_is_an_error(tmp_path: Path, change, code):
    LAST.write(tmp_path / "a")
    document = json.loads((tmp_path / "a.json").read_text())
    change(document)
    write_signed(tmp_path / "a.json", document)
    with raises(ArtifactError, code):
        Activations.open(tmp_path / "a")


def test_the_manifest_tells_the_origin(tmp_path: Path):
    (tmp_path / "in.json").write_text("{}")
    origin = Origin.of(
        tmp_path / "a", parameters={"k": (1, 2)}, inputs=[tmp_path / "in.json"], model=MODEL
    )
    with simple(tmp_path / "a", origin=origin) as writer:
        writer.put("up_proj", 0, "last", range(3), np.ones((3, 4)))
        writer.done(0)
        # What was read is what counts, not what lies there in the end.
        (tmp_path / "in.json").write_text("{} ")
        finished = writer.finish(run=Run.since(0.0))
    assert Origin.read(finished.manifest) == origin
    assert finished.manifest.parameters == {"k": [1, 2]}
