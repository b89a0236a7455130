"""Text becomes token ids in one place: no double BOS, no lost space, positions by name."""

import json

import pytest
from checkpoints import write_checkpoint

from circuit.errors import DataError, ModelError, UsageError
from circuit.model.loading import load_model
from circuit.model.tokens import (
    RAW,
    PromptFormat,
    encode_prompts,
    parse_positions,
    position_index,
    render_chat,
)

TOOLS = [{"type": "function", "function": {"name": "get_weather"}}]


def test_raw_text_keeps_its_spaces_and_gets_one_bos(llama):
    bare, spaced, marked = encode_prompts(llama, ["1 =", "1 = ", "<s>1 ="])
    bos = llama.tokenizer.bos_token_id
    assert bare.ids[0] == bos
    assert bare.ids.count(bos) == 1
    assert spaced.ids[: len(bare.ids)] == bare.ids
    assert len(spaced.ids) == len(bare.ids) + 1
    assert marked.ids == bare.ids


def test_chat_prompts_hold_system_and_tools_and_one_bos(llama):
    chat = PromptFormat(chat=True, system="Be brief", tools=TOOLS)
    prompt = encode_prompts(llama, ["Hi there"], chat)[0]
    text = render_chat(llama, "Hi there", chat)
    assert text == "<s><t>get_weather <sys>Be brief</m><use>Hi there</m><a>"
    assert prompt.ids.count(llama.tokenizer.bos_token_id) == 1
    assert llama.tokenizer.decode(prompt.ids[: prompt.last_content + 1]).endswith("Hi there")


def test_last_content_is_before_what_the_template_adds(llama):
    chat = encode_prompts(llama, ["Hi"], PromptFormat(chat=True))[0]
    assert position_index(chat, "last") == len(chat.ids) - 1
    assert position_index(chat, "last_content") < position_index(chat, "last")
    raw = encode_prompts(llama, ["Hi"], RAW)[0]
    assert position_index(raw, "last_content") == position_index(raw, "last")


def test_bad_prompts(llama):
    with pytest.raises(DataError, match="prompt 1 is empty"):
        encode_prompts(llama, ["a", ""])
    with pytest.raises(DataError, match="prompt 0 is not valid UTF-8"):
        encode_prompts(llama, ["h\udcc3"])
    with pytest.raises(DataError, match="prompt 0 has 301 tokens, the model reads 256"):
        encode_prompts(llama, ["a" * 300])
    assert len(encode_prompts(llama, ["a" * 300], max_length=256)[0].ids) == 256
    with pytest.raises(UsageError, match="need a chat template"):
        encode_prompts(llama, ["a"], PromptFormat(chat=False, system="x"))


def test_a_model_without_a_template_says_so(tmp_path):
    model = load_model(str(write_checkpoint(tmp_path, chat=False)))
    with pytest.raises(ModelError, match="has no chat template"):
        encode_prompts(model, ["a"], PromptFormat(chat=True))


def test_position_names():
    assert parse_positions("last,mean,-2,last") == ["last", "mean", "-2"]
    with pytest.raises(UsageError, match="unknown position `end`"):
        parse_positions("end")


@pytest.mark.parametrize("text", ["a", "m", ">", "use", "Hi ", "Hi\n", "xx", "</m>", "user Be a"])
def test_last_content_ends_the_text_also_where_the_template_repeats_it(llama, text):
    chat = PromptFormat(chat=True, system=f"Be {text}")
    prompt = encode_prompts(llama, [text], chat)[0]
    before = llama.tokenizer.decode(prompt.ids[: prompt.last_content + 1])
    assert before == f"<s><sys>Be {text}</m><use>{text}"


def test_last_content_under_a_template_that_changes_the_text(tmp_path):
    folder = write_checkpoint(tmp_path)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    template = "{% for m in messages %}[{{ m.content | trim | upper }}]{% endfor %}answer:"
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": template}))
    model = load_model(str(folder))
    for text in ("hi", "  answer ", "x"):
        prompt = encode_prompts(model, [text], PromptFormat(chat=True))[0]
        assert model.tokenizer.decode(prompt.ids[: prompt.last_content + 1]) == (
            "[" + text.strip().upper()
        )


def test_shortening_keeps_the_first_token_and_says_when_the_text_is_gone(llama):
    whole = encode_prompts(llama, ["abcdef"])[0]
    short = encode_prompts(llama, ["abcdef"], max_length=3)[0]
    assert short.ids == [whole.ids[0], *whole.ids[-2:]]
    assert short.last_content == 2
    assert encode_prompts(llama, ["abcdef"], max_length=1)[0].ids == whole.ids[-1:]
    cut = encode_prompts(llama, ["abcdef"], PromptFormat(chat=True), max_length=3)[0]
    assert cut.ids[0] == llama.tokenizer.bos_token_id
    with pytest.raises(DataError, match="nothing of the text of prompt 4 is left"):
        position_index(cut, "last_content", 4)


def test_blanks_are_text_in_raw_and_no_content_in_a_chat(llama):
    raw, chat = (encode_prompts(llama, ["  "], PromptFormat(chat=c))[0] for c in (False, True))
    assert (len(raw.ids), raw.last_content) == (3, 2)
    assert chat.last_content is None
