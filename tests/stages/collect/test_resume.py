"""Nothing is lost: killed collections go on, shards make one archive, two processes do not collide."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from collecting import prepared
from hypothesis import given
from hypothesis import strategies as st
from killing import command, kill_and_go_on, write_killable

from circuit.artifacts.activations.activations import Activations
from circuit.errors import ArtifactError, StoppedError, UsageError
from circuit.stages.collect.recording import Recording
from circuit.stages.collect.run import ShardResult, collect, collect_shard, shard_of
from circuit.stages.collect.sharding import shard_rows
from circuit.stages.run import Outcome

KILLS = 5
SHORT = Recording(batch_tokens=64, positions="last,-3:")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a checkpoint and prompts, whose collection takes many small batches."""
    return write_killable(tmp_path_factory.mktemp("resume"))


def job(folder, out, wanted=SHORT):
    return prepared(folder / "model", folder / "prompts.json", out, recording=wanted)


@pytest.fixture(scope="module")
def whole(folder):
    """The bytes of the uninterrupted archive."""
    collect(job(folder, folder / "whole"))
    return (folder / "whole.safetensors").read_bytes()


@pytest.mark.slow
def test_a_killed_collection_goes_on_to_the_same_bytes(folder, whole, tmp_path):
    kill_and_go_on(folder, tmp_path / "acts", KILLS)
    assert (tmp_path / "acts.safetensors").read_bytes() == whole
    assert sorted(p.name for p in tmp_path.iterdir()) == ["acts.json", "acts.safetensors"]


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on(folder, whole, tmp_path):
    process = subprocess.Popen(
        command(tmp_path / "acts"),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job ignores Ctrl-C, and so would the processes that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )
    journal = tmp_path / "acts.safetensors.journal"
    while process.poll() is None and (not journal.exists() or journal.stat().st_size < 3000):
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out) == (130, "")
    assert "error: interrupted" in err
    assert "hint: the same command resumes: " in err
    assert "Traceback" not in err
    subprocess.run(command(tmp_path / "acts"), cwd=folder, check=True, capture_output=True)
    assert (tmp_path / "acts.safetensors").read_bytes() == whole


def stopped_after(n, error):
    """A track that raises ``error`` after ``n`` batches."""

    def track(items, description, total):
        for number, item in enumerate(items):
            if number == n:
                raise error
            yield item

    return track


def test_nothing_done_leaves_nothing(folder, tmp_path):
    with pytest.raises(StoppedError) as stopped:
        collect(job(folder, tmp_path / "acts"), track=stopped_after(0, KeyboardInterrupt))
    assert not stopped.value.hint
    assert not list(tmp_path.iterdir())


def test_what_is_done_is_kept_and_other_options_refuse_to_go_on(folder, whole, tmp_path):
    with pytest.raises(StoppedError, match="interrupted") as stopped:
        collect(job(folder, tmp_path / "acts"), track=stopped_after(9, KeyboardInterrupt))
    assert "batches are kept" in stopped.value.hint
    other = Recording(batch_tokens=64, positions="last,-3:", layers="0")
    with pytest.raises(ArtifactError, match="is of another run: .*sites") as refused:
        collect(job(folder, tmp_path / "acts", other))
    assert "--force" in refused.value.hint
    ran = []

    def counted(items, description, total):
        for item in items:
            ran.append(item.unit)
            yield item

    collect(job(folder, tmp_path / "acts"), track=counted)
    assert min(ran) >= 8
    assert (tmp_path / "acts.safetensors").read_bytes() == whole


def test_the_measured_budget_of_a_begun_run_is_kept(folder, tmp_path, monkeypatch):
    from circuit.model.forward import budget

    wanted = Recording(layers="0")
    monkeypatch.setattr(budget, "BATCH_TOKENS", 64)
    with pytest.raises(StoppedError):
        collect(job(folder, tmp_path / "acts", wanted), track=stopped_after(5, KeyboardInterrupt))
    monkeypatch.setattr(budget, "BATCH_TOKENS", 1024)
    done = collect(job(folder, tmp_path / "acts", wanted))
    assert done.result.manifest.results["batch_tokens"] == 64


