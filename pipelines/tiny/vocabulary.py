"""The tokenizer: byte-level BPE in which an unseen word has the same pieces with and without its space.

A model that copies "in Zorvik" into `"location": "Zorvik"` has to write the pieces it read. In an
ordinary byte-level BPE " Zorvik" and "Zorvik" split differently, and a small model can't learn the
correspondence for words it never saw. So the merges are learnt in two steps:

1. ordinary BPE over the pre-tokens of the training text with their leading spaces cut off;
2. for the words and signs that stand after a space most often, the merge (space, word), at the end of
   the list. Only whole words of at least two letters get one.

A word outside that list is a space followed by its pieces, wherever it stands. Digits are single
tokens, and a space before a digit is a token of its own, so that "100 - 37 =" is a prefix of
"100 - 37 = " in tokens as it is in text.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from markup import ASSISTANT, BOS, CALL, CALL_END, END, SYSTEM, TOOLS, USER
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
    processors,
    trainers,
)

PIECES = 1_450
SPACED = 270
# "(location)" is one pre-token, so that a tool in the header costs two tokens.
SPLIT = r"'(?:[sdmt]|ll|ve|re)\b|\([\p{L}_]+\)| ?[\p{L}_]+|\p{N}| ?[^\s\p{L}\p{N}_]+|\s+(?!\S)|\s+"
SPECIAL = (BOS, END, SYSTEM, TOOLS, USER, ASSISTANT)
SPACE = "Ġ"
TEMPLATE = """\
{{- bos_token -}}
{%- set rest = messages -%}
{%- if messages and messages[0]['role'] == 'system' -%}
{{- '<|system|>' + messages[0]['content'] + '<|end|>' -}}
{%- set rest = messages[1:] -%}
{%- endif -%}
{%- if tools -%}
{{- '<|tools|>' -}}
{%- for tool in tools -%}
{%- set spec = tool.function if tool.function is defined else tool -%}
{{- ' ' + spec.name + '(' + (spec.parameters.properties | list | join(', ')) + ')' -}}
{%- endfor -%}
{{- '<|end|>' -}}
{%- endif -%}
{%- for message in rest -%}
{%- if message['role'] == 'assistant' -%}
{{- '<|assistant|>' + message['content'] + '<|end|>' -}}
{%- else -%}
{{- '<|user|>' + message['content'] + '<|end|>' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}
"""


def train_tokenizer(documents: Iterable[str]) -> Tokenizer:
    """Learn the vocabulary from whole documents."""
    markers = re.compile("|".join(re.escape(text) for text in (*SPECIAL, CALL, CALL_END)))
    texts = [piece for text in documents for piece in markers.split(text) if piece]
    splitter = pre_tokenizers.Split(Regex(SPLIT), "isolated")
    words = Counter(word for text in texts for word, _ in splitter.pre_tokenize_str(text))
    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bare.train_from_iterator(
        (word.lstrip(" ") for word in words.elements()),
        trainers.BpeTrainer(
            vocab_size=PIECES,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    return assemble(json.loads(bare.to_str())["model"], words)


def assemble(model: dict, words: Counter[str]) -> Tokenizer:
    """Add the merges with a space and the special tokens to a BPE without them."""
    order = [*SPECIAL, CALL, CALL_END, *sorted(model["vocab"], key=model["vocab"].__getitem__)]
    merges = [tuple(pair) for pair in model["merges"]]
    common = [word[1:] for word, _ in words.most_common() if word.startswith(" ") and len(word) > 1]
    single = [
        word for word in common if word in model["vocab"] and (len(word) > 1 or not word.isalpha())
    ]
    for word in single[:SPACED]:
        merges.append((SPACE, word))
        order.append(SPACE + word)
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(order)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(text, special=True, normalized=False) for text in SPECIAL]
    )
    tokenizer.add_tokens(
        [AddedToken(text, special=False, normalized=False) for text in (CALL, CALL_END)]
    )
    bos = tokenizer.token_to_id(BOS)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, bos)]
    )
    return tokenizer


def write_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the tokenizer's files in the layout of Hugging Face."""
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": END,
        "pad_token": END,
        "add_bos_token": True,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 512,
    }
    tokenizer.save(str(folder / "tokenizer.json"))
    text = json.dumps(config, indent=2) + "\n"
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")
    (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
