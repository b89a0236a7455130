"""By what the rows of an archive are told apart: the labels of the prompts, or what the model did.

    prompts             the label that the prompt set gives
    model               the verdict on the model's own answer (``collect --generate``), where there is one criterion
    model:CRITERION     that of one criterion of several

With ``model`` the classes are ``not_CRITERION`` and ``CRITERION``, the positive one; a tool that was called takes the place
of the tool that was expected. Prompts that the annotator left without a label stay without one, unless none has
a label. Groups and pairs are those of the prompts: what must be held out together does not depend on the answers.
The agreement of the two labellings is a table of counts; with two labels, the second is taken to mean
that the criterion is met, and the rows in which they differ are counted.
"""

import copy
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from circuit.artifacts.activations.activations import Activations
from circuit.artifacts.activations.answers import SUFFIX, Answer, Answers, read_answers
from circuit.artifacts.prompts.prompts import Prompt, PromptSet
from circuit.errors import ArtifactError, DataError, UsageError

OF_PROMPTS = "prompts"
OF_MODEL = "model"


def labelled(activations: Activations, labels: str) -> tuple[Activations, dict[str, Any] | None]:
    """Return the archive under these labels; with those of the model, also how they agree."""
    source, _, criterion = labels.partition(":")
    if labels == OF_PROMPTS:
        return activations, None
    if source != OF_MODEL or labels.endswith(":"):
        message = f"`{labels}` is not where labels come from"
        raise UsageError(message, hint="--labels takes prompts, model or model:CRITERION")
    answers = _answers(activations)
    chosen = _criterion(answers, criterion)
    prompts = relabelled(activations.prompt_set, answers.by_row, chosen)
    view = copy.copy(activations)
    view.prompt_set = prompts
    return view, _agreement(activations.prompt_set, prompts, answers, chosen)


def _answers(activations: Activations) -> Answers:
    folder = activations.path.parent
    names = [each.path for each in activations.manifest.outputs if each.path.endswith(SUFFIX)]
    if not names:
        message = f"`{activations.path}` holds no answers of the model"
        raise ArtifactError(message, hint="collect again with --generate, or use --labels prompts")
    answers = read_answers([folder / Path(name) for name in names])
    missing = len(set(range(len(activations.prompts))) - set(answers.by_row))
    if missing:
        message = f"the answers of `{activations.path}` lack {missing} prompts"
        raise ArtifactError(message, hint="collect again with --generate")
    return answers


def _criterion(answers: Answers, criterion: str) -> str:
    judged = answers.header.criteria
    if criterion and criterion not in judged:
        message = f"the answers were not judged by `{criterion}`"
        raise UsageError(message, hint=f"choose one of {_choices(judged)}")
    if not criterion and len(judged) > 1:
        message = f"the answers were judged by {len(judged)} criteria"
        raise UsageError(message, hint=f"choose one of {_choices(judged)}")
    return criterion or judged[0]


def _choices(criteria: tuple[str, ...]) -> str:
    return ", ".join(f"{OF_MODEL}:{name}" for name in criteria)


def relabelled(prompts: PromptSet, answers: Mapping[int, Answer], criterion: str) -> PromptSet:
    """Return the prompts with what the model did in place of what the annotator said."""
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
        raise DataError(message, hint="choose another criterion, or use --labels prompts")
    return prompts.model_copy(update={"labels": names, "prompts": changed})


def _agreement(
    before: PromptSet, after: PromptSet, answers: Answers, criterion: str
) -> dict[str, Any]:
    """Count the rows of each label in each class of the model; those without either do not count."""
    pairs = zip(before.prompts, after.prompts, strict=True)
    counts = Counter((old.label, new.label) for old, new in pairs if new.label is not None)
    rows = [name for name in before.labels if any(name == old for old, _ in counts)]
    table = [[counts[old, new] for new in after.labels] for old in rows]
    two = rows == list(before.labels) and len(rows) == 2
    of_rows = [a for row, a in answers.by_row.items() if after.prompts[row].label is not None]
    return {
        "criterion": criterion,
        "max_tokens": answers.header.max_tokens,
        "n": len(of_rows),
        "unfinished": sum(not answer.finished for answer in of_rows),
        "labels": rows,
        "classes": list(after.labels),
        "counts": table,
        "n_differing": table[0][1] + table[1][0] if two else None,
    }
