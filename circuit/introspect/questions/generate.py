r"""What a model writes after prompts, in several formats, and when it comes to the answer.

With ``compare_format`` every prompt is asked in up to four ways: without a blank at its end and with one, as raw text and as a user's turn
where the model has a chat template. A template may trim the text, so that two ways give the same tokens: that is said.

    onset      number, from 0, of the first generated token that carries a character of the answer
    answer     what meets the criterion; of ``expected`` the prompt's own expected text, as whole words. Without a criterion a prompt that
               ends in a sum (``50 + 25 =``) expects its value, and of others no onset is known
    at once    nothing but blanks stands before the answer

Shares have Wilson's interval over prompts.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from circuit.errors import UsageError
from circuit.methods.text.criteria import match_span, satisfies
from circuit.methods.uncertainty.scores import wilson
from circuit.stages.rows.prompt_input import PromptInput
from circuit.stages.rows.prompting import encode
from circuit.values.prompt_format import RAW, PromptFormat
from circuit.values.sampling import Sampling

_SUM = re.compile(r"(-?\d+)\s*([-+*x×/])\s*(-?\d+)\s*=\s*$")


@dataclass(frozen=True)
class Written:
    """One answer: the way in which it was asked, its tokens, and where in it the answer is."""

    prompt: str
    way: str
    n_prompt_tokens: int
    text: str
    tokens: list[str]
    expected: str | None
    onset: int | None
    at_once: bool | None
    same_tokens_as: str | None


@dataclass(frozen=True)
class Way:
    """How often one way of asking has the answer at all, and at once, with Wilson's intervals."""

    name: str
    n: int
    found: int
    found_interval: tuple[float, float]
    at_once: int
    at_once_interval: tuple[float, float]
    median_onset: float | None


@dataclass(frozen=True)
class Answers:
    """Everything that was written."""

    criterion: str | None
    answers: list[Written]
    ways: list[Way]
    has_template: bool
    n_groups: int

    def as_dict(self) -> dict[str, Any]:
        """Return everything, as JSON holds it."""
        return asdict(self)


def expected_texts(
    given: PromptInput, expected: str | None, criterion: str | None
) -> list[str | None]:
    """Return what each prompt is expected to be answered with: as given, as its set says, or the value of its sum."""
    if expected is not None:
        if criterion not in (None, "expected"):
            message = "--expected and --criterion both say what the answer is"
            raise UsageError(message, hint="give one of them")
        parts: list[str | None] = list(expected.split("|"))
        if len(parts) == 1:
            parts *= len(given.texts)
        if len(parts) != len(given.texts) or not all(part and part.strip() for part in parts):
            message = f"--expected names {len(parts)} texts for {len(given.texts)} prompts"
            raise UsageError(message, hint="give one for all, or a|b with one for each")
        return parts
    if criterion not in (None, "expected"):
        satisfies(str(criterion), "")
        return [None] * len(given.texts)
    own = given.prompt_set
    known = [None] * len(given.texts) if own is None else [p.expected for p in own.prompts]
    found = [k or value_of(text) for k, text in zip(known, given.texts, strict=True)]
    if criterion == "expected" and not all(found):
        satisfies("expected", "", expected=None)
    return found


