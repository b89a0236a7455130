"""Pairs of prompts that differ in what matters and in nothing else, with their answers.

A pair is a *clean* prompt, a *corrupt* one, the token that answers the clean one and the one that
answers the corrupt one. The logit difference logit(answer) − logit(wrong) at the last token is
large in the clean run and small in the corrupt run. By default the answers are the model's
top-1 tokens.

Positions are compared one by one, so both prompts need equally many tokens (Zhang & Nanda 2023,
2309.16042: symmetric replacement); with ``align="end"`` they are counted from the end, and the
extra tokens at the beginning of the longer prompt are not patched.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from circuit.artifacts.files.documents import read_json
from circuit.artifacts.prompts.prompts import group_of
from circuit.artifacts.prompts.read import read_prompts
from circuit.errors import DataError, UsageError
from circuit.introspect.inputs.choices import single_token, token_text
from circuit.stages.rows.prompt_input import PromptInput
from circuit.stages.rows.prompting import encode
from circuit.values.json_values import Json
from circuit.values.prompt_format import PromptFormat

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel
    from circuit.model.prompts.lists import Ids

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
class AlignedPair:
    """A pair as tokens; ``n_compared`` of them can be compared, from the end."""

    pair: Pair
    clean: "Ids"
    corrupt: "Ids"
    answer: int
    wrong: int
    n_compared: int


def read_pairs(
    clean: str | None,
    corrupt: str | None,
    file: str | None,
    *,
    answer: str | None = None,
    wrong: str | None = None,
) -> tuple[list[Pair], PromptInput]:
    """Read one pair or a file of pairs, and where they come from: the file and a prompt set."""
    if file is not None and (clean is not None or corrupt is not None):
        message = "the pairs are given twice"
        hint = "use --clean and --corrupt, or --pairs"
        raise UsageError("conflicting-options", message, hint=hint)
    if file is not None:
        return _file(Path(file.removeprefix("@")), answer, wrong)
    if clean is None or corrupt is None:
        message = "a pair of prompts is needed"
        raise UsageError("no-pair", message, hint="give --clean and --corrupt, or --pairs FILE")
    return [Pair(clean, corrupt, answer, wrong)], PromptInput([])


def _file(path: Path, answer: str | None, wrong: str | None) -> tuple[list[Pair], PromptInput]:
    document = read_json(path)
    if isinstance(document, list):
        listed = [_listed(each, n, path, answer, wrong) for n, each in enumerate(document)]
        return listed, PromptInput([], None, path)
    prompts = read_prompts(path)
    rows = prompts.pairs()
    if not len(rows):
        message = f"`{path}` has no contrast pairs"
        hint = "circuit introspect circuit takes prompts with labels and without pairs"
        raise DataError("no-pair", message, hint=hint, file=str(path))
    chosen = [(prompts.prompts[int(a)], prompts.prompts[int(b)]) for a, b in rows]
    pairs = [Pair(a.text, b.text, answer, wrong, str(group_of(a))) for a, b in chosen]
    return pairs, PromptInput([], prompts, path)


def _listed(each: Json, number: int, path: Path, answer: str | None, wrong: str | None) -> Pair:
    known = {"clean", "corrupt", "answer", "wrong", "group"}
    texts = each if isinstance(each, dict) else {}
    named = {name: text for name, text in texts.items() if isinstance(text, str)}
    if len(named) < len(texts) or not {"clean", "corrupt"} <= set(named) <= known:
        message = f"entry {number} of `{path}` is not a pair: {json.dumps(each)[:60]}"
        raise DataError("not-a-pair", message, hint=f"write {FORM}", entry=number)
    return Pair(
        clean=named["clean"],
        corrupt=named["corrupt"],
        answer=named.get("answer", answer),
        wrong=named.get("wrong", wrong),
        group=named.get("group", ""),
    )


def check_alignment(how: str) -> None:
    """Raise ``UsageError`` for an unknown alignment."""
    if how not in ALIGNMENTS:
        message, hint = f"unknown alignment `{how}`", f"use {' or '.join(ALIGNMENTS)}"
        raise UsageError("unknown-alignment", message, hint=hint, alignment=how)


def check_pairs(pairs: Sequence[Pair]) -> None:
    """Raise ``DataError`` where there is no pair, or an empty prompt in one."""
    if not pairs:
        raise DataError("no-pair", "a pair of prompts is needed", hint=f"write {FORM}")
    for number, pair in enumerate(pairs):
        for name, text in (("clean", pair.clean), ("corrupt", pair.corrupt)):
            if not text:
                message = f"the {name} prompt of pair {number} is empty"
                hint = "a prompt has one token or more"
                raise DataError("empty-prompt", message, hint=hint, pair=number, prompt=name)


def align(
    model: "LoadedModel", pairs: Sequence[Pair], form: PromptFormat, how: str = "same"
) -> list[AlignedPair]:
    """Encode pairs and choose their answers.

    Raises ``DataError`` for prompts of unequal length, unless they are compared from the ``end``,
    and for two equal answers.
    """
    check_alignment(how)
    check_pairs(pairs)
    clean = [each.ids for each in encode(model, [pair.clean for pair in pairs], form)]
    corrupt = [each.ids for each in encode(model, [pair.corrupt for pair in pairs], form)]
    for number, (a, b) in enumerate(zip(clean, corrupt, strict=True)):
        if len(a) != len(b) and how == "same":
            message = f"the prompts of pair {number} have {len(a)} and {len(b)} tokens"
            hint = "write them with as many tokens, or compare them from the end: --align end"
            raise DataError("prompt-lengths-differ", message, hint=hint, pair=number)
    return [
        _aligned(model, *each, number)
        for number, each in enumerate(zip(pairs, clean, corrupt, strict=True))
    ]


def _aligned(
    model: "LoadedModel", pair: Pair, clean: "Ids", corrupt: "Ids", number: int
) -> AlignedPair:
    answer, wrong = (
        single_token(model, given) if given is not None else _top1(model, ids)
        for given, ids in ((pair.answer, clean), (pair.wrong, corrupt))
    )
    if answer == wrong:
        message = f"both prompts of pair {number} are answered {token_text(model, answer)!r}"
        hint = "name two tokens with --answer and --wrong, or choose prompts whose answers differ"
        raise DataError("equal-answers", message, hint=hint, pair=number)
    return AlignedPair(pair, clean, corrupt, answer, wrong, min(len(clean), len(corrupt)))


def _top1(model: "LoadedModel", ids: "Ids") -> int:
    from circuit.model.patching.patching import read_last

    return int(np.argmax(read_last(model, ids)))
