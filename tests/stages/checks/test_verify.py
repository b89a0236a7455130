"""`circuit verify`: what has changed, is missing or is stale in a chain of files."""

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from errors import raises
from in_process import invoke

from circuit.artifacts.activations.arrangement import ArrayPlan
from circuit.artifacts.activations.writer import ActivationsWriter
from circuit.artifacts.manifest.manifest import Run, check_outputs, read_manifest, write_manifest
from circuit.artifacts.manifest.origin import Origin
from circuit.artifacts.prompts.builtin import builtin_probes
from circuit.artifacts.prompts.expansion import expand
from circuit.artifacts.prompts.read import read_prompts
from circuit.artifacts.prompts.templates import TemplateSet
from circuit.artifacts.steering_files.files import Direction, write_directions
from circuit.errors import ArtifactError
from circuit.stages.checks.verify import shown, verify
from circuit.stages.dataset.request import CreateRequest, PromptSetOutput
from circuit.stages.run import run as perform
from circuit.values import schemas

DATA = Path(__file__).parents[2] / "artifacts" / "data"
ALL = {"t.json", "prompts.json", "acts.json", "acts.safetensors", "directions.json", "directions.safetensors", "steering.json"}  # fmt: skip


def run() -> Run:
    return Run.since(time.perf_counter())


def draw(folder: Path, seed: int = 1) -> None:
    made = expand(TemplateSet.load(folder / "t.json"), size=3, seed=seed, folder=folder)
    made.save(folder / "prompts.json", force=True)


def collect(folder: Path, value: float = 1.0) -> None:
    prompts = read_prompts(folder / "prompts.json")
    writer = ActivationsWriter(
        folder / "acts",
        ArrayPlan(sites_layers=[("resid_post", 0)], positions=["last"], d_model=2),
        prompts=prompts,
        origin=Origin.of(folder / "acts", parameters={}, inputs=[folder / "prompts.json"]),
        force=True,
    )
    with writer:
        writer.put("resid_post", 0, "last", range(6), np.full((6, 2), value))
        writer.done(0)
        writer.finish(run=run())


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    """Make template → prompts → activations → directions → steering."""
    (tmp_path / "t.json").write_text((DATA / "sums.json").read_text())
    draw(tmp_path)
    collect(tmp_path)
    direction = Direction("d", "resid_post", 0, np.array([0, 1], np.float32), 1.0)
    write_directions(
        tmp_path / "directions",
        [direction],
        parameters={},
        inputs=[tmp_path / "acts.json"],
        run=run(),
    )
    inputs = [tmp_path / "directions.json", tmp_path / "prompts.json"]
    write_manifest(
        tmp_path / "steering.json",
        schema="circuit.steering/1",
        parameters={},
        inputs=inputs,
        run=run(),
    )
    return tmp_path


def states(folder: Path, *names: str) -> dict[str, str]:
    found = verify([folder / name for name in names or ("steering.json",)])
    return {finding.path.name: finding.status for finding in found}


def test_an_untouched_chain_is_ok(chain: Path):
    assert states(chain) == dict.fromkeys(ALL, "ok")


def test_stems_archives_and_folders_name_the_same(chain: Path):
    (chain / "other.json").write_text("{}")
    assert (
        states(chain, "directions")
        == states(chain, "directions.safetensors")
        == states(chain, "directions.json")
    )
    assert states(chain, ".") == dict.fromkeys(ALL, "ok")


def test_doing_the_same_again_makes_nothing_stale(chain: Path):
    draw(chain)
    collect(chain)
    assert set(states(chain).values()) == {"ok"}


def test_a_changed_archive_makes_what_was_made_from_it_stale(chain: Path):
    with (chain / "acts.safetensors").open("ab") as file:
        file.write(b"x")
    expected = {"acts.safetensors": "changed", "directions.json": "stale", "steering.json": "stale"}
    assert states(chain) == {**dict.fromkeys(ALL, "ok"), **expected}


def test_another_result_upstream_makes_what_follows_stale(chain: Path):
    collect(chain, value=2.0)
    expected = {"directions.json": "stale", "steering.json": "stale"}
    assert states(chain) == {**dict.fromkeys(ALL, "ok"), **expected}


def test_a_changed_template_makes_everything_stale(chain: Path):
    (chain / "t.json").write_text((chain / "t.json").read_text().replace("99", "98"))
    found = states(chain)
    assert {name for name, state in found.items() if state == "stale"} == {
        name for name in ALL if name.endswith(".json") and name != "t.json"
    }


def test_other_prompts(chain: Path):
    draw(chain, seed=2)
    found = {f.path.name: f for f in verify([chain / "steering.json"])}
    assert found["prompts.json"].status == "ok"
    assert found["acts.json"].why == "`prompts.json` has changed since"
    assert "`directions.json` is stale" in found["steering.json"].why


def test_missing_files(chain: Path):
    (chain / "directions.safetensors").unlink()
    assert states(chain)["directions.safetensors"] == "missing"
    (chain / "acts.json").unlink()
    found = states(chain)
    assert (found["acts.json"], found["directions.json"]) == ("missing", "stale")
    assert states(chain, "nothing.json") == {"nothing.json": "missing"}


