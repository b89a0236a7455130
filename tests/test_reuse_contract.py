"""Whatever a result depends on is in its reuse key: one thing is changed at a time, for every command that writes a result.

Each command runs twice, and the second run reads the first. Then one thing is other than it was: the chat template, a further
template, the tokenizer, a weight, the end tokens, the date that templates are told, an adapter, an input, an option. The result
must not be read again: the command refuses to replace it, or the change itself is refused.
"""

import json
import os
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import mlx.core as mx
import pytest
from in_process import invoke

import circuit
from circuit.cli import app

TINY = Path(circuit.__file__).parent / "assets/tiny"


class Case(NamedTuple):
    """A command line without its model, and an option that changes what it is about."""

    line: str
    other: str


P = '-p "50 + 25 = |31 + 4 = "'
CASES = {
    "collect": Case("-d prompts.json --limit 8 --layers 0 -o new", "--layers 1"),
    "analyze": Case("-a activations.safetensors --layers 0 -o new.json", "--seed 3"),
    "directions": Case("-a activations.safetensors --layer 2 -o new", "--seed 3"),
    "directions compare": Case(
        "directions.safetensors computation.npz -o new.json", "--threshold 0.3"
    ),
    "probes run": Case(
        "--category syntactic --layers 0 --no-random-weights -o new.json",
        "--seed 3",
    ),
    "steer": Case(f"-d computation.npz --allow-other-model {P} -c 1 -n 2 -o new.json", "-n 3"),
    "steer calibrate": Case(
        '-d computation.npz --allow-other-model --sign + -p "The plates are in the drawer.|Rice is cooked." -o new.json',
        "--kl 0.4",
    ),
    "steer select": Case(
        "-d directions.safetensors --layer 1 --strengths 1 --validation held_out.json "
        '--positive-answers "<tool_call>" -o new.json',
        "--layer 2",
    ),
    "steer sweep": Case(
        "-d computation.npz --allow-other-model --test sums.json --criterion number -n 2 --dose-one 0.5 --doses=-1,-0.5,0,0.5,1 "
        "--random 1 --shuffled 0 -o new.json",
        "--seed 3",
    ),
    "steer specificity": Case("one=sweep.json same=sweep.json -o new.json", "--seed 3"),
    "evaluate": Case(
        "--questions questions.yaml --n-per-question 1 --max-tokens 2 -o new.json", "--seed 3"
    ),
    "concepts build": Case("--concepts happy,sad -o new", "--seed 3"),
    "concepts scan": Case("happy --layers 2 --controls 1 -o new.json", "--seed 3"),
    "introspect analyze": Case(f"{P} --layers 0,2 -o new.json", "--layers 0,1"),
    "introspect generate": Case(f"{P} -n 2 -o new.json", "-n 3"),
    "introspect format-sensitivity": Case(f"{P} --layers 1 -n 2 -o new.json", "--layers 2"),
    "introspect hooks": Case(f"{P} --layers 0 -o new.json", "--layers 1"),
    "introspect layer": Case(f"{P} -l x,y --layers 1 -o new.json", "--layers 2"),
    "introspect tune-lens": Case("--texts @held_out.json --steps 2 -o new", "--steps 3"),
    "introspect ablate": Case(f"{P} -c 5 --layers 0 -n 1 -o new.json", "-n 2"),
    "introspect attention": Case(f"{P} --layers 0 -o new.json", "--layers 1"),
    "introspect attribute": Case(f"{P} -o new.json", "--wrong 3"),
    "introspect neurons": Case(f"{P} -l 0 -n 1 -o new.json", "-l 1"),
    "introspect patch": Case(
        '--clean "50 + 25 = " --corrupt "50 - 25 = " --answer 7 --wrong 2 --layers 0 -o new.json',
        "--layers 1",
    ),
    "introspect probe": Case('-a "a?|b?" -b "a!|b!" -l 0 -o new.json', "--seed 3"),
    "introspect circuit": Case(
        '-d prompts.json --answer "<tool_call>" --keep 0.5 --random 3 --verify 3 -o new.json',
        "--seed 3",
    ),
    "introspect compare": Case(f"{P} --top-k 2 -o new.json", "--top-k 3"),
    "introspect activation-diff": Case("-p @held_out.json --layers 1 -o new.json", "--layers 2"),
    "introspect weight-diff": Case("-o new.json", "--spectrum 2"),
}
TWO_MODELS = {
    "introspect compare": ("-m1", "-m2"),
    "introspect activation-diff": ("-b", "-f"),
    "introspect weight-diff": ("-b", "-f"),
}
WITHOUT_MODEL = {"analyze", "directions", "directions compare"}
# No answer is written, so that the chat template or the tokenizer has no part in the result.
ONLY_WEIGHTS = {"introspect weight-diff"}
# Commands that write no result that a later run would take for its own.
NOT_REUSED = {
    "dataset create", "dataset import", "dataset split", "directions show", "visualize", "probes init",
    "probes apply", "steer table", "concepts try", "concepts create", "export", "import", "report",
    "introspect directions",
}  # fmt: skip