def test_shards_make_one_archive(folder, whole, tmp_path):
    single = Activations.open(folder / "whole")
    first = collect_shard(job(folder, tmp_path / "acts"), 2, 3)
    assert isinstance(first, ShardResult)
    assert first.missing == (1, 3)
    assert isinstance(collect_shard(job(folder, tmp_path / "acts"), 2, 3), ShardResult)
    collect_shard(job(folder, tmp_path / "acts"), 3, 3)
    joined = collect_shard(job(folder, tmp_path / "acts"), 1, 3)
    assert isinstance(joined, Outcome)
    acts = joined.result
    for layer in range(3):
        for position in ("last", "-3:"):
            ours = acts.read("resid_post", layer, position)
            theirs = single.read("resid_post", layer, position)
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert [a.tolist() for a in acts.token_ids()] == [a.tolist() for a in single.token_ids()]
    assert acts.manifest.results["tokens"] == single.manifest.results["tokens"]
    assert collect_shard(job(folder, tmp_path / "acts"), 1, 3).reused


def test_a_shard_of_another_run_does_not_join(folder, tmp_path):
    collect_shard(job(folder, tmp_path / "acts"), 1, 2)
    other = Recording(batch_tokens=64, positions="last,-3:", dtype="float16")
    with pytest.raises(ArtifactError, match="shard 1 of .* is of another run: .*dtype"):
        collect_shard(job(folder, tmp_path / "acts", other), 2, 2)


@given(st.lists(st.integers(1, 500), min_size=1, max_size=40), st.data())
def test_shards_tile_the_prompts_with_about_equal_tokens(lengths, data):
    count = data.draw(st.integers(1, len(lengths)))
    parts = [shard_rows(lengths, number, count) for number in range(1, count + 1)]
    assert [row for rows in parts for row in rows] == list(range(len(lengths)))
    assert all(len(rows) for rows in parts)
    if count <= len(lengths) // 8:
        most = max(sum(lengths[row] for row in rows) for rows in parts)
        assert most <= sum(lengths) / count + 2 * max(lengths)


def test_a_single_part_is_the_whole_and_a_batch_systems_rank_is_no_launcher(monkeypatch):
    monkeypatch.setenv("PMI_RANK", "3")
    assert shard_of("1/1") is None
    assert shard_of(None) is None
    assert shard_of("2/4") == (2, 4)


def test_force_starts_anew_with_its_own_budget(folder, tmp_path):
    with pytest.raises(StoppedError):
        collect(job(folder, tmp_path / "acts"), track=stopped_after(5, KeyboardInterrupt))
    done = collect(job(folder, tmp_path / "acts", Recording(layers="0")), force=True)
    assert done.result.manifest.results["batch_tokens"] == 512


def test_forced_shards_wait_for_those_that_are_still_to_be_forced(folder, tmp_path):
    for number in (1, 2):
        collect_shard(job(folder, tmp_path / "acts"), number, 2)
    other = Recording(batch_tokens=64, layers="0")
    waiting = collect_shard(job(folder, tmp_path / "acts", other), 1, 2, force=True)
    assert waiting.missing == (2,)
    joined = collect_shard(job(folder, tmp_path / "acts", other), 2, 2, force=True)
    assert joined.result.layers("resid_post") == [0]


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2"])
def test_shards_that_are_not_there(folder, tmp_path, text):
    with pytest.raises(UsageError, match="shard"):
        collect_shard(job(folder, tmp_path / "acts"), *(shard_of(text) or ()))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_launched_processes_collect_a_part_each(folder, whole, tmp_path):
    launcher = Path(sys.executable).with_name("mlx.launch")
    out = tmp_path / "acts"
    line = [str(launcher), "-n", "2", "--cwd", str(folder), "--", *command(out)]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    subprocess.run(line, cwd=folder, env=env, check=True, capture_output=True, timeout=300)
    single, acts = Activations.open(folder / "whole"), Activations.open(tmp_path / "acts")
    for layer in range(3):
        ours, theirs = (a.read("resid_post", layer, "last") for a in (acts, single))
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert len(list(tmp_path.glob("acts-*-of-00002.safetensors"))) == 2


@pytest.mark.slow
def test_a_split_model_gives_the_same_rows(folder, whole, tmp_path):
    launcher = Path(sys.executable).with_name("mlx.launch")
    split = command(tmp_path / "acts", "--tensor-parallel", "--sites", "resid_post")
    line = [str(launcher), "-n", "2", "--cwd", str(folder), "--", *split]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    for _ in range(2):  # the second run finds the first one's archive
        subprocess.run(line, cwd=folder, env=env, check=True, capture_output=True, timeout=300)
    single, acts = Activations.open(folder / "whole"), Activations.open(tmp_path / "acts")
    for layer in range(3):
        ours, theirs = (a.read("resid_post", layer, "last") for a in (acts, single))
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    refused = subprocess.run(
        command(tmp_path / "acts", "--tensor-parallel", "--sites", "z"),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 2
    assert "there is only one" in refused.stderr