def test_a_template_that_is_not_there_is_not_missed(chain: Path):
    (chain / "t.json").unlink()
    assert states(chain) == dict.fromkeys(ALL - {"t.json"}, "ok")


def test_a_damaged_document(chain: Path):
    (chain / "acts.json").write_text("{")
    found = states(chain)
    assert (found["acts.json"], found["steering.json"]) == ("changed", "stale")


def test_what_is_damaged_in_a_folder_is_a_finding(chain: Path):
    (chain / "acts.json").unlink()
    (chain / "prompts.json").write_text("{")
    (chain / "notes.json").write_text("[]")
    found = states(chain, ".")
    assert (found["acts.json"], found["prompts.json"]) == ("missing", "changed")
    assert "notes.json" not in found


def test_an_archive_as_input_stands_for_its_manifest(chain: Path):
    inputs = [chain / "acts.safetensors"]
    write_manifest(chain / "a.json", schema="circuit.a/1", parameters={}, inputs=inputs, run=run())
    assert states(chain, "a.json")["a.json"] == "ok"
    draw(chain, seed=2)
    assert (states(chain, "a.json")["acts.json"], states(chain, "a.json")["a.json"]) == (
        "stale",
        "stale",
    )


def test_built_in_templates_are_found(tmp_path: Path):
    name, template = next(iter(builtin_probes().items()))
    output = PromptSetOutput(output=tmp_path / "prompts.json")
    perform(CreateRequest(output=output, set_name=name))
    found = verify([tmp_path / "prompts.json"])
    assert template.resolve() in {finding.path.resolve() for finding in found}
    assert {finding.status for finding in found} == {"ok"}


def test_a_moved_folder_is_still_ok(chain: Path):
    moved = chain.rename(chain.with_name("moved"))
    assert set(states(moved).values()) == {"ok"}


@pytest.mark.parametrize("special", ["device", "pipe"])
def test_what_is_no_regular_file_is_not_read(chain: Path, special: str):
    # A device has no end, and a pipe that nobody writes to never begins.
    archive = chain / "acts.safetensors"
    archive.unlink()
    if special == "pipe":
        os.mkfifo(archive)
    else:
        archive.symlink_to("/dev/zero")
    assert states(chain)["acts.safetensors"] == "missing"
    manifest = chain / "acts.json"
    with raises(ArtifactError, "not-a-regular-file"):
        check_outputs(manifest, read_manifest(manifest, schemas.ACTIVATIONS))


@pytest.mark.parametrize(
    "inputs", [5, "x", [5], ["x"], [{"path": 5, "sha256": "x"}], {"path": "x"}]
)
def test_files_named_in_another_form_are_a_finding(chain: Path, inputs):
    # A manifest of an earlier version, which has no digest of itself.
    document = json.loads((chain / "steering.json").read_text())
    del document["run"]["content_sha256"]
    (chain / "steering.json").write_text(json.dumps({**document, "inputs": inputs}))
    assert states(chain)["steering.json"] == "changed"


def test_a_steering_file_of_another_program_misses_no_manifest(chain: Path):
    words = ["export", str(chain / "directions.safetensors"), "-o", str(chain / "lite.safetensors")]
    assert invoke([*words, "--format", "steering-lite"]).exit_code == 0
    assert "missing" not in states(chain, ".").values()
    (chain / "acts.json").unlink()
    assert states(chain, ".")["acts.json"] == "missing"


def test_files_without_a_manifest(chain: Path):
    (chain / "x.png").write_bytes(b"")
    (chain / "empty").mkdir()
    for name, code in {"x.png": "no-manifest", "empty": "no-artifacts"}.items():
        with raises(ArtifactError, code) as caught:
            verify([chain / name])
        assert caught.value.hint


def test_by_the_command_line(chain: Path):
    done = invoke(["verify", str(chain / "steering.json")])
    assert done.exit_code == 0
    assert "7 files, all ok" in done.stdout
    (chain / "directions.safetensors").unlink()
    done = invoke(["verify", str(chain / "steering.json"), "--json"])
    assert done.exit_code == 1
    data = json.loads(done.stdout)
    assert data["ok"] is False
    (bad,) = [each for each in data["files"] if each["status"] not in ("ok", "stale")]
    assert (Path(bad["path"]).name, bad["status"]) == ("directions.safetensors", "missing")


def test_paths_are_those_of_the_working_folder_and_no_machines(chain: Path, monkeypatch):
    """A printed path can be pasted into a document: it is relative, and a built-in file has a name of its own."""
    monkeypatch.chdir(chain)
    (template,) = [builtin_probes()["imperative"]]
    assert shown(template) == "circuit:datasets/probes/syntactic/imperative.json"
    done = invoke(["verify", str(chain / "steering.json")])
    assert "ok       steering.json" in done.stdout
    assert str(chain) not in done.stdout


def test_a_chain_of_two_thousand_manifests_is_followed(tmp_path):
    above: list[Path] = []
    for number in range(2000):
        path = tmp_path / f"{number}.json"
        about = {"schema": "circuit.test/1", "parameters": {"n": number}, "inputs": above}
        write_manifest(path, **about, run=Run.since(time.perf_counter()))
        above = [path]
    found = verify(above)
    assert len(found) == 2000
    assert {each.status for each in found} == {"ok"}
