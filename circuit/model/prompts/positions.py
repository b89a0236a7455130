"""Positions: the spelling of where in a prompt a state is read, and the tokens that it names.

    last            the last token, whose output predicts the first token of the answer
    first           the first token
    last_content    the last token of the user's own text: in a chat, before what the template adds
    mean            the mean over all tokens but the first (unless it is the only one), which is an
                    attention sink with a norm 10 to 100 times that of the others
    all             every token
    3, -2           an index, from the end when negative
    -6:, 2:5, :3    a Python slice, cut to the prompt: the last six tokens, or all of fewer
    text:Oslo       the last token of the last occurrence of a text. A name is often several tokens,
                    and the model has read all of it at the last (Meng et al. 2022, 2202.05262)
    re:[0-9]+       every token that holds a character of a match of a regular expression
    role:user       the last token before the text of a role in a chat, that is, the end of its
                    header: ``<|user|>``, or the line end after ``<|im_start|>user``.
                    ``role:system`` needs a system message; ``role:assistant`` is the token before
                    the answer

``text:`` and ``re:`` search the user's text as the model reads it: what a chat template trims or
changes is not found, and what it adds around the text is not searched. A piece of a character
counts as that character. Positions count in the shortened prompt. A prompt that lacks a position,
or lost it to shortening, is a ``DataError``; no other token is used instead.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from circuit.errors import DataError, UsageError
from circuit.model.prompts.lists import Ids
from circuit.model.prompts.tokens import EncodedPrompt

Chooser = Callable[[EncodedPrompt, int], Ids]
ROLES = ("system", "user", "assistant")
SPELLINGS = "last, last_content, first, mean, all, -2, -6:, text:…, re:… or role:user"
SEARCHED = ("text:", "re:")  # spellings that may hold a comma


@dataclass(frozen=True)
class Position:
    """One position: ``name`` is the spelling that files carry.

    ``is_ragged``: prompts may have any number of its tokens; all others have one. ``is_mean``: one
    row, averaged over the tokens that ``indices`` returns.
    """

    name: str
    _choose: Chooser = field(repr=False, compare=False)
    is_ragged: bool = False
    is_mean: bool = False

    def indices(self, prompt: EncodedPrompt, number: int = 0) -> Ids:
        """Return the tokens of prompt ``number``, ascending: int32, at least one.

        Several positions of a prompt are fastest one after the other: the spans that ``text:``,
        ``re:``, ``role:`` and, in a chat, ``last_content`` need are cached for one prompt.
        """
        return self._choose(prompt, number)


def parse_positions(texts: Sequence[str] | str) -> list[Position]:
    """Return the positions of one or more option values, in order, each once.

    A value is a list with commas, unless it starts with ``text:`` or ``re:``: then it is one
    position.
    """
    values = [texts] if isinstance(texts, str) else texts
    spellings = [spelling for value in values for spelling in _spellings(value)]
    if not spellings:
        raise UsageError("no-positions", "no position is given", hint=f"use {SPELLINGS}")
    found = [parse_position(spelling) for spelling in spellings]
    return list({position.name: position for position in found}.values())


def _spellings(value: str) -> list[str]:
    if value.startswith(SEARCHED):
        return [value]
    return [part if part.startswith(SEARCHED) else part.strip() for part in value.split(",")]


def parse_position(spelling: str) -> Position:
    """Return the position of one spelling."""
    if spelling in NAMED:
        return NAMED[spelling]
    if re.fullmatch(r"-?[0-9]+", spelling):
        return Position(str(int(spelling)), _at(int(spelling)))
    if bounds := re.fullmatch(r"(-?[0-9]+)?:(-?[0-9]+)?", spelling):
        start, stop = (None if b is None else int(b) for b in bounds.groups())
        if (start, stop) != (None, None):
            return _slice(start, stop)
    kind, _, argument = spelling.partition(":")
    if kind in KINDS and argument:
        return KINDS[kind](argument)
    raise UsageError(
        "unknown-position",
        f"unknown position `{spelling}`",
        hint=f"use {SPELLINGS}",
        position=spelling,
    )


def _at(index: int) -> Chooser:
    def choose(prompt: EncodedPrompt, number: int) -> Ids:
        length = len(prompt.ids)
        if not -length <= index < length:
            raise DataError(
                "position-out-of-range",
                f"position {index} of prompt {number} is out of range: it has {length} tokens",
                hint="choose another position, or leave the prompt out",
                prompt=number,
                position=str(index),
                n_tokens=length,
            )
        return _one(index % length)

    return choose


def _slice(start: int | None, stop: int | None) -> Position:
    name = f"{'' if start is None else start}:{'' if stop is None else stop}"

    def choose(prompt: EncodedPrompt, number: int) -> Ids:
        found = np.arange(len(prompt.ids), dtype=np.int32)[start:stop]
        if not len(found):
            raise DataError(
                "position-out-of-range",
                f"position `{name}` of prompt {number} is empty: it has {len(prompt.ids)} tokens",
                hint="choose another position, or leave the prompt out",
                prompt=number,
                position=name,
                n_tokens=len(prompt.ids),
            )
        return found

    return Position(name, choose, is_ragged=True)


def _every(prompt: EncodedPrompt, number: int) -> Ids:  # noqa: ARG001
    return np.arange(len(prompt.ids), dtype=np.int32)


def _all_but_first(prompt: EncodedPrompt, number: int) -> Ids:  # noqa: ARG001
    return np.arange(1 if len(prompt.ids) > 1 else 0, len(prompt.ids), dtype=np.int32)


def _last_content(prompt: EncodedPrompt, number: int) -> Ids:
    left = prompt.kept(prompt.content(number))
    if not len(left):
        raise DataError(
            "position-cut-off",
            f"prompt {number} has no `last_content`: shortening removed all of its text",
            hint="raise --max-length, or choose another position",
            prompt=number,
            position="last_content",
        )
    return left[-1:]


def _text(wanted: str) -> Position:
    name = f"text:{wanted}"

    def choose(prompt: EncodedPrompt, number: int) -> Ids:
        spans = prompt.spans(number)
        at = spans.text.rfind(wanted, *spans.content)
        if at < 0:
            raise DataError(
                "position-not-found",
                f"the text of prompt {number} does not contain `{wanted}`",
                hint="choose another position, or leave the prompt out",
                prompt=number,
                position=name,
            )
        end = at + len(wanted)
        return _kept(prompt, spans.carrying((end - 1, end))[-1:], name, number)

    return Position(name, choose)


def _regex(pattern: str) -> Position:
    name = f"re:{pattern}"
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(
            "not-a-pattern",
            f"`{pattern}` is not a regular expression: {error}",
            hint="the syntax is that of Python's re module",
            pattern=pattern,
        ) from error

    def choose(prompt: EncodedPrompt, number: int) -> Ids:
        spans = prompt.spans(number)
        start, end = spans.content
        matches = (match.span() for match in compiled.finditer(spans.text[start:end]))
        tokens = spans.carrying(*((start + a, start + b) for a, b in matches))
        if not len(tokens):
            raise DataError(
                "position-not-found",
                f"`{pattern}` matches no character of the text of prompt {number}",
                hint="choose another position, or leave the prompt out",
                prompt=number,
                position=name,
            )
        return _kept(prompt, tokens, name, number)

    return Position(name, choose, is_ragged=True)


def _role(role: str) -> Position:
    name = f"role:{role}"
    if role not in ROLES:
        raise UsageError(
            "unknown-role",
            f"unknown role `{role}`",
            hint=f"use one of: {', '.join(ROLES)}",
            role=role,
        )

    def choose(prompt: EncodedPrompt, number: int) -> Ids:
        source = prompt.origin(number)
        if not source.format.chat:
            raise UsageError(
                "chat-needed",
                f"position `{name}` needs a chat: a raw prompt has no roles",
                hint="use --chat, or choose another position",
                position=name,
            )
        spans = prompt.spans(number)
        start = source.role_start(role, prompt.text, spans)
        if start is None:
            raise DataError(
                "no-system-message",
                f"prompt {number} has no `{name}`, because it has no system message",
                hint="give one with --system",
                prompt=number,
            )
        if (before := spans.before(start)) < 0:
            raise DataError(
                "position-not-found",
                f"there is no token before the text of `{role}` in prompt {number}",
                hint="choose another position, or leave the prompt out",
                prompt=number,
                position=name,
            )
        return _kept(prompt, _one(before), name, number)

    return Position(name, choose)


def _kept(prompt: EncodedPrompt, whole: Ids, name: str, number: int) -> Ids:
    """Return the positions of the tokens in the shortened prompt."""
    left = prompt.kept(whole)
    if not len(left):
        raise DataError(
            "position-cut-off",
            f"`{name}` of prompt {number} was cut off when the prompt was shortened",
            hint="raise --max-length, or cut on the other side (--truncate)",
            prompt=number,
            position=name,
        )
    return left


def _one(index: int) -> Ids:
    return np.array([index], dtype=np.int32)


NAMED = {
    position.name: position
    for position in (
        Position("last", _at(-1)),
        Position("first", _at(0)),
        Position("last_content", _last_content),
        Position("mean", _all_but_first, is_mean=True),
        Position("all", _every, is_ragged=True),
    )
}
KINDS: dict[str, Callable[[str], Position]] = {"text": _text, "re": _regex, "role": _role}
