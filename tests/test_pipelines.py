"""Pipelines as a stranger runs them: every stage in order, and only what changed again."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from processes import run_circuit

ROOT = Path(__file__).parents[1]
SMALL = [
    "MODEL=tiny",
    f"CIRCUIT={sys.executable} -m circuit",
    "SIZES=--per-tool 6 --no-tool 60",
    "SUMS=10",
    "PROBES=--category decision --layers 0,3",
    "CONTROLS=2",
]


def make(folder: Path, *arguments: str) -> str:
    command = ["make", "-f", str(ROOT / "pipelines/tool_calling.mk"), f"OUT={folder}", *SMALL]
    done = subprocess.run(
        [*command, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_tool_calling_runs_and_repeats_only_what_changed(tmp_path):
    out = tmp_path / "out"
    said = make(out)
    where, direction, use = (said.split(f"\n{n}. ")[1] for n in (1, 2, 3))
    assert "label at resid_post, last" in where.split("\n2. ")[0]
    assert "L5" in direction.split("\n3. ")[0]
    assert "=== Share of answers by coefficient ===" in use
    for name in ("activations", "analysis", "directions", "probes", "steering", "computed"):
        assert json.loads((out / f"{name}.json").read_text())["schema"].startswith("circuit.")
    assert list((out / "plots").glob("*.png"))
    assert "-m circuit" not in make(out, "-n")  # nothing is left to do
    (out / "analysis.json").unlink()
    planned = make(out, "-n")
    assert "circuit analyze" in planned
    assert "circuit visualize" in planned
    for untouched in ("collect", "directions", "probes", "steer"):
        assert f"circuit {untouched}" not in planned
    run_circuit("verify", str(out / "steering.json")).check_returncode()


@pytest.mark.slow
def test_the_chain_notices_an_edited_prompt_set(workspace, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(workspace, copy)
    document = json.loads((copy / "prompts.json").read_text())
    document["prompts"][0]["text"] += " please"
    (copy / "prompts.json").write_text(json.dumps(document))
    done = run_circuit("verify", str(copy / "directions.json"))
    assert done.returncode == 1
    assert "stale" in done.stdout


def run_pipeline(name: str, *arguments: str) -> str:
    """Run the goal of ``pipelines/<name>.mk``."""
    command = [
        "make",
        "-f",
        str(ROOT / f"pipelines/{name}.mk"),
        f"CIRCUIT={sys.executable} -m circuit",
    ]
    done = subprocess.run(
        [*command, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_stratigraphy_ends_in_a_report_and_notices_other_questions(tmp_path):
    small = [f"OUT={tmp_path / 'out'}", "MODEL=tiny"]
    asked = "PROBES=--category syntactic --layers 1,4 --no-random-weights"
    said = run_pipeline("stratigraphy", *small, asked)
    assert "=== Computational stratigraphy ===" in said
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    for name in ("imperative", "question", "verb_type"):
        assert f"<details><summary>{name}</summary></details>" in page
    assert page.count("<img ") == 2
    assert "-m circuit" not in run_pipeline("stratigraphy", "-n", *small, asked)
    planned = run_pipeline("stratigraphy", "-n", *small, "PROBES=--category semantic --layers 1")
    assert "circuit probes run" in planned


@pytest.fixture
def tuned(tmp_path) -> Path:
    """The model ``tiny`` with another third block, which is the whole difference."""
    import shutil

    import mlx.core as mx

    folder = shutil.copytree(ROOT / "circuit/assets/tiny", tmp_path / "tuned")
    file = str(folder / "model.safetensors")
    weights = dict(mx.load(file))
    name = "model.layers.2.mlp.down_proj.weight"
    noise = mx.random.normal(weights[name].shape, key=mx.random.key(0)).astype(weights[name].dtype)
    weights[name] = weights[name] + 0.2 * noise
    mx.eval(weights)
    mx.save_safetensors(file, weights, metadata={"format": "mlx"})
    return folder


@pytest.mark.slow
def test_compare_models_shows_what_moved_and_from_which_block_on(tuned, tmp_path):
    out = tmp_path / "out"
    models = [f"OUT={out}", "BASE=tiny", f"OTHER={tuned}", "SIZES=--per-tool 6 --no-tool 60"]
    assert "Compared with" in run_pipeline("compare_models", *models)
    results = json.loads((out / "analysis.json").read_text())["results"]
    moved = {
        entry["layer"]: entry["moved"]
        for entry in results["comparison"]["layers"]
        if entry["site"] == "resid_post"
    }
    assert all(moved[layer] == [0, 0, 0] for layer in (0, 1))
    assert all(moved[layer][1] > 0 for layer in (2, 3, 4, 5))
    assert "Rows moved by" in (out / "report.html").read_text("utf-8")
    assert "-m circuit" not in run_pipeline("compare_models", "-n", *models)


@pytest.mark.slow
def test_steering_ends_in_one_table_that_says_where_controls_are_not_beaten(tmp_path):
    out = tmp_path / "out"
    small = [f"OUT={out}", "MODEL=tiny", "CONCEPTS=sentiment", "LAYERS=50%", "OPENINGS=12"]
    small += ["RANDOM=2", "SHUFFLED=2", "DOSES=-1,-0.5,0,0.5,1"]
    said = run_pipeline("steering", *small)
    row = next(line for line in said.splitlines() if line.startswith("sentiment "))
    results = json.loads((out / "sentiment" / "sweep.json").read_text())["results"]
    assert row.endswith(results["verdict"]["word"])
    assert results["configs_tried"] == 1
    assert results["random"]["n"] == results["shuffled"]["n"] == 2
    assert (out / "steering" / "steering.png").is_file()
    assert "-m circuit" not in run_pipeline("steering", "-n", *small)


def test_compare_models_needs_two_models(tmp_path):
    command = [
        "make",
        "-f",
        str(ROOT / "pipelines/compare_models.mk"),
        "BASE=tiny",
        f"OUT={tmp_path}",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "OTHER=MODEL" in done.stderr
