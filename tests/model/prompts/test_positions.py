"""Positions by name: each is the token that carries what was asked for, or an error that names the prompt."""

import json
import re

import numpy as np
import pytest
from checkpoints import write_checkpoint
from errors import raises
from hypothesis import given
from hypothesis import strategies as st

from circuit.errors import DataError, ModelError, UsageError
from circuit.model.checkpoint.loading import load_model
from circuit.model.prompts.positions import parse_position, parse_positions
from circuit.model.prompts.tokens import EncodedPrompt, encode_prompts
from circuit.values.prompt_format import RAW, PromptFormat

CHAT = PromptFormat(chat=True)
KINDS = ("bytes", "trimmed", "merged", "metaspace", "prepended")


def tokenizer_of(kind: str):
    """Build a tokenizer of one of the kinds that checkpoints have; ids of merges come last."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    special = ["<s>", "</m>", "<sys>", "<use>", "<a>", "<t>", "<pad>"]
    byte_level = kind in ("bytes", "trimmed", "merged")
    if byte_level:
        words = sorted(pre_tokenizers.ByteLevel.alphabet())
        merges = [] if kind == "bytes" else [("h", "i"), ("Ġ", "hi"), ("Ġ", "Ġ"), ("Ã", "©")]
    else:
        words = [f"<0x{i:02X}>" for i in range(256)] + list("▁abdefghi<>m/")
        merges = [("▁", "▁"), ("h", "i"), ("▁", "hi"), (">", "h")]
    words += [a + b for a, b in merges]
    vocabulary = {word: i for i, word in enumerate([*words, *special])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, byte_fallback=not byte_level))
    template = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", vocabulary["<s>"])]
    )
    tokenizer.post_processor = template
    if byte_level:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(
            add_prefix_space=False, use_regex=kind != "merged"
        )
        tokenizer.decoder = decoders.ByteLevel()
        trimming = processors.ByteLevel(trim_offsets=kind == "trimmed")
        tokenizer.post_processor = processors.Sequence([trimming, template])
    else:
        steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        tokenizer.decoder = decoders.Sequence(steps)
    if kind == "metaspace":
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    if kind == "prepended":
        steps = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.add_special_tokens(special)
    return tokenizer, len(vocabulary)


@pytest.fixture(scope="session")
def models_by_kind(tmp_path_factory):
    """One model for every kind of tokenizer."""
    found = {}
    for kind in KINDS:
        tokenizer, size = tokenizer_of(kind)
        folder = write_checkpoint(tmp_path_factory.mktemp(kind), vocab_size=size)
        tokenizer.save(str(folder / "tokenizer.json"))
        found[kind] = load_model(str(folder))
    return found


def with_template(folder, template):
    write_checkpoint(folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": template}))
    return load_model(str(folder))


def at(name, prompt, number=0):
    return parse_position(name).indices(prompt, number).tolist()


def read(model, prompt, indices):
    """What the tokens say, by the tokenizer's own decoder."""
    return model.tokenizer.decode([int(prompt.ids[i]) for i in indices])


def test_lists_are_split_at_commas_but_not_inside_a_search():
    names = [p.name for p in parse_positions("last, mean,-2,last,02,-6:,2:5,:3,all,role:user")]
    assert names == ["last", "mean", "-2", "2", "-6:", "2:5", ":3", "all", "role:user"]
    several = parse_positions(["re:[0-9]{1,3}", "last,text:Oslo", "text:a, b"])
    assert [p.name for p in several] == ["re:[0-9]{1,3}", "last", "text:Oslo", "text:a, b"]
    assert [p.is_ragged for p in several] == [True, False, False, False]
    assert [p.name for p in parse_positions("mean,all,:3") if p.is_ragged or p.is_mean] == [
        "mean",
        "all",
        ":3",
    ]


@pytest.mark.parametrize("name", ["end", "", ":", "1:2:3", "text:", "re:", "role:", "--2", "x:y"])
def test_unknown_positions_are_refused(name):
    with raises(UsageError, "unknown-position", position=name.split(",")[0]):
        parse_positions(name)


def test_bad_arguments_are_refused():
    with raises(UsageError, "unknown-role", role="tool"):
        parse_positions("role:tool")
    with raises(UsageError, "not-a-pattern", pattern="["):
        parse_positions("re:[")
    with raises(UsageError, "no-positions"):
        parse_positions([])


BOUND = st.none() | st.integers(-9, 9)