def value_of(text: str) -> str | None:
    """Return the value of the sum that a prompt ends in, if it ends in one and the value is a whole number."""
    found = _SUM.search(text)
    if found is None:
        return None
    a, sign, b = int(found[1]), found[2], int(found[3])
    if sign == "/":
        return str(a // b) if b and a % b == 0 else None
    return str({"+": a + b, "-": a - b}.get(sign, a * b))


def generate_answers(
    model: Any,
    given: PromptInput,
    sampling: Sampling = Sampling(10),
    *,
    raw: bool | None = None,
    compare_format: bool = False,
    expected: str | None = None,
    criterion: str | None = None,
) -> Answers:
    """Answer every prompt, with ``compare_format`` in every way."""
    wanted = expected_texts(given, expected, criterion)
    named = None if criterion in (None, "expected") else criterion
    template = bool(model.tokenizer.has_chat_template)
    own = given.form(None if raw is None else not raw, default=template)
    written: list[Written] = []
    for name, texts, form in ways(given.texts, own, template, compare_format=compare_format):
        written += _answered(model, texts, name, form, wanted, named, sampling)
    marked = _marked(model, written, given, own, template, compare_format=compare_format)
    names = list(dict.fromkeys(each.way for each in marked))
    judged = named is not None or any(wanted)
    return Answers(
        named or ("expected" if any(wanted) else None),
        marked,
        [_way(name, [w for w in marked if w.way == name]) for name in names] if judged else [],
        template,
        given.n_groups,
    )


def ways(
    texts: Sequence[str], own: PromptFormat, template: bool, *, compare_format: bool
) -> list[tuple[str, list[str], PromptFormat]]:
    """Return the ways of asking: a name, the texts and the format of each."""
    if not compare_format:
        return [(own.name, list(texts), own)]
    bare = [text.rstrip(" ") for text in texts]
    spaced = [f"{text} " for text in bare]
    found = [
        ("raw, no blank", bare, RAW),
        ("raw, blank", spaced, RAW),
    ]
    if template:
        chat = PromptFormat(chat=True, system=own.system, tools=own.tools)
        found += [("chat, no blank", bare, chat), ("chat, blank", spaced, chat)]
    return found


def _answered(
    model: Any,
    texts: Sequence[str],
    name: str,
    form: PromptFormat,
    wanted: Sequence[str | None],
    criterion: str | None,
    sampling: Sampling,
) -> list[Written]:
    from circuit.model.forward.generate import generate

    encoded = encode(model, texts, form)
    answers = generate(model, encoded, sampling)
    return [
        _judged(model, text, name, len(prompt.ids), answer, expected, criterion)
        for text, prompt, answer, expected in zip(texts, encoded, answers, wanted, strict=True)
    ]


def _judged(
    model: Any,
    text: str,
    way: str,
    n_tokens: int,
    answer: Any,
    expected: str | None,
    criterion: str | None,
) -> Written:
    from circuit.model.forward.token_states import token_texts

    decoded = str(model.tokenizer.decode(answer.ids))
    span = None
    if criterion is not None or expected is not None:
        span = match_span(criterion or "expected", decoded, expected=expected)
    return Written(
        text,
        way,
        n_tokens,
        answer.text,
        token_texts(model, answer.ids),
        expected,
        None if span is None else onset(model, answer.ids, span[0]),
        None if criterion is None and expected is None else _at_once(decoded, span),
        None,
    )


def onset(model: Any, ids: Sequence[int], start: int) -> int:
    """Return the number of the first token that carries the character ``start`` of the decoded text."""
    for number in range(len(ids)):
        if len(model.tokenizer.decode(ids[: number + 1])) > start:
            return number
    return len(ids) - 1


def _at_once(text: str, span: tuple[int, int] | None) -> bool:
    return span is not None and not text[: span[0]].strip()


def _marked(
    model: Any,
    written: Sequence[Written],
    given: PromptInput,
    own: PromptFormat,
    template: bool,
    *,
    compare_format: bool,
) -> list[Written]:
    """Say of each way whether an earlier way of the same prompt gave the model the same tokens."""
    n = len(given.texts)
    every = ways(given.texts, own, template, compare_format=compare_format)
    ids = [[p.ids.tolist() for p in encode(model, texts, form)] for _, texts, form in every]
    marked = []
    for i, each in enumerate(written):
        way, row = divmod(i, n)
        same = next((every[k][0] for k in range(way) if ids[k][row] == ids[way][row]), None)
        marked.append(Written(**{**asdict(each), "same_tokens_as": same}))
    return marked


def _way(name: str, written: Sequence[Written]) -> Way:
    judged = [each for each in written if each.at_once is not None]
    found = sorted(each.onset for each in judged if each.onset is not None)
    at_once = sum(bool(each.at_once) for each in judged)
    middle = (found[(len(found) - 1) // 2] + found[len(found) // 2]) / 2 if found else None
    return Way(
        name,
        len(judged),
        len(found),
        wilson(len(found), len(judged)),
        at_once,
        wilson(at_once, len(judged)),
        middle,
    )
