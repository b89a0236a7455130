"""A prompt set brings its format, tools and system message; a saved file names it as input."""

import json

import pytest
from in_process import invoke

from circuit.artifacts.prompts.prompts import Prompt, PromptSet
from circuit.model.checkpoint.loading import load_model
from circuit.stages.rows.prompting import encode
from circuit.values.prompt_format import PromptFormat

TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
TEXTS = [f"{a} {b}" for a in ("one", "two") for b in ("red", "old", "big", "new", "dry")]


@pytest.fixture
def a_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prompts = tuple(Prompt(text=text) for text in TEXTS)
    made = PromptSet(name="s", prompts=prompts, format="chat", system="Be kind.", tools=(TOOL,))
    made.save(tmp_path / "set.json")
    return made


def found(folder, line, file):
    done = invoke(["introspect", *line.split()])
    assert done.exit_code == 0, done.output
    return json.loads((folder / file).read_text())


@pytest.mark.parametrize(("asked", "chat"), [("", True), (" --chat", True), (" --raw", False)])
def test_analyze_reads_a_set_in_its_own_format(a_set, tmp_path, asked, chat):
    line = f"analyze -m tiny -p @set.json --layers -1 --top-k 1 -o lens.json{asked}"
    saved = found(tmp_path, line, "lens.json")
    form = PromptFormat(True, a_set.system, a_set.tools) if chat else PromptFormat(False)
    encoded = encode(load_model("tiny"), TEXTS, form)
    tokens = [len(each["tokens"]) for each in saved["results"]["analyses"]]
    assert tokens == [len(each.ids) for each in encoded]
    assert saved["parameters"]["format"] == saved["results"]["format"] == form.name
    assert [each["path"] for each in saved["inputs"]] == ["set.json"]


@pytest.mark.parametrize(("asked", "chat"), [("", True), (" --raw", False)])
def test_a_lens_is_tuned_on_a_set_in_its_own_format(a_set, tmp_path, asked, chat):
    line = f"tune-lens -m tiny -p @set.json --steps 1 -o tuned{asked}"
    saved = found(tmp_path, line, "tuned.json")
    form = PromptFormat(True, a_set.system, a_set.tools) if chat else PromptFormat(False)
    encoded = encode(load_model("tiny"), TEXTS, form)
    counts = saved["results"]["n_tokens"] + saved["results"]["n_held_out"]
    assert counts == sum(len(each.ids) - 1 for each in encoded)
    assert saved["parameters"]["format"] == form.name
    assert [each["path"] for each in saved["inputs"]] == ["set.json"]