@given(length=st.integers(1, 8), start=BOUND, stop=BOUND)
def test_slices_and_indices_are_those_of_a_list(length, start, stop):
    prompt, tokens = EncodedPrompt(np.arange(length, dtype=np.int32)), list(range(length))
    name = f"{'' if start is None else start}:{'' if stop is None else stop}"
    if (start, stop) != (None, None):
        if tokens[start:stop]:
            assert at(name, prompt) == tokens[start:stop]
        else:
            with raises(
                DataError, "position-out-of-range", prompt=4, position=name, n_tokens=length
            ):
                at(name, prompt, 4)
    if start is not None:
        if -length <= start < length:
            assert at(str(start), prompt) == [tokens[start]]
        else:
            with raises(DataError, "position-out-of-range", prompt=4, position=str(start)):
                at(str(start), prompt, 4)
    assert at("all", prompt) == tokens
    assert at("mean", prompt) == (tokens[1:] or tokens)
    assert at("last", prompt) == tokens[-1:]
    assert at("first", prompt) == [0]


def test_last_content_is_before_what_the_template_adds(llama):
    chat = encode_prompts(llama, ["Hi"], CHAT)[0]
    assert at("last_content", chat) < at("last", chat) == [len(chat.ids) - 1]
    raw = encode_prompts(llama, ["Hi"], RAW)[0]
    assert at("last_content", raw) == at("last", raw)


@pytest.mark.parametrize(
    "text", ["a", "m", ">", "use", "Hi ", "Hi\n", "xx", "X", "x y", "</m>", "user Be a", "  "]
)
def test_last_content_ends_the_text_also_where_the_template_repeats_it(llama, text):
    chat = PromptFormat(chat=True, system=f"Be {text}")
    prompt = encode_prompts(llama, [text], chat)[0]
    before = read(llama, prompt, range(at("last_content", prompt)[0] + 1))
    assert before == f"<s><sys>Be {text}</m><use>{text}"
    assert (
        read(llama, prompt, range(at("role:user", prompt)[0] + 1)) == f"<s><sys>Be {text}</m><use>"
    )
    assert read(llama, prompt, range(at("role:system", prompt)[0] + 1)) == "<s><sys>"
    assert at("role:assistant", prompt) == at("last", prompt)


def test_positions_under_a_template_that_changes_the_text(tmp_path):
    template = "{% for m in messages %}[{{ m.content | trim | upper }}]{% endfor %}answer:"
    model = with_template(tmp_path, template)
    for text in ("hi", "  answer ", "x", "x Z y"):
        prompt = encode_prompts(model, [text], CHAT)[0]
        content = text.strip().upper()
        assert read(model, prompt, range(at("last_content", prompt)[0] + 1)) == "[" + content
        assert read(model, prompt, at("re:.", prompt)) == content
        assert read(model, prompt, at("role:user", prompt)) == "["
    prompt = encode_prompts(model, ["hi  "], CHAT)[0]
    with raises(DataError, "position-not-found", prompt=5, position="text:hi"):
        at("text:hi", prompt, 5)


def test_a_blank_text_that_the_template_drops_has_no_content(tmp_path):
    model = with_template(tmp_path, "[{{ messages[0].content | trim }}]x")
    prompt = encode_prompts(model, ["  "], CHAT)[0]
    with raises(DataError, "position-cut-off", prompt=2, position="last_content"):
        at("last_content", prompt, 2)
    assert read(model, prompt, at("role:user", prompt)) == "["


def test_a_text_that_opens_the_prompt_has_no_header(tmp_path):
    model = with_template(tmp_path, "{{ messages[0].content }}!")
    with raises(DataError, "position-not-found", prompt=0, position="role:user"):
        at("role:user", encode_prompts(model, ["a"], CHAT)[0])


def test_roles_need_a_chat_and_a_system_message(llama):
    with raises(UsageError, "chat-needed"):
        at("role:user", encode_prompts(llama, ["a"])[0])
    with raises(DataError, "no-system-message", prompt=1):
        at("role:system", encode_prompts(llama, ["a"], CHAT)[0], 1)


def test_a_search_finds_the_user_s_text_and_not_the_template(llama):
    chat = PromptFormat(chat=True, system="use it")
    prompt = encode_prompts(llama, ["use a pen, use"], chat)[0]
    assert read(llama, prompt, range(at("text:use", prompt)[0] + 1)).endswith("<use>use a pen, use")
    assert read(llama, prompt, at("re:use", prompt)) == "useuse"
    with raises(DataError, "position-not-found", prompt=7, position="text:it"):
        at("text:it", prompt, 7)
    with raises(DataError, "position-not-found", prompt=7, position="re:^pen"):
        at("re:^pen", prompt, 7)
    with raises(DataError, "position-not-found", position="re:q*"):
        at("re:q*", prompt)


