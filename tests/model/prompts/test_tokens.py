"""Text becomes token ids in one place: no double BOS, no lost space, shortened on either side."""

import numpy as np
from checkpoints import write_checkpoint
from errors import raises
from hypothesis import given
from hypothesis import strategies as st

from circuit.errors import DataError, ModelError, UsageError
from circuit.model.checkpoint.loading import load_model
from circuit.model.prompts.rendering import other_than, render_chat
from circuit.model.prompts.tokens import CHUNK, EncodedPrompt, encode_prompts
from circuit.values.prompt_format import PromptFormat

TOOLS = [{"type": "function", "function": {"name": "get_weather"}}]
CHAT = PromptFormat(chat=True)


def decoded(model, prompt):
    return model.tokenizer.decode(prompt.ids.tolist())


def test_raw_text_keeps_its_spaces_and_gets_one_bos(llama):
    bare, spaced, marked = encode_prompts(llama, ["1 =", "1 = ", "<s>1 ="])
    bos = llama.tokenizer.bos_token_id
    assert bare.ids.dtype == np.int32
    assert bare.ids.tolist().count(bos) == 1 == np.sum(bare.ids[:1] == bos)
    assert spaced.ids[:-1].tolist() == bare.ids.tolist() == marked.ids.tolist()


def test_chat_prompts_hold_system_and_tools_and_one_bos(llama):
    chat = PromptFormat(chat=True, system="Be brief", tools=TOOLS)
    prompt = encode_prompts(llama, ["Hi there"], chat)[0]
    text = render_chat(llama, "Hi there", chat)
    assert (
        text == "<s><t>get_weather <sys>Be brief</m><use>Hi there</m><a>" == decoded(llama, prompt)
    )
    assert prompt.ids.tolist().count(llama.tokenizer.bos_token_id) == 1


def test_prompts_in_batches_are_encoded_as_alone(llama):
    texts = [f"{'<s>' if n % 3 else ''}prompt {n} {'é☃' * (n % 5)}" for n in range(CHUNK + 9)]
    for prompt, text in zip(encode_prompts(llama, texts), texts, strict=True):
        assert prompt.ids.tolist() == encode_prompts(llama, [text])[0].ids.tolist()
        assert prompt.text is text


def test_bad_prompts(llama):
    with raises(DataError, "empty-prompt", prompt=1):
        encode_prompts(llama, ["a", ""])
    with raises(DataError, "not-unicode", prompt=0):
        encode_prompts(llama, ["h\udcc3"])
    with raises(DataError, "prompt-too-long", prompt=1, n_tokens=301, limit=256) as raised:
        encode_prompts(llama, ["a", "a" * 300])
    assert "--max-length" in raised.value.hint
    assert "--truncate" in raised.value.hint
    assert len(encode_prompts(llama, ["a" * 300], max_length=256)[0].ids) == 256
    with raises(UsageError, "chat-needed"):
        encode_prompts(llama, ["a"], PromptFormat(chat=False, system="x"))
    with raises(UsageError, "unknown-side", side="up"):
        encode_prompts(llama, ["a"], truncate="up")


def test_a_model_without_a_template_says_so(tmp_path):
    model = load_model(str(write_checkpoint(tmp_path, chat=False)))
    with raises(ModelError, "no-chat-template"):
        encode_prompts(model, ["a"], CHAT)


def test_raw_text_is_shortened_on_the_side_that_was_chosen_and_keeps_bos(llama):
    whole = encode_prompts(llama, ["abcdef"])[0]
    for side, text in (("left", "<s>ef"), ("right", "<s>ab")):
        prompt = encode_prompts(llama, ["abcdef"], max_length=3, truncate=side)[0]
        assert decoded(llama, prompt) == text
    left = encode_prompts(llama, ["abcdef"], max_length=1)[0]
    assert left.ids.tolist() == whole.ids[-1:].tolist()
    for side in ("left", "right"):
        same = encode_prompts(llama, ["abcdef"], max_length=7, truncate=side)[0]
        assert same.ids.tolist() == whole.ids.tolist()


def test_a_chat_is_cut_from_its_beginning_or_from_the_end_of_its_text(llama):
    left = encode_prompts(llama, ["abcdef"], CHAT, max_length=6)[0]
    assert decoded(llama, left) == "<s>def</m><a>"
    right = encode_prompts(llama, ["abcdef"], CHAT, max_length=6, truncate="right")[0]
    assert decoded(llama, right) == "<s><use>ab</m><a>"
    with raises(DataError, "max-length-too-small", prompt=0, n_tokens=4) as raised:
        encode_prompts(llama, ["abcdef"], CHAT, max_length=4, truncate="right")
    assert "--max-length" in raised.value.hint


TEXTS = st.text(st.sampled_from("ab é☃</m>"), min_size=1, max_size=12)


@given(text=TEXTS, length=st.integers(1, 20), chat=st.booleans(), right=st.booleans())
def test_what_is_kept_of_a_prompt_is_where_kept_says(llama, text, length, chat, right):
    """The shortened prompt is the whole one without one range, and ``kept`` maps between them."""
    style, side = PromptFormat(chat=chat), "right" if right else "left"
    whole = encode_prompts(llama, [text], style)[0]
    try:
        short = encode_prompts(llama, [text], style, max_length=length, truncate=side)[0]
    except DataError:
        assert chat
        assert right
        return
    assert len(short.ids) == min(length, len(whole.ids))
    assert short.n_whole == len(whole.ids)
    every = np.arange(len(whole.ids), dtype=np.int32)
    assert short.kept(every).tolist() == list(range(len(short.ids)))
    remaining = np.delete(every, slice(*short.removed))
    assert whole.ids[remaining].tolist() == short.ids.tolist()


@given(st.text(min_size=1))
def test_the_other_text_begins_and_ends_otherwise(text):
    letter, inside = other_than(text), text.strip().casefold()
    assert not inside.startswith(letter)
    assert not inside.endswith(letter)


def test_token_ids_alone_have_no_text():
    with raises(DataError, "text-unknown", prompt=3):
        EncodedPrompt(np.array([1, 2], np.int32)).content(3)


def test_many_prompts_take_little_memory(llama):
    import tracemalloc

    texts = [f"prompt number {n:04d}" for n in range(2000)]
    encode_prompts(llama, texts[:300])
    tracemalloc.start()
    encoded = encode_prompts(llama, texts)
    for prompt in encoded:
        prompt.content()
    held = tracemalloc.get_traced_memory()[0] / len(texts)
    tracemalloc.stop()
    assert held < 200 + 4 * len(encoded[0].ids)
