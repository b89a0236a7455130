"""Whether a prompt set is *clean*: no problem, and no baseline solves it without a model.

Three baselines read the text and nothing else: ``words``, the counts of its words and marks,
``word_pairs``, of its neighbouring words, and ``surface``, its length, capitals, digits,
punctuation, first word and last character. Each is probed like the activations of a layer
(``cross_validated_probe``: grouped folds, the strength of regularisation chosen inside them); its
score is the held-out AUROC (macro one-against-rest, chance 0.5) with the cluster-bootstrap
interval. A set is clean when

    it has no problem in the sense of ``dataset check`` and at least 10 groups, and the AUROC of
    each baseline is at most ``BOUND`` (or the bound that is asked for), and its interval ends below
    ``CEILING``: a set so small that a baseline might solve it is not known to be clean, and the
    AUROC is not as far below chance either. That happens when prompts that match, such as the
    members of a pair, are in different groups: what is learnt from one is then wrong about the
    other, for a model's activations as for words.

A concept that *is* a choice of words (the style of a pirate) has no clean set. Its verdict says so,
and a probe of it means no more than that.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from circuit.artifacts.files.documents import plain, read_json, schema_of
from circuit.artifacts.prompts.builtin import find_set
from circuit.artifacts.prompts.prompts import PromptSet
from circuit.artifacts.prompts.read import read_prompts
from circuit.artifacts.prompts.verdict import Verdict, content_digest, write_verdict
from circuit.errors import DataError
from circuit.methods.probes.probing import cross_validated_probe
from circuit.methods.text.surface import TEXT_BASELINES
from circuit.methods.uncertainty.splits import least_groups, merge_identical
from circuit.present.document import Cell, Document, Number, Part, Table, Text
from circuit.stages.dataset.check import Finding, findings, surface
from circuit.stages.dataset.describe import Counts, count, counts_text
from circuit.stages.dataset.request import CheckRequest
from circuit.stages.run import Command, Job, Plan, Session, without_model
from circuit.values import schemas
from circuit.values.intervals import Interval
from circuit.values.thresholds import MIN_CLASS_GROUPS, MIN_GROUPS

BOUND = 0.60
CEILING = 0.75
SCHEMAS = (schemas.TEMPLATES, schemas.PROMPTS)


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """A file with its counts, what is wrong with it, and the verdict that follows."""

    file: Path
    counts: Counts
    surface: dict[str, dict[str, float]]
    findings: list[Finding]
    verdict: Verdict


def check(path: Path, *, bound: float = BOUND, write: bool = False) -> CheckResult:
    """Judge one file; ``write`` puts the verdict into it."""
    prompts = read_prompts(path)
    found = findings(prompts)
    scores = _scores(prompts)
    reasons = tuple(_reasons(prompts, found, scores, bound))
    verdict = Verdict(
        sha256=content_digest(read_json(path)),
        clean=not reasons,
        bound=bound,
        n=len(prompts.y()[0]),
        n_groups=len(set(prompts.groups()[prompts.y()[0]].tolist())),
        baselines=scores,
        reasons=reasons,
    )
    if write:
        write_verdict(path, verdict)
    return CheckResult(
        file=path,
        counts=count(prompts),
        surface=surface(prompts),
        findings=found,
        verdict=verdict,
    )


def plan(request: CheckRequest) -> Plan[list[CheckResult]]:
    """Find the files."""
    files = files_of(request.files)

    def compute(session: Session) -> list[CheckResult]:
        shown = session.track(files, "Checking", len(files))
        return [check(path, bound=request.bound, write=request.write) for path in shown]

    job = Job(compute=compute)
    return Plan(result=list[CheckResult], begin=without_model(job))


def present(result: list[CheckResult]) -> Document:
    """Show everything about each file, then the verdicts of several, one a line."""
    parts = [part for each in result for part in _present_file(each)]
    if len(result) > 1:
        parts.append(_verdicts(result))
    return Document("", parts)


def _present_file(result: CheckResult) -> list[Part]:
    verdict = result.verdict
    scores = [
        f"{name}: {value:.2f}  [{low:.2f}, {high:.2f}]  held-out AUROC without a model, chance 0.5"
        for name, (value, low, high) in verdict.baselines.items()
    ]
    clean = "Clean." if verdict.clean else "Not clean:"
    labels = list(next(iter(result.surface.values()), {}))
    rows: list[list[Cell]] = [
        [name, *(Number(means[label], ".2f") for label in labels)]
        for name, means in result.surface.items()
    ]
    found = [f"{each.level}: {each.message}" for each in result.findings]
    reasons = [f"  {reason}" for reason in verdict.reasons]
    return [
        Text([str(result.file), "Dataset Summary:", *counts_text(result.counts).lines]),
        Table(header=["mean per prompt", *labels], rows=rows),
        Text(["", *found, *scores, clean, *reasons]),
    ]


def _verdicts(results: Sequence[CheckResult]) -> Table:
    names = next((list(r.verdict.baselines) for r in results if r.verdict.baselines), ["words"])
    rows: list[list[Cell]] = []
    for each in results:
        scores: list[Cell] = [Number(score[0], ".2f") for score in each.verdict.baselines.values()]
        cells = scores or [None] * len(names)
        clean = "clean" if each.verdict.clean else "not clean"
        rows.append([each.counts.name, each.counts.prompts, each.counts.groups, *cells, clean])
    named = [name.replace("_", " ") for name in names]
    return Table(header=["set", "prompts", "groups", *named, "verdict"], rows=rows)


def data(result: list[CheckResult]) -> list[dict[str, Any]]:
    """Return a document for each file."""
    return [
        {
            "file": str(each.file),
            **plain(each.counts),
            "surface": each.surface,
            "findings": plain(each.findings),
            "verdict": plain(each.verdict),
        }
        for each in result
    ]


def files_of(names: Sequence[str]) -> list[Path]:
    """Return the files that are meant: files, every set in a folder, or built-in sets by name."""
    return [path for name in names for path in _meant(name)]


def _meant(name: str) -> list[Path]:
    folder = Path(name)
    if not folder.is_dir():
        return [folder if folder.is_file() else find_set(name)]
    found = [
        path for path in sorted(folder.rglob("*.json")) if schema_of(read_json(path)) in SCHEMAS
    ]
    if not found:
        message = f"`{folder}` holds no prompt sets"
        raise DataError(
            "no-prompt-sets",
            message,
            hint="`circuit probes init -o DIR` writes the built-in probes",
        )
    return found


def _scores(prompts: PromptSet) -> dict[str, Interval]:
    """Score each baseline; none where the set cannot be split, which is a problem of its own."""
    rows, y = prompts.y()
    texts = [prompts.texts[row] for row in rows]
    groups, _ = merge_identical(prompts.groups()[rows], texts)
    try:
        found = {
            name: cross_validated_probe(features(texts), y, groups, n_shuffles=0).auroc
            for name, features in TEXT_BASELINES.items()
        }
    except DataError:
        return {}
    return {
        name: (round(e.value, 3), round(e.low, 3), round(e.high, 3)) for name, e in found.items()
    }


def _least(prompts: PromptSet) -> int:
    rows, y = prompts.y()
    return least_groups(y, prompts.groups()[rows])


def _reasons(
    prompts: PromptSet, found: Sequence[Finding], scores: dict[str, Interval], bound: float
) -> Iterator[str]:
    yield from (each.message for each in found if each.level == "problem")
    n_groups = len(set(prompts.groups().tolist()))
    if n_groups < MIN_GROUPS:
        yield f"{n_groups} groups are too few to know: {MIN_GROUPS} are the least"
    elif scores and (least := _least(prompts)) < MIN_CLASS_GROUPS:
        yield f"{least} groups of a class are too few to know: {MIN_CLASS_GROUPS} are the least"
    if not scores:
        yield "no grouped split of it is possible, so nothing was measured"
    for name, (value, _, high) in scores.items():
        if value > bound:
            yield f"`{name}` reaches {value:.2f} without a model, more than {bound:g}"
        elif value < 1 - bound:
            yield f"`{name}` falls to {value:.2f}: prompts that match are in different groups"
        elif high >= CEILING:
            yield f"`{name}` may reach {high:.2f} without a model: too few groups to exclude it"


CHECK = Command(
    request=CheckRequest,
    plan=plan,
    present=present,
    data=data,
    failed=lambda result: not all(each.verdict.clean for each in result),
)
