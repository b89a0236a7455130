"""What a chat is given reaches the prompt, or the template is refused; a date is one date."""

import json

import pytest
from checkpoints import write_checkpoint
from errors import raises

from circuit.errors import ModelError, UsageError
from circuit.model.checkpoint.loading import load_model
from circuit.model.prompts.rendering import with_known_tools
from circuit.model.prompts.tokens import encode_prompts
from circuit.values.prompt_format import PromptFormat

TURN = "{% for m in messages %}<{{ m.role[:3] }}>{{ m.content }}</m>{% endfor %}"
USER_ONLY = "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"
TOOLS = ({"type": "function", "function": {"name": "dice"}}, {"name": "clock"})
FIRST_TOOL = "{% if tools %}{{ tools[0].function.name }}{% endif %}" + TURN
DATED = "{{ strftime_now('%d %B %Y %H:%M:%S') }}" + TURN


def chat_model(folder, template):
    write_checkpoint(folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": template}))
    return load_model(str(folder))


def test_tools_of_a_prompt_set_are_left_out_where_no_template_shows_them(tmp_path, capsys):
    form = PromptFormat(chat=True, tools=TOOLS)
    unseen = chat_model(tmp_path / "unseen", TURN)
    for _ in range(2):
        assert with_known_tools(unseen, form) == PromptFormat(chat=True)
    assert capsys.readouterr().err.count("shows no tools") == 1
    some = chat_model(tmp_path / "some", FIRST_TOOL)
    assert with_known_tools(some, form) == form  # one of two is refused, not left out
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("template", "form", "part"),
    [
        ("<s>Say something.<a>", PromptFormat(chat=True), "text"),
        ("{% for m in messages %}{{ m.role }}{% endfor %}", PromptFormat(chat=True), "text"),
        (USER_ONLY, PromptFormat(chat=True, system="Be kind."), "system message"),
        (TURN, PromptFormat(chat=True, tools=TOOLS), "tools"),
        (FIRST_TOOL, PromptFormat(chat=True, tools=TOOLS), "tools"),
    ],
)
def test_a_template_that_leaves_out_what_it_is_given_is_refused(tmp_path, template, form, part):
    model = chat_model(tmp_path, template)
    with raises(ModelError, "chat-part-left-out", part=part):
        encode_prompts(model, ["a", "b"], form)


@pytest.mark.parametrize("content", ["m.content[:3]", "m.content | replace('x', 'y')"])
def test_a_template_that_changes_a_text_is_refused(tmp_path, content):
    template = TURN.replace("m.content", content)
    model = chat_model(tmp_path, template)
    encode_prompts(model, ["abc"], PromptFormat(chat=True))
    with raises(ModelError, "chat-text-changed"):
        encode_prompts(model, ["abc", "abcx"], PromptFormat(chat=True))


def test_trimmed_texts_are_found(tmp_path):
    model = chat_model(tmp_path, TURN.replace("m.content", "m.content | trim"))
    spaced, plain = encode_prompts(model, [" tea \n", "tea"], PromptFormat(chat=True))
    assert spaced.ids.tolist() == plain.ids.tolist()


def test_a_dated_template_is_told_one_date_that_the_identity_records(tmp_path, monkeypatch):
    monkeypatch.delenv("CIRCUIT_DATE", raising=False)
    model, form = chat_model(tmp_path, DATED), PromptFormat(chat=True)
    (prompt,) = encode_prompts(model, ["tea"], form)
    assert "01 January 2026 00:00:00" in model.tokenizer.decode(prompt.ids.tolist())
    assert model.tokenizer_identity.chat_date == "2026-01-01"
    monkeypatch.setenv("CIRCUIT_DATE", "2031-05-17")
    other = load_model(str(tmp_path))
    (later,) = encode_prompts(other, ["tea"], form)
    assert "17 May 2031 00:00:00" in other.tokenizer.decode(later.ids.tolist())
    assert other.tokenizer_identity.chat_date == "2031-05-17"
    assert other.tokenizer_identity != model.tokenizer_identity
    monkeypatch.setenv("CIRCUIT_DATE", "tomorrow")
    with raises(UsageError, "not-a-date", value="tomorrow"):
        encode_prompts(other, ["tea"], form)


def test_a_template_without_a_date_records_none(llama):
    assert llama.tokenizer_identity.chat_date is None
