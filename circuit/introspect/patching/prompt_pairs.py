"""Pairs of prompts that differ in what matters and in nothing else, with the tokens that tell the answers apart.

A pair is a *clean* prompt, a *corrupt* one, the token that answers the clean one and the one that answers the corrupt one. The
logit difference logit(answer) − logit(wrong) at the last token is large in the clean run and small in the corrupt run. Where
no tokens are given they are the model's own likeliest ones.

Positions are compared one by one, so both prompts have to be as many tokens (Zhang & Nanda 2023, 2309.16042: symmetric replacement);
with ``align="end"`` they are counted from the end, and what the longer one has more at its beginning is not patched.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from circuit.artifacts.files.documents import read_json
from circuit.artifacts.prompts.prompts import PromptSet, group_of
from circuit.artifacts.prompts.read import read_prompts
from circuit.errors import DataError, UsageError
from circuit.introspect.inputs.choices import one_token, token_text
from circuit.stages.rows.prompting import choose_format, encode
from circuit.values.prompt_format import PromptFormat

ALIGNMENTS = ("same", "end")
FORM = '[{"clean": "…", "corrupt": "…", "answer": "…", "wrong": "…"}]'


@dataclass(frozen=True)
class Pair:
    """Two prompts, their answers where given, and the group that they belong to."""

    clean: str
    corrupt: str
    answer: str | None = None
    wrong: str | None = None
    group: str = ""


@dataclass(frozen=True, eq=False)
class Aligned:
    """A pair as tokens: ids of each prompt, the two answers' ids, and how many tokens can be compared from the end."""

    pair: Pair
    clean: Any
    corrupt: Any
    answer: int
    wrong: int
    n_compared: int


def read_pairs(
    clean: str | None, corrupt: str | None, file: str | None, answer: str | None, wrong: str | None
) -> tuple[list[Pair], PromptSet | None]:
    """Read what options name: one pair, or a file of pairs, whose format is returned with it when it is a set of prompts."""
    if file is not None and (clean is not None or corrupt is not None):
        message = "pairs are given twice"
        raise UsageError(message, hint="use --clean and --corrupt, or --pairs")
    if file is not None:
        return _file(Path(file.removeprefix("@")), answer, wrong)
    if clean is None or corrupt is None:
        message = "there is no pair of prompts"
        raise UsageError(message, hint="give --clean and --corrupt, or --pairs FILE")
    return [Pair(clean, corrupt, answer, wrong)], None


def _file(path: Path, answer: str | None, wrong: str | None) -> tuple[list[Pair], PromptSet | None]:
    document = read_json(path)
    if isinstance(document, list):
        return [
            _listed(each, number, path, answer, wrong) for number, each in enumerate(document)
        ], None
    prompts = read_prompts(path)
    rows = prompts.pairs()
    if not len(rows):
        message = f"`{path}` has no contrast pairs"
        hint = "circuit introspect circuit takes prompts with labels and without pairs"
        raise DataError(message, hint=hint)
    chosen = [(prompts.prompts[int(a)], prompts.prompts[int(b)]) for a, b in rows]
    pairs = [Pair(a.text, b.text, answer, wrong, str(group_of(a))) for a, b in chosen]
    return pairs, prompts


def _listed(each: Any, number: int, path: Path, answer: str | None, wrong: str | None) -> Pair:
    known = {"clean", "corrupt", "answer", "wrong", "group"}
    texts = isinstance(each, dict) and all(isinstance(text, str) for text in each.values())
    if not texts or not {"clean", "corrupt"} <= set(each) <= known:
        message = f"entry {number} of `{path}` is not a pair: {json.dumps(each)[:60]}"
        raise DataError(message, hint=f"write {FORM}")
    return Pair(**{"answer": answer, "wrong": wrong, **each})


def check_alignment(how: str) -> None:
    """Raise ``UsageError`` for a way to align that there is not."""
    if how not in ALIGNMENTS:
        raise UsageError(f"there is no alignment `{how}`", hint=f"use {' or '.join(ALIGNMENTS)}")


def check_pairs(pairs: Sequence[Pair]) -> None:
    """Raise ``DataError`` where there is no pair, or an empty prompt in one."""
    if not pairs:
        raise DataError("there are no pairs to compare", hint=f"write {FORM}")
    for number, pair in enumerate(pairs):
        for name, text in (("clean", pair.clean), ("corrupt", pair.corrupt)):
            if not text:
                message = f"the {name} prompt of pair {number} is empty"
                raise DataError(message, hint="a prompt has one token or more")


def align(
    model: Any, pairs: Sequence[Pair], form: PromptFormat, how: str = "same"
) -> list[Aligned]:
    """Encode pairs and choose their answers.

    Raises ``DataError`` for prompts of unequal length, unless they are compared from the ``end``, and for two equal answers.
    """
    check_alignment(how)
    check_pairs(pairs)
    clean = [each.ids for each in encode(model, [pair.clean for pair in pairs], form)]
    corrupt = [each.ids for each in encode(model, [pair.corrupt for pair in pairs], form)]
    for number, (a, b) in enumerate(zip(clean, corrupt, strict=True)):
        if len(a) != len(b) and how == "same":
            message = f"the prompts of pair {number} have {len(a)} and {len(b)} tokens"
            hint = "write them with as many tokens, or compare them from the end: --align end"
            raise DataError(message, hint=hint)
    return [
        _aligned(model, *each, number)
        for number, each in enumerate(zip(pairs, clean, corrupt, strict=True))
    ]


def _aligned(model: Any, pair: Pair, clean: Any, corrupt: Any, number: int) -> Aligned:
    answer, wrong = (
        one_token(model, given) if given is not None else _likeliest(model, ids)
        for given, ids in ((pair.answer, clean), (pair.wrong, corrupt))
    )
    if answer == wrong:
        message = f"both prompts of pair {number} are answered {token_text(model, answer)!r}"
        hint = "name two tokens with --answer and --wrong, or choose prompts whose answers differ"
        raise DataError(message, hint=hint)
    return Aligned(pair, clean, corrupt, answer, wrong, min(len(clean), len(corrupt)))


def _likeliest(model: Any, ids: Any) -> int:
    from circuit.model.patching.patching import read_last

    return int(np.argmax(read_last(model, ids)))


def choose_pair_format(given: PromptSet | None, chat: bool | None) -> PromptFormat:
    """Choose the format: as asked, else the set's own, else raw."""
    if given is not None:
        return choose_format(given, chat=chat, system=None, tools=None)
    return PromptFormat(chat=bool(chat))
