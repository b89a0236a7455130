"""Text becomes token ids in one place: no double BOS, no lost space, positions by name."""

import pytest

from circuit.errors import DataError, ModelError, UsageError
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
    with pytest.raises(DataError, match="prompt 0 has 301 tokens, the model reads 256"):
        encode_prompts(llama, ["a" * 300])
    assert len(encode_prompts(llama, ["a" * 300], max_length=256)[0].ids) == 256
    with pytest.raises(UsageError, match="need a chat template"):
        encode_prompts(llama, ["a"], PromptFormat(chat=False, system="x"))


def test_a_model_without_a_template_says_so(tmp_path):
    from checkpoints import write_checkpoint

    from circuit.model.loading import load_model

    model = load_model(str(write_checkpoint(tmp_path, chat=False)))
    with pytest.raises(ModelError, match="has no chat template"):
        encode_prompts(model, ["a"], PromptFormat(chat=True))


def test_position_names():
    assert parse_positions("last,mean,-2,last") == ["last", "mean", "-2"]
    with pytest.raises(UsageError, match="unknown position `end`"):
        parse_positions("end")
