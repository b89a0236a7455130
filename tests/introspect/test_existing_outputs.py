"""Output that exists stops a command before its model is loaded; the run that wrote it passes, and nothing is lost."""

import shlex

import pytest
from in_process import invoke

from circuit.artifacts.prompts.prompts import Prompt, PromptSet
from circuit.errors import ArtifactError

NOWHERE = "./nowhere"
LINES = {
    "ablate -m {m} -p a -c x -o there": "there",
    "activation-diff -b {m} -f {m} -p a -o there": "there",
    "analyze -m {m} -p a -o new.json --plot there.png": "there.png",
    "attention -m {m} -p a --plot there.png": "there.png",
    "attribute -m {m} -p a -o there": "there",
    "circuit -m {m} -d set.json -o new.json --dot there": "there",
    "compare -m1 {m} -m2 {m} -p a -o there": "there",
    "format-sensitivity -m {m} -p a -o there": "there",
    "generate -m {m} -p a -o there": "there",
    "hooks -m {m} -p a -o there": "there",
    'layer -m {m} -p "a|b" -o there': "there",
    "neurons -m {m} -p a -l 0 -n 1 -o there": "there",
    "patch -m {m} --clean a --corrupt b -o new.json --plot there.png": "there.png",
    "probe -m {m} -a a -b b --save-direction there.npz": "there.npz",
    "probe -m {m} -a a -b b --save-probe there": "there.safetensors",
    "tune-lens -m {m} -o there": "there.safetensors",
    "weight-diff -b {m} -f {m} -o there": "there",
}


def run(line):
    return invoke(["introspect", *shlex.split(line)])


@pytest.mark.parametrize("line", LINES)
def test_output_that_exists_is_noticed_before_a_model_is_looked_for(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prompts = tuple(Prompt(text=f"{a} {i}", label=a) for a in ("yes", "no") for i in range(6))
    PromptSet(name="s", labels=("no", "yes"), prompts=prompts).save(tmp_path / "set.json")
    (tmp_path / LINES[line]).write_text("mine")
    before = sorted(tmp_path.iterdir())
    problem = run(line.format(m=NOWHERE)).error
    assert isinstance(problem, ArtifactError)
    assert f"`{LINES[line]}` is already there" in problem.message
    assert (tmp_path / LINES[line]).read_text() == "mine"
    assert sorted(tmp_path.iterdir()) == before
    forced = run(f"{line.format(m=NOWHERE)} --force").error
    assert NOWHERE.removeprefix("./") in forced.message  # it went on to the model


def test_the_same_run_over_its_own_output_passes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = 'analyze -m tiny -p "a|b" --layers -1 -o lens.json --plot lens.png'
    for _ in range(2):
        assert run(line).exit_code == 0
    other = run(line.replace('"a|b"', "c")).error
    assert "`lens.json` is already there" in other.message
    (tmp_path / "lens.json").unlink()
    assert "`lens.png` is already there" in run(line).error.message
