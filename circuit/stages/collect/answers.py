"""What the model itself answers to each prompt of an archive, and what is made of it.

Answers are greedy. Each is judged by every criterion (``circuit.methods.text.criteria``); of a tool
call the verdict is the name of the tool. They lie beside the archive
(``circuit.artifacts.activations.answers``), a unit of rows at a time, so that a run that was killed
goes on after the last whole unit. A unit is answered as a whole or not at all, and is cut by the
lengths of the prompts alone: which prompts run together is the same in every run, and so is the
rounding of their sums.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from circuit.artifacts.activations.answers import Answer, AnswersWriter, Header, open_answers
from circuit.artifacts.prompts.prompts import PromptSet
from circuit.errors import UsageError
from circuit.methods.text.criteria import verdict
from circuit.stages.run import Track, untracked
from circuit.values.sampling import Sampling

UNIT = 32  # prompts that are answered together


@dataclass(frozen=True)
class AnswerOptions:
    """How long an answer may be, and by what it is judged."""

    max_tokens: int
    criteria: tuple[str, ...] = ("function_call",)

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            message = f"--generate {self.max_tokens} leaves no room for an answer"
            raise UsageError("out-of-range", message, hint="ask for at least one token")
        if not self.criteria or len(set(self.criteria)) < len(self.criteria):
            message = "the criteria of the answers are not distinct, or there is none"
            raise UsageError("criteria-not-distinct", message, hint="name each --criterion once")

    def header(self, key: str) -> Header:
        """Return the header of the file of answers; ``key`` stands for the rest of the run."""
        return Header(key=key, max_tokens=self.max_tokens, criteria=self.criteria)


def check_asked(
    model: Any, encoded: Sequence[Any], prompts: PromptSet, asked: AnswerOptions, *, first: int = 0
) -> None:
    """Raise, before anything is computed, what answering and judging these prompts would raise.

    ``first`` is the number of the first prompt of ``encoded``.
    """
    from circuit.model.forward.generate import check_room

    check_room(model, encoded, asked.max_tokens, first=first)
    check_criteria(prompts, asked)


def check_criteria(prompts: PromptSet, asked: AnswerOptions) -> None:
    """Raise, before there is a model, what judging these prompts would raise."""
    for prompt in prompts.prompts:
        _verdicts(asked, "", prompt.expected)


def answer_all(
    model: Any,
    encoded: Sequence[Any],
    prompts: PromptSet,
    asked: AnswerOptions,
    writer: AnswersWriter,
    *,
    track: Track = untracked,
) -> dict[str, Any]:
    """Answer the prompts that have no answer yet, finish the file, and return its summary.

    ``encoded`` are the prompts at ``writer.rows``, in that order; ``prompts`` is the whole set.
    """
    from circuit.model.forward.generate import may_be_ragged

    ragged = may_be_ragged(model)
    units = units_of([len(each.ids) for each in encoded])
    for unit in track(units, "Answering", len(units)):
        rows = [writer.rows[i] for i in unit]
        if not writer.has(rows):
            batch = [encoded[i] for i in unit]
            writer.put(answers(model, batch, rows, prompts, asked, ragged=ragged))
    return summary(writer.finish())


def units_of(lengths: Sequence[int]) -> list[list[int]]:
    """Cut the prompts, longest first, into units that are answered together."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    return [order[i : i + UNIT] for i in range(0, len(order), UNIT)]


def answers(
    model: Any,
    encoded: Sequence[Any],
    rows: Sequence[int],
    prompts: PromptSet,
    asked: AnswerOptions,
    *,
    ragged: bool | None = None,
) -> list[Answer]:
    """Answer and judge the prompts ``encoded`` of ``rows``; ``ragged``: see ``generate``."""
    from circuit.model.forward.generate import generate

    written = generate(model, encoded, Sampling(asked.max_tokens), ragged=ragged)
    return [
        Answer(
            row=row,
            text=each.text,
            n_tokens=len(each.ids),
            finished=len(each.ids) < asked.max_tokens,
            verdicts=_verdicts(asked, each.text, prompts.prompts[row].expected),
        )
        for row, each in zip(rows, written, strict=True)
    ]


def _verdicts(asked: AnswerOptions, text: str, expected: str | None) -> dict[str, bool | str]:
    return {each: verdict(each, text, expected=expected) for each in asked.criteria}


def summary(path: Path) -> dict[str, Any]:
    """Count the answers of a file: finished ones, those that meet each criterion, tools called."""
    header, found = open_answers(path)
    return {
        "max_tokens": header.max_tokens,
        "criteria": list(header.criteria),
        **_counts(found, header.criteria),
    }


def added(summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Add up the summaries of an archive's shards."""
    tools = Counter[str]()
    for each in summaries:
        tools.update(each["tools"])
    return {
        **summaries[0],
        "n": sum(each["n"] for each in summaries),
        "finished": sum(each["finished"] for each in summaries),
        "met": {name: sum(each["met"][name] for each in summaries) for name in summaries[0]["met"]},
        "tools": dict(sorted(tools.items())),
    }


def _counts(found: Iterable[Answer], criteria: Sequence[str]) -> dict[str, Any]:
    n, finished, met = 0, 0, dict.fromkeys(criteria, 0)
    tools: Counter[str] = Counter()
    for answer in found:
        n, finished = n + 1, finished + answer.finished
        for criterion, said in answer.verdicts.items():
            met[criterion] += bool(said)
            tools.update([said] if isinstance(said, str) else [])
    return {"n": n, "finished": finished, "met": met, "tools": dict(sorted(tools.items()))}
