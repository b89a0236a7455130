"""Where the labels of an archive's rows come from: the prompt set, or what the model did.

    prompts             the label that the prompt set gives
    model               the verdict on the model's own answer (``collect --generate``), where there
                        is one criterion
    model:CRITERION     that of one criterion of several

With ``model`` the classes are ``not_CRITERION`` and ``CRITERION``, the positive one; a tool that
was called replaces the tool that was expected. Prompts that the annotator left without a label stay
without one, unless none has a label. Groups and pairs are those of the prompts: what must be held
out together does not depend on the answers. The agreement of the two labellings is a table of
counts; with two labels, the second is taken to mean that the criterion is met, and the rows in
which they differ are counted.
"""

import copy
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from circuit.artifacts.activations.activations import Activations
from circuit.artifacts.activations.answers import SUFFIX, Answer, Answers, read_answers
from circuit.artifacts.prompts.prompts import Prompt, PromptSet
from circuit.errors import ArtifactError, DataError, UsageError
from circuit.present.document import Cell, Part, Table, Text

OF_PROMPTS = "prompts"
OF_MODEL = "model"


@dataclass(frozen=True, kw_only=True)
class LabelAgreement:
    """Rows of each label of the prompts in each class of the model; others are left out."""

    criterion: str
    max_tokens: int
    n: int
    unfinished: int
    labels: list[str]
    classes: list[str]
    counts: list[list[int]]
    n_differing: int | None  # None unless there are two labels


def labelled(activations: Activations, labels: str) -> tuple[Activations, LabelAgreement | None]:
    """Return the archive under these labels; with those of the model, also how they agree."""
    criterion = check_labels(labels)
    if criterion is None:
        return activations, None
    answers = _answers(activations)
    chosen = _criterion(answers, criterion)
    prompts = relabelled(activations.prompt_set, answers.by_row, chosen)
    view = copy.copy(activations)
    view.prompt_set = prompts
    return view, _agreement(activations.prompt_set, prompts, answers, chosen)


def check_labels(labels: str) -> str | None:
    """Return the criterion, "" for the only one, None for the labels of the prompts."""
    source, _, criterion = labels.partition(":")
    if labels == OF_PROMPTS:
        return None
    if source != OF_MODEL or labels.endswith(":"):
        message = f"unknown label source `{labels}`"
        hint = "--labels takes prompts, model or model:CRITERION"
        raise UsageError("unknown-label-source", message, hint=hint, labels=labels)
    return criterion


def _answers(activations: Activations) -> Answers:
    folder = activations.path.parent
    names = [each.path for each in activations.manifest.outputs if each.path.endswith(SUFFIX)]
    if not names:
        message = f"`{activations.path}` holds no answers of the model"
        hint = "collect again with --generate, or use --labels prompts"
        raise ArtifactError("no-answers", message, hint=hint, path=str(activations.path))
    answers = read_answers([folder / Path(name) for name in names])
    missing = len(set(range(len(activations.prompts))) - set(answers.by_row))
    if missing:
        message = f"the answers of `{activations.path}` lack {missing} prompts"
        hint = "collect again with --generate"
        raise ArtifactError("answers-incomplete", message, hint=hint, missing=missing)
    return answers


def _criterion(answers: Answers, criterion: str) -> str:
    judged = answers.header.criteria
    hint = f"choose one of {', '.join(f'{OF_MODEL}:{name}' for name in judged)}"
    if criterion and criterion not in judged:
        message = f"the answers were not judged by `{criterion}`"
        raise UsageError("unknown-criterion", message, hint=hint, criterion=criterion)
    if not criterion and len(judged) > 1:
        message = f"the answers were judged by {len(judged)} criteria"
        raise UsageError("ambiguous-criterion", message, hint=hint, criteria=judged)
    return criterion or judged[0]


def relabelled(prompts: PromptSet, answers: Mapping[int, Answer], criterion: str) -> PromptSet:
    """Return the prompts with what the model did instead of the annotator's label."""
    names = (f"not_{criterion}", criterion)
    every = all(prompt.label is None for prompt in prompts.prompts)

    def of_model(row: int, prompt: Prompt) -> Prompt:
        verdict = answers[row].verdicts[criterion]
        label = names[bool(verdict)] if every or prompt.label is not None else None
        called = verdict if isinstance(verdict, str) else None
        tool = called if criterion == "function_call" else prompt.expected_tool
        return replace(prompt, label=label, expected_tool=tool)

    changed = tuple(of_model(row, prompt) for row, prompt in enumerate(prompts.prompts))
    if len({prompt.label for prompt in changed} - {None}) < 2:
        did = next(prompt.label for prompt in changed if prompt.label is not None)
        message = f"the model's answers are all `{did}`, so they give no two classes"
        hint = "choose another criterion, or use --labels prompts"
        raise DataError("one-class", message, hint=hint, label=did)
    return prompts.model_copy(update={"labels": names, "prompts": changed})


def _agreement(
    before: PromptSet, after: PromptSet, answers: Answers, criterion: str
) -> LabelAgreement:
    pairs = zip(before.prompts, after.prompts, strict=True)
    counts = Counter((old.label, new.label) for old, new in pairs if new.label is not None)
    rows = [name for name in before.labels if any(name == old for old, _ in counts)]
    table = [[counts[old, new] for new in after.labels] for old in rows]
    two = rows == list(before.labels) and len(rows) == 2
    of_rows = [a for row, a in answers.by_row.items() if after.prompts[row].label is not None]
    return LabelAgreement(
        criterion=criterion,
        max_tokens=answers.header.max_tokens,
        n=len(of_rows),
        unfinished=sum(not answer.finished for answer in of_rows),
        labels=rows,
        classes=list(after.labels),
        counts=table,
        n_differing=table[0][1] + table[1][0] if two else None,
    )


def present_agreement(found: LabelAgreement | None) -> list[Part]:
    """Show how the model's labels agree with the prompts'; nothing for the prompts' own."""
    if found is None:
        return []
    parts: list[Part] = [
        Text(
            [
                f"Labels: what the model did, by `{found.criterion}` ({found.n} answers of at most "
                f"{found.max_tokens} tokens, {found.unfinished} cut off there)"
            ]
        )
    ]
    if found.labels:
        rows: list[list[Cell]] = [
            [name, *row] for name, row in zip(found.labels, found.counts, strict=True)
        ]
        parts.append(Table(header=["label", *found.classes], rows=rows))
    if found.n_differing is not None:
        meaning = f"`{found.labels[1]}` taken to mean `{found.classes[1]}`"
        line = f"{found.n_differing} of {found.n} prompts differ from their label ({meaning})"
        parts.append(Text([line]))
    return parts