ALPHABET = "ab hié☃"


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.text(st.sampled_from(ALPHABET), min_size=1, max_size=10), chat=st.booleans())
def test_every_character_is_found_in_the_tokens_that_carry_it(models_by_kind, kind, text, chat):
    """Taken together in order, the tokens of all characters are those of the text, without gaps."""
    model = models_by_kind[kind]
    prompt = encode_prompts(model, [text], PromptFormat(chat=chat))[0]
    own = at(r"re:(?s:.)", prompt)
    assert own == list(range(own[0], own[-1] + 1))
    assert at("last_content", prompt) == own[-1:]
    assert text.strip() in read(model, prompt, own)
    for character in set(text):
        found = at(f"re:{re.escape(character)}", prompt)
        assert character in read(model, prompt, found) or character == " "
        assert at(f"text:{character}", prompt) == found[-1:]
    if chat:
        assert at("role:user", prompt)[0] < own[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_blank_at_the_end_is_a_token_of_its_own(models_by_kind, kind):
    prompt = encode_prompts(models_by_kind[kind], ["ab = "])[0]
    assert at("text: ", prompt) == at("last", prompt)
    assert at("text:=", prompt) < at("last", prompt)


def test_pieces_of_a_character_count_as_it(llama):
    prompt = encode_prompts(llama, ["a☃b"])[0]
    assert at("re:☃", prompt) == [2, 3, 4]
    assert at("text:☃", prompt) == [4]


def test_what_was_cut_off_is_an_error_that_names_the_prompt(llama):
    left = encode_prompts(llama, ["abcdef"], max_length=3)[0]
    assert at("text:f", left) == [2] == at("last_content", left)
    assert at("re:[a-f]", left) == [1, 2]
    right = encode_prompts(llama, ["abcdef"], max_length=3, truncate="right")[0]
    assert at("text:b", right) == [2] == at("last_content", right)
    for prompt, gone in ((left, "a"), (right, "f")):
        with raises(DataError, "position-cut-off", prompt=6, position=f"text:{gone}") as raised:
            at(f"text:{gone}", prompt, 6)
        assert "--max-length" in raised.value.hint
    with raises(DataError, "position-cut-off", prompt=6, position="re:a.c"):
        at("re:a.c", left, 6)
    chat = encode_prompts(llama, ["abcdef"], CHAT, max_length=3)[0]
    with raises(DataError, "position-cut-off", prompt=4, position="last_content"):
        at("last_content", chat, 4)
    with raises(DataError, "position-cut-off", prompt=4, position="role:user"):
        at("role:user", chat, 4)
    kept = encode_prompts(llama, ["abcdef"], CHAT, max_length=6, truncate="right")[0]
    assert read(llama, kept, at("last_content", kept)) == "b"
    assert read(llama, kept, at("role:user", kept)) == "<use>"
    assert read(llama, kept, at("role:assistant", kept)) == "<a>"


def test_a_later_occurrence_that_was_cut_off_is_not_replaced_by_an_earlier(llama):
    prompt = encode_prompts(llama, ["ab ab"], max_length=4, truncate="right")[0]
    with raises(DataError, "position-cut-off"):
        at("text:b", prompt)


def test_bos_that_the_user_wrote_is_the_user_s(llama):
    written, added = encode_prompts(llama, ["<s>ab", "ab"])
    assert at("text:<s>", written) == [0]
    assert at("re:(?s:.)+", written) == [0, 1, 2]
    assert at("re:(?s:.)+", added) == [1, 2]


def test_a_tokenizer_without_offsets_says_so(llama, monkeypatch):
    monkeypatch.setattr(type(llama.tokenizer._tokenizer), "is_fast", False)
    prompt = encode_prompts(llama, ["ab"])[0]
    assert at("last_content", prompt) == [2]
    with raises(ModelError, "no-token-offsets"):
        at("text:a", prompt)


def test_token_ids_alone_have_indices_only():
    prompt = EncodedPrompt(np.array([5, 6], np.int32))
    assert at("-1", prompt) == [1]
    for name in ("text:a", "role:user", "last_content"):
        with raises(DataError, "text-unknown", prompt=1):
            at(name, prompt, 1)
