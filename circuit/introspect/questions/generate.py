r"""``circuit introspect generate``: answers in several formats, and at which token they begin.

With ``--compare-format`` every prompt is asked in up to four variants
(``circuit.introspect.inputs.variants``); of two that give the same tokens the later one says so.

    onset      number, from 0, of the first generated token that carries a character of the answer
    answer     what meets the criterion; of ``expected`` the prompt's own expected text, as whole
               words. Without a criterion a prompt that ends in a sum (``50 + 25 =``) expects its
               value, and other prompts have no onset
    at once    nothing but whitespace precedes the answer

Proportions have Wilson's interval over prompts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from circuit.introspect.inputs.per_prompt import expected_texts
from circuit.introspect.inputs.variants import Variant, variants
from circuit.introspect.plans import asked, question
from circuit.methods.text.criteria import match_span
from circuit.methods.uncertainty.scores import wilson
from circuit.present.document import Document, Estimate, Facts, Notice, Number, Part, Table, Text
from circuit.present.numbers import few_groups
from circuit.stages.options import ModelOptions, OutputOptions, SeedOptions, chat_option
from circuit.stages.rows.prompt_input import PromptInput, read_prompt_input
from circuit.stages.rows.prompting import encode
from circuit.stages.run import Command, Plan, Result
from circuit.values import schemas
from circuit.values.requests import group, option
from circuit.values.sampling import Sampling

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel
    from circuit.model.prompts.tokens import EncodedPrompt


@dataclass(frozen=True, kw_only=True)
class GenerateRequest:
    """Let the model answer, in several formats, and see at which token the answer begins.

    Examples:
      circuit introspect generate -m tiny -p "2 + 2 =" --compare-format --show-tokens
      circuit introspect generate -m tiny -p "50 + 25 = |31 + 4 = " --raw \
--expected "75|35" -n 4 -o answers.json
    """

    model: ModelOptions = group(ModelOptions)
    prompts: str = option("--prompt", "--prompts", "-p", help="a|b, @lines.txt or @prompts.json.")
    max_tokens: int = option(
        "--max-tokens", "-n", help="Tokens to generate at most.", default=10, minimum=1
    )
    temperature: float = option("--temperature", "-t", help="0 is greedy.", default=0.0, minimum=0)
    compare_format: bool = option(
        "--compare-format",
        help="Ask with and without a space at the end, raw and as chat.",
        default=False,
    )
    show_tokens: bool = option(
        "--show-tokens", help="Show every token of the answers.", default=False
    )
    expected: str | None = option(
        "--expected",
        help="The expected answer: one text, or a|b.",
        default=None,
        shown_default="the prompt set's, or the value of a sum",
    )
    criterion: str | None = option(
        "--criterion",
        "-c",
        help="What counts as the answer instead: number, function_call, regex:PATTERN, or a text.",
        default=None,
    )
    chat: bool | None = chat_option("the prompt set's, or chat if there is a template")
    output: OutputOptions = group(OutputOptions)
    seed: SeedOptions = group(SeedOptions)


@dataclass(frozen=True, kw_only=True)
class GeneratedAnswer:
    """One answer: the variant of the prompt, its tokens, and where in it the answer begins."""

    prompt: str
    way: str
    n_prompt_tokens: int
    text: str
    tokens: list[str]
    expected: str | None
    onset: int | None
    at_once: bool | None
    same_tokens_as: str | None


@dataclass(frozen=True, kw_only=True)
class AnswerRate:
    """How many prompts of a variant have the answer, and at once, with Wilson's intervals."""

    name: str
    n: int
    found: int
    found_interval: tuple[float, float]
    at_once: int
    at_once_interval: tuple[float, float]
    median_onset: float | None


@dataclass(frozen=True, kw_only=True)
class GenerateResult(Result):
    """Every answer, and the rates by variant where answers are judged."""

    model: str
    criterion: str | None
    answers: list[GeneratedAnswer]
    ways: list[AnswerRate]
    has_template: bool
    n_groups: int


def plan(request: GenerateRequest) -> Plan[GenerateResult]:
    """Read the prompts and the answers that are expected."""
    given = read_prompt_input(request.prompts)
    expected_texts(given, request.expected, request.criterion)
    sampling = Sampling(request.max_tokens, temperature=request.temperature, seed=request.seed.seed)
    return question(
        request,
        GenerateResult,
        schemas.GENERATION,
        inputs=given.inputs,
        parameters=asked(request, without=["show_tokens"], prompts=given.texts),
        answer=lambda model, _: generate_answers(
            model,
            given,
            sampling,
            chat=request.chat,
            compare_format=request.compare_format,
            expected=request.expected,
            criterion=request.criterion,
        ),
    )


