"""A question that was answered is not asked again; with another template it is another one."""

import json
import shlex
import shutil

import pytest
from in_process import invoke

from circuit.errors import ArtifactError
from circuit.introspect.plans import asked
from circuit.introspect.questions.layer import LayerRequest
from circuit.stages.options import ModelOptions, PromptsOptions

LINES = [
    'analyze -m {m} -p "a|b" -t a --layers 0,2 -o out.json',
    'generate -m {m} -p "1 + 1 =|a b" --compare-format -n 2 --show-tokens -o out.json',
    'format-sensitivity -m {m} -p "a|b" --layers 1 -n 2 -o out.json',
    "hooks -m {m} -p a --layers 0,1 --capture-attention -o out.json",
    'compare -m1 {m} -m2 {m} -p "a|b c" -t a --top-k 2 -o out.json',
    'activation-diff -b {m} -f {m} -p "a|b|c|d|e" -o out.json',
    'layer -m {m} -p "a|b|c|d" -l x,x,y,y --layers 1 --attention -o out.json',
    "tune-lens -m {m} -p @texts.txt --steps 2 -o out.json",
    'ablate -m {m} -p "a|b" -c x --layers 0 -n 1 --raw -o out.json',
    'attention -m {m} -p "ab|cd" --layers 0 --heads 0.1 -o out.json',
    'attribute -m {m} -p "a|b" -o out.json',
    'neurons -m {m} -p "a|b" -l 0 -n 1 --labels x,y -o out.json',
    "patch -m {m} --clean ab --corrupt cd --answer x --wrong y --align end --layers 0 -o out.json",
    'probe -m {m} -a "a?|b?" -b "a!|b!" -l 0,1 -t c -o out.json',
]


@pytest.fixture
def model(llama_folder, tmp_path, monkeypatch):
    """A copy of the checkpoint that may be changed, next to some texts, in the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts.txt").write_text("\n".join(f"text {i}" for i in range(12)))
    return shutil.copytree(llama_folder, tmp_path / "model")


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.split()[0])
def test_a_second_run_reads_the_first(line, model, tmp_path):
    words = ["introspect", *shlex.split(line.format(m=model))]
    first, second = invoke(words), invoke(words)
    assert (first.exit_code, second.exit_code) == (0, 0), first.output + second.output
    assert "is reused" not in first.stderr
    assert "is reused" in second.stderr
    assert second.stdout == first.stdout
    as_json = invoke([*words, "--json"])
    results = json.loads((tmp_path / "out.json").read_text())["results"]
    assert json.loads(as_json.stdout) == results
    _change_template(model)
    other = invoke(words)
    assert isinstance(other.error, ArtifactError)
    assert "is reused" not in other.stderr
    forced = invoke([*words, "--force"])
    assert forced.exit_code == 0, forced.output


def _change_template(model):
    path = model / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config["chat_template"] = "x" + config["chat_template"]
    path.write_text(json.dumps(config))


def test_a_missing_picture_is_drawn_from_the_result_that_is_reused(model, tmp_path):
    line = f"introspect analyze -m {model} -p a --layers 0,2 -o out.json --plot lens.png"
    assert invoke(shlex.split(line)).exit_code == 0
    picture = (tmp_path / "lens.png").read_bytes()
    (tmp_path / "lens.png").unlink()
    again = invoke(shlex.split(line))
    assert "is reused" in again.stderr
    assert (tmp_path / "lens.png").read_bytes() == picture


def test_a_picture_of_something_else_stays_beside_a_result_that_is_reused(model, tmp_path):
    line = f"introspect analyze -m {model} -p a --layers 0,2 -o out.json --plot lens.png"
    assert invoke(shlex.split(line)).exit_code == 0
    picture = (tmp_path / "lens.png").read_bytes()
    (tmp_path / "lens.png").write_bytes(b"mine")
    again = invoke(shlex.split(line))
    assert (again.error.code, "`lens.png`" in again.error.message) == ("output-exists", True)
    assert (tmp_path / "lens.png").read_bytes() == b"mine"
    assert invoke(shlex.split(f"{line} --force")).exit_code == 0
    assert (tmp_path / "lens.png").read_bytes() == picture


def test_options_that_only_change_what_is_shown_are_not_part_of_the_question(model):
    line = f'introspect generate -m {model} -p "a|b" -n 2 -o out.json'
    plain, shown = invoke(shlex.split(line)), invoke(shlex.split(f"{line} --show-tokens"))
    assert "is reused" in shown.stderr
    assert "Tokens (" in shown.stdout
    assert "Tokens (" not in plain.stdout


def test_what_is_saved_has_the_name_of_its_run(model, tmp_path):
    line = f'introspect probe -m {model} -a "a?|b?" -b "a!|b!" -l 0 --save-probe mood -o out.json'
    assert invoke(shlex.split(f"{line} --name first")).exit_code == 0
    other = invoke(shlex.split(f"{line} --name second"))
    assert other.error.code == "output-exists"
    assert invoke(shlex.split(f"{line} --name second --force")).exit_code == 0
    assert json.loads((tmp_path / "mood.json").read_text())["parameters"]["name"] == "second"


def test_every_option_of_a_result_is_part_of_its_question():
    request = LayerRequest(
        model=ModelOptions(model="m"), prompts=PromptsOptions(prompts="a|b", chat=True)
    )
    assert asked(request) == {
        "prompts": "a|b",
        "chat": True,
        "labels": None,
        "layers": "all",
        "attention": False,
        "seed": 0,
    }
    known = asked(request, without=["labels"], prompts=["a", "b"], format="chat")
    assert known == {
        "prompts": ["a", "b"],
        "layers": "all",
        "attention": False,
        "seed": 0,
        "format": "chat",
    }
