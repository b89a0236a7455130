"""Pipelines as a stranger runs them: every stage in order, and only what changed again."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

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
    make(out)
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
    chain = [sys.executable, "-m", "circuit", "verify", str(out / "steering.json")]
    subprocess.run(chain, check=True, capture_output=True)


@pytest.mark.slow
def test_the_chain_notices_an_edited_prompt_set(workspace, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(workspace, copy)
    document = json.loads((copy / "prompts.json").read_text())
    document["prompts"][0]["text"] += " please"
    (copy / "prompts.json").write_text(json.dumps(document))
    command = [sys.executable, "-m", "circuit", "verify", str(copy / "directions.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "stale" in done.stdout