def generate_answers(
    model: "LoadedModel",
    given: PromptInput,
    sampling: Sampling = Sampling(10),
    *,
    chat: bool | None = None,
    compare_format: bool = False,
    expected: str | None = None,
    criterion: str | None = None,
) -> GenerateResult:
    """Answer every prompt, with ``compare_format`` in every variant."""
    from circuit.model.forward.generate import generate
    from circuit.model.forward.token_states import token_texts

    wanted = expected_texts(given, expected, criterion)
    criterion = None if criterion == "expected" else criterion
    template = bool(model.tokenizer.has_chat_template)
    own = given.form(chat, default=template)
    every = [Variant(own.name, given.texts, own)]
    if compare_format:
        every = variants(given.texts, own, template=template)
    encoded = [encode(model, each.texts, each.form) for each in every]
    answers: list[GeneratedAnswer] = []
    for number, variant in enumerate(every):
        for row, answer in enumerate(generate(model, encoded[number], sampling)):
            begins, at_once = _onset_in(model, answer.ids, wanted[row], criterion)
            answers.append(
                GeneratedAnswer(
                    prompt=variant.texts[row],
                    way=variant.name,
                    n_prompt_tokens=len(encoded[number][row].ids),
                    text=answer.text,
                    tokens=token_texts(model, answer.ids),
                    expected=wanted[row],
                    onset=begins,
                    at_once=at_once,
                    same_tokens_as=_same_tokens(every, encoded, number, row),
                )
            )
    judged = criterion is not None or any(wanted)
    return GenerateResult(
        model=model.id,
        criterion=criterion or ("expected" if any(wanted) else None),
        answers=answers,
        ways=[_rate(each.name, answers) for each in every] if judged else [],
        has_template=template,
        n_groups=given.n_groups,
    )


def _onset_in(
    model: "LoadedModel", ids: Sequence[int], expected: str | None, criterion: str | None
) -> tuple[int | None, bool | None]:
    """Return at which token the answer begins, and whether at once; None without a criterion."""
    if criterion is None and expected is None:
        return None, None
    text = str(model.tokenizer.decode(ids))
    span = match_span(criterion or "expected", text, expected=expected)
    if span is None:
        return None, False
    return onset(model, ids, span[0]), not text[: span[0]].strip()


def _same_tokens(
    every: Sequence[Variant], encoded: "Sequence[Sequence[EncodedPrompt]]", number: int, row: int
) -> str | None:
    """Name the first earlier variant in which a prompt has the same tokens."""
    ids = encoded[number][row].ids
    earlier = zip(every[:number], encoded[:number], strict=True)
    return next((v.name for v, p in earlier if np.array_equal(p[row].ids, ids)), None)


def onset(model: "LoadedModel", ids: Sequence[int], start: int) -> int:
    """Return the first token that carries the character ``start`` of the decoded text."""
    for number in range(len(ids)):
        if len(model.tokenizer.decode(ids[: number + 1])) > start:
            return number
    return len(ids) - 1


def _rate(name: str, answers: Sequence[GeneratedAnswer]) -> AnswerRate:
    judged = [each for each in answers if each.way == name and each.at_once is not None]
    onsets = [each.onset for each in judged if each.onset is not None]
    at_once = sum(bool(each.at_once) for each in judged)
    return AnswerRate(
        name=name,
        n=len(judged),
        found=len(onsets),
        found_interval=wilson(len(onsets), len(judged)),
        at_once=at_once,
        at_once_interval=wilson(at_once, len(judged)),
        median_onset=float(median(onsets)) if onsets else None,
    )


def present(result: GenerateResult, *, show_tokens: bool = False) -> Document:
    """Show every answer, then the rates by variant."""
    parts: list[Part] = [Facts([("Model", result.model)])]
    if len({each.way for each in result.answers}) == 2 and not result.has_template:
        parts.append(Notice("the model has no chat template: raw text only."))
    parts += [_answer(each, show_tokens) for each in result.answers]
    if result.ways:
        parts += [_rates(result.ways), *few_groups(result.n_groups)]
    return Document("", parts)


def _answer(found: GeneratedAnswer, show_tokens: bool) -> Text:
    same = f", the same tokens as {found.same_tokens_as}" if found.same_tokens_as else ""
    lines = [
        "",
        f"Prompt: {found.prompt!r} ({found.way}, {found.n_prompt_tokens} tokens){same}",
        f"  Output: {found.text!r}",
    ]
    if show_tokens:
        lines.append(f"  Tokens ({len(found.tokens)}): {found.tokens}")
    if found.at_once is not None:
        lines.append(f"  Onset: {_onset(found)}")
    return Text(lines)


def _onset(found: GeneratedAnswer) -> str:
    expected = "the answer" if found.expected is None else repr(found.expected)
    if found.onset is None:
        return f"{expected} does not occur"
    when = "at once" if found.at_once else "later"
    return f"{expected} begins at token {found.onset} ({found.tokens[found.onset]!r}), {when}"


def _rates(rates: Sequence[AnswerRate]) -> Table:
    return Table.of(
        rates,
        {
            "asked": lambda each: each.name,
            "n": lambda each: each.n,
            "has the answer": lambda each: Estimate(each.found / each.n, *each.found_interval),
            "at once": lambda each: Estimate(each.at_once / each.n, *each.at_once_interval),
            "median onset": lambda each: Number(each.median_onset, "g"),
        },
        title="Onset of the answer",
    )


COMMAND = Command(
    request=GenerateRequest,
    plan=plan,
    present=present,
    display=lambda request: {"show_tokens": request.show_tokens},
    result=GenerateResult,
)
