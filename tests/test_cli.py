"""The command line as a stranger meets it: every example runs, errors have codes and hints."""

import json
import re
import resource
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from processes import run_circuit, start_circuit

from circuit.cli.app import app

ROOT = Path(__file__).parents[1]


def run(
    *arguments: str, cwd: Path | None = None, code: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run ``circuit`` as a process of its own and check its exit code."""
    done = run_circuit(*arguments, cwd=cwd)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def leaves(command=None, name=()):
    """Yield the words and the help of every command that does something."""
    if name == ("introspect", "steer"):  # the group `circuit steer` under another name
        return
    command = command or app()
    for word in sorted(command.list_commands(None)) if hasattr(command, "list_commands") else ():
        yield from leaves(command.get_command(None, word), (*name, word))
    if name and (not hasattr(command, "list_commands") or command.invoke_without_command):
        yield name, command.help or ""


def examples(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip().startswith("circuit ")]


COMMANDS = dict(leaves())
EXAMPLES = [(name, line) for name, text in COMMANDS.items() for line in examples(text)]
# Examples that collect, fit and measure a great deal: their commands have fast tests of their own.
LONG = (
    "probes run",
    "steer sweep",
    "steer select",
    "steer specificity",
    "introspect circuit",
    "introspect tune-lens",
    "concepts scan",
)


def marked(name: tuple[str, ...], line: str):
    marks = [pytest.mark.slow] if " ".join(name) in LONG else []
    return pytest.param(name, line, id=line, marks=marks)


@pytest.mark.parametrize("name", COMMANDS, ids=" ".join)
def test_every_command_has_an_example_of_itself(name):
    assert examples(COMMANDS[name]), f"circuit {' '.join(name)} --help has no example"
    for line in examples(COMMANDS[name]):
        assert shlex.split(line)[1 : 1 + len(name)] == list(name)


@pytest.mark.parametrize("name", COMMANDS, ids=" ".join)
def test_help_shows_each_example_on_one_line(name):
    text = run(*name, "--help").stdout
    for line in examples(COMMANDS[name]):
        assert line in text


@pytest.mark.slow
@pytest.mark.parametrize(("name", "line"), [marked(*each) for each in EXAMPLES])
def test_every_example_runs(name, line, workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    done = run(*shlex.split(line)[1:], cwd=workspace)
    assert done.stdout.strip()


def test_help_is_quick():
    def seconds() -> float:  # of the processor's time: others may use it, too
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start_circuit("--help").check_returncode()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

    assert min(seconds() for _ in range(5)) < 0.3


def test_no_heavy_package_is_imported_for_help():
    code = (
        "import sys; from circuit.cli.app import app; app()\n"
        "heavy = {'mlx', 'mlx_lm', 'numpy', 'sklearn', 'umap', 'matplotlib', 'pydantic', 'scipy'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("stage", ["analyze", "directions", "probes", "sweep", "figures.visualize"])
def test_no_drawing_package_is_imported_until_a_figure_is_drawn(stage):
    place = f"circuit.stages.{stage}" + ("" if "." in stage else ".run")
    code = (
        f"import sys, {place}; sys.exit(sorted({{'matplotlib', 'umap'}} & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_version_and_bare_command():
    assert re.match(r"circuit \d+\.\d+", run("--version").stdout)
    assert "collect" in run(code=2).stdout + run(code=2).stderr


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("collect -m nowhere/at-all -d prompts.json -o new", 1, "is not in the local cache"),
        ("collect -m ./nowhere -d prompts.json -o new", 1, "neither a folder with a checkpoint"),
        ("collect -m tiny -d missing.json -o new", 1, "missing.json"),
        ("collect -m tiny -d prompts.json -o new --layers 99", 2, "out of range"),
        ("collect -m tiny -d prompts.json -o new --sites residual", 2, "unknown site"),
        ("collect -m tiny -d prompts.json -o new --dtype int4", 2, "unknown dtype"),
        ("collect -m tiny", 2, "`circuit collect` needs `--dataset`"),
        ("collect -m tiny -d prompts.json -o activations --layers 1", 1, "holds something else"),
        (
            "collect -m tiny -d prompts.json -o new --revision main",
            1,
            "`--revision` does not apply",
        ),
        ("analyze -a activations --threshold nan", 2, "not an AUROC above chance"),
        ("visualize -a activations -o new --threshold 0.2", 2, "not an AUROC above chance"),
        ("probes init -o prompts.json", 1, "is not a folder"),
        ("dataset split prompts.json --train new.json --test analysis.json", 1, "something else"),
        ("doctor --dtype float16", 2, "belong to a model, and none is named"),
        ("collect -m tiny -d prompts.json -o prompts --force", 2, "would replace `prompts.json`"),
        ("directions -a activations -o activations --force", 2, "would replace"),
        ("analyze -a activations -o activations.json --force", 2, "would replace"),
        ("dataset split prompts.json --train new.json --test prompts.json --force", 2, "would rep"),
        ("dataset import prompts.json -o prompts.json --force", 2, "would replace"),
        ("directions -a activations -o prompts", 1, "holds something else"),
        ("analyze -a activations -o prompts.json", 1, "holds something else"),
        ("steer -m tiny --extract --positive yes --negative no -o prompts.safetensors", 1, "else"),
        ("steer -m ./nowhere -d missing.npz -p hello", 1, "missing.npz"),
        ("steer -m ./nowhere -d computation.npz -p hello -c nan", 2, "must be finite"),
        ("steer -m tiny -p hello", 2, "no direction is given"),
        ("export directions.safetensors -o new.safetensors", 2, "several formats end"),
        ("export activations.safetensors -o new.gguf", 1, "not `circuit.directions/1`"),
        ("export computation.npz -o computation.json --scale unit", 2, "`--scale` does not apply"),
        ("export computation.gguf -o computation.npz --layer 0", 2, "not available"),
        ("export missing.gguf -o new.npz", 1, "missing.gguf"),
        ("import directions.safetensors -o new", 2, "is an archive of circuit"),
        ("import computation.gguf -o new -m ./nowhere", 1, "neither a folder with a checkpoint"),
        ("import computation.gguf -o activations", 1, "holds something else"),
        ("import computation.npz -o computation --layer-offset -9", 2, "would be layer -7"),
        ("import prompts.json -o new", 1, "not `circuit.directions/1`"),
        ("steer -m tiny -d computation.npz", 2, "no prompts are given"),
        ("steer -m tiny -d computation.npz -p a -c 1 --compare 0,1", 2, "both give coefficients"),
        ("steer -m tiny -d missing.npz -p hello", 1, "missing.npz"),
        ("steer -m tiny -d computation.npz -p hello --compare 1,two", 2, "not a finite number"),
        ("steer -m tiny -d computation.npz -p hello --layer 77", 2, "out of range"),
        ("steer -m tiny -d computation.npz -p ''", 1, "prompt 0 is empty"),
        ("steer -m tiny --positive yes -p hello", 2, "need each other"),
        ("evaluate -m ./nowhere -q missing.yaml", 1, "missing.yaml"),
        ("evaluate -m ./nowhere -q questions.yaml -s questions.yaml", 1, "list of vectors"),
        ("evaluate -m ./nowhere -q steering.yaml", 1, "unknown key `vectors`"),
        ("evaluate -m ./nowhere -q questions.yaml --temperature 0", 2, "would be alike"),
        ("evaluate -m ./nowhere -q questions.yaml --criterion 'regex:('", 2, "regular expression"),
        ("concepts try hapy -m ./nowhere -p a", 2, "unknown concept `hapy`"),
        ("concepts try happy:x -m ./nowhere -p a", 2, "not a finite number"),
        ("concepts try happy -m tiny -p a --layer 9", 2, "out of range"),
        ("concepts try happy -m ./nowhere -p a --plot x.jpg", 2, ".svg"),
        ("concepts scan happy -m ./nowhere --over depth", 2, "unknown scan `depth`"),
        ("concepts build -m ./nowhere --concepts hapy", 2, "unknown concept `hapy`"),
        ("concepts create happy --positive a --neutral b", 2, "built-in"),
        ("concepts remove happy", 2, "built-in"),
        (
            "steer -m tiny -d computation.npz -p hello --controls 3",
            2,
            "`--controls` needs `--criterion`",
        ),
    ],
)
@pytest.mark.slow
def test_bad_input_gets_one_sentence_a_hint_and_a_code(line, code, words, workspace):
    before = sorted(p.name for p in workspace.iterdir())
    done = run(*shlex.split(line), cwd=workspace, code=code)
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    if "`circuit collect` needs `--dataset`" not in words:
        errors = [one for one in done.stderr.splitlines() if one.startswith("error: ")]
        assert len(errors) == 1
        assert "\nhint: " in done.stderr
    assert sorted(p.name for p in workspace.iterdir()) == before


@pytest.mark.parametrize(
    "command", ["analyze -a activations", "steer -m tiny -p a", "probes run -m tiny"]
)
@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_numpy_does_not_take_is_refused(command, seed, tmp_path):
    done = run(*shlex.split(command), "--seed", str(seed), cwd=tmp_path, code=2)
    assert "--seed" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_json_is_one_document_on_stdout(workspace):
    line = "steer -m tiny -d computation.npz -p 'a |a' --compare -1,0 -n 3 --json"
    document = json.loads(run(*shlex.split(line), cwd=workspace).stdout)
    assert [g["prompt"] for g in document["generations"]] == ["a ", "a", "a ", "a"]


@pytest.mark.slow
def test_a_negative_list_and_layer_zero_are_values(workspace):
    line = (
        'steer -m tiny -d computation.npz -p "50 + 25 =" --compare "-2,-1,0,1,2" -l 0 -n 2 --json'
    )
    document = json.loads(run(*shlex.split(line), cwd=workspace).stdout)
    assert [g["coefficient"] for g in document["generations"]] == [-2, -1, 0, 1, 2]
    assert document["direction"]["layer"] == 0


def test_no_python_under_datasets():
    assert not list((ROOT / "datasets").rglob("*.py"))