def _words(name: str, folder: Path) -> list[str]:
    words = [*name.split()]
    if name not in WITHOUT_MODEL:
        for option in TWO_MODELS.get(name, ("-m",)):
            words += [option, str(folder / "model")]
    return [*words, *shlex.split(CASES[name].line)]


@pytest.fixture
def folder(workspace, tmp_path, monkeypatch) -> Path:
    """A copy of the files that the stages before have written, beside a checkpoint that may be changed."""
    folder = shutil.copytree(workspace, tmp_path / "work")
    shutil.copytree(TINY, folder / "model")
    template = folder / "model/chat_template.jinja"
    template.write_text(template.read_text().rstrip() + "{# {{ strftime_now('%Y') }} #}")
    monkeypatch.chdir(folder)
    return folder


def _template(folder: Path) -> None:
    path = folder / "model/chat_template.jinja"
    path.write_text("x" + path.read_text())


def _another_template(folder: Path) -> None:
    (folder / "model/additional_chat_templates").mkdir()
    path = folder / "model/additional_chat_templates/tool_use.jinja"
    path.write_text((folder / "model/chat_template.jinja").read_text())


def _tokenizer(folder: Path) -> None:
    path = folder / "model/tokenizer.json"
    path.write_text(path.read_text() + "\n")


def _weight(folder: Path) -> None:
    path = folder / "model/model.safetensors"
    weights = mx.load(str(path))
    name = max(weights, key=lambda key: weights[key].size)
    weights[name] = weights[name] * 1.01
    mx.eval(weights)
    mx.save_safetensors(str(path), weights, metadata={"format": "mlx"})


def _end_tokens(folder: Path) -> None:
    path = folder / "model/generation_config.json"
    ids = json.loads(path.read_text())
    path.write_text(json.dumps({**ids, "eos_token_id": [0, 1, 2]}))


CHANGES = {
    "template": _template,
    "another template": _another_template,
    "tokenizer": _tokenizer,
    "weight": _weight,
    "end tokens": _end_tokens,
}
OF_TEXT = ("template", "another template", "tokenizer")


def _leaves(table: app.Table, before: str = "") -> Iterator[str]:
    for name, place in table.items():
        path = f"{before} {name}".strip()
        if isinstance(place, str):
            yield path
        else:
            yield from _leaves(place, path)


def test_every_command_with_an_output_is_here():
    found = {*_leaves(app.COMMANDS), *(f"introspect {name}" for name in app.questions())}
    found -= {name for name in found if name.startswith("introspect steer")}  # steer's other name
    writes = set()
    for name in found:
        shown = invoke([*name.split(), "--help"]).stdout
        if "--output" in shown or "--train" in shown:
            writes.add(name)
    assert writes <= {*CASES, *NOT_REUSED}, writes - {*CASES, *NOT_REUSED}
    assert not CASES.keys() & NOT_REUSED


def _not_read_again(words: list[str], what: str) -> None:
    done = invoke(words)
    assert "is reused" not in done.stderr, what
    assert done.exit_code, f"{what}: replaced without --force"


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_result_of_something_else_is_not_read_again(name, folder, monkeypatch):
    words = _words(name, folder)
    first, second = invoke(words), invoke(words)
    assert (first.exit_code, second.exit_code) == (0, 0), first.output + second.output
    assert "is reused" not in first.stderr
    assert "is reused" in second.stderr
    _not_read_again([*words, *shlex.split(CASES[name].other)], "option")
    if name not in WITHOUT_MODEL:
        _changed_models(name, words, folder, monkeypatch)
    _changed_inputs(words, folder)
    assert "is reused" in invoke(words).stderr


def _changed_models(name: str, words: list[str], folder: Path, monkeypatch) -> None:
    model, kept = folder / "model", folder / "kept"
    shutil.copytree(model, kept)
    for what, change in CHANGES.items():
        if name in ONLY_WEIGHTS and what in OF_TEXT:
            continue
        change(folder)
        _not_read_again(words, what)
        shutil.rmtree(model)
        shutil.copytree(kept, model)
    if name not in ONLY_WEIGHTS:
        with monkeypatch.context() as patch:
            patch.setitem(os.environ, "CIRCUIT_DATE", "2025-05-05")
            _not_read_again(words, "date")


def _changed(content: bytes) -> bytes:
    """Add a line that means nothing; where only the content counts (a manifest), a parameter."""
    try:
        document = json.loads(content)
    except ValueError:
        return content + b"\n"
    if "run" not in document:
        return content + b"\n"
    document["parameters"]["seed"] = 77
    return json.dumps(document).encode()


def _changed_inputs(words: list[str], folder: Path) -> None:
    """Change each file that the command line names."""
    texts = [path for path in folder.glob("*.*") if path.suffix in (".json", ".yaml", ".npz")]
    for path in texts:
        if path.stem == "new" or not any(path.name in word for word in words):
            continue
        content = path.read_bytes()
        path.write_bytes(_changed(content))
        _not_read_again(words, path.name)
        path.write_bytes(content)
