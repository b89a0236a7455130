"""Extension is addition: one file, or one entry, and the command line and the contracts see it.

Direction methods, operators, sites and steering-file formats have tests of their own kind in
``tests/methods/directions``, ``tests/model`` and ``tests/artifacts/steering_files``.
"""

from dataclasses import replace

import pytest
from in_process import invoke

import circuit.introspect.questions as questions
from circuit.stages.steering import rules

TOY = '''
"""How many tokens a prompt has."""

from dataclasses import dataclass

from circuit.present.document import Document, Facts
from circuit.stages.options import ModelOptions, OutputOptions, PromptsOptions
from circuit.stages.rows.prompting import encode
from circuit.stages.run import Command, Job, Plan
from circuit.values.prompt_format import RAW
from circuit.values.requests import group


@dataclass(frozen=True, kw_only=True)
class TokenCountRequest:
    """Count the tokens of a prompt.

    Examples:
      circuit introspect token-count -m tiny -p "50 + 25 = "
    """

    model: ModelOptions = group(ModelOptions)
    prompts: PromptsOptions = group(PromptsOptions)
    output: OutputOptions = group(OutputOptions)


@dataclass(frozen=True, kw_only=True)
class TokenCountResult:
    """The number of tokens."""

    tokens: int


def plan(request):
    """Count when the model is there."""
    text = request.prompts.prompts

    def begin(model):
        (prompt,) = encode(model, [text], RAW)
        count = TokenCountResult(tokens=len(prompt.ids))
        return Job(parameters={"prompt": text}, compute=lambda _: count)

    return Plan(
        result=TokenCountResult,
        schema="circuit.token-count/1",
        model=request.model,
        output=request.output.output,
        force=request.output.force,
        known={"prompt": text},
        begin=begin,
    )


def present(result):
    """Say the number."""
    return Document("", [Facts([("Tokens", result.tokens)])])


COMMAND = Command(request=TokenCountRequest, plan=plan, present=present)
'''


@pytest.fixture
def toy_question(tmp_path, monkeypatch):
    folder = tmp_path / "questions"
    folder.mkdir()
    (folder / "token_count.py").write_text(TOY)
    monkeypatch.setattr(questions, "__path__", [*questions.__path__, str(folder)])


def test_a_question_is_one_file(toy_question, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "token-count" in invoke(["introspect", "--help"]).stdout
    assert '-p "50 + 25 = "' in invoke(["introspect", "token-count", "--help"]).stdout
    line = ["introspect", "token-count", "-m", "tiny", "-p", "50 + 25 = ", "-o", "count.json"]
    first, again = invoke(line), invoke(line)
    assert first.stdout.startswith("Tokens: ")
    assert first.stdout == again.stdout
    assert "is reused" in again.stderr
    missing = invoke(["introspect", "token-count", "-m", "tiny"])
    assert (missing.exit_code, missing.error.code) == (2, "missing-option")


def test_a_strength_rule_is_one_entry(tmp_path, monkeypatch):
    """A rule ``double`` makes coefficient 1 twice the token's norm; the command line knows it by its name."""

    def double(model, intervention, form, number):
        return replace(intervention, factor=2 * intervention.factor)

    monkeypatch.setitem(rules.RULES, "double", rules.StrengthRule(resolve=double))
    monkeypatch.chdir(tmp_path)
    pair = ["--positive", "50 + 25 = ", "--negative", "50 + 25 =", "--layer", "3"]
    line = ["steer", "-m", "tiny", *pair, "-p", "58 + 31 =", "-n", "4"]
    doubled = invoke([*line, "--rule", "double", "-c", "0.5"])
    assert doubled.exit_code == 0, doubled.output
    once = invoke([*line, "-c", "1"])
    answers = [done.stdout.splitlines()[-1].strip() for done in (doubled, once)]
    assert answers == ["'89'", "'89'"]
    unknown = invoke([*line, "--rule", "triple"])
    assert unknown.error.code == "unknown-rule"
    assert "double" in unknown.error.hint
