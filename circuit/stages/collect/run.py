"""Prompts in, activations out: the states of a model at chosen sites, layers and positions.

``collect`` does it for a ``Collection``, which the probes stage uses, too, ``collect_shard`` for
one shard of it. How the work is laid out is in ``circuit.stages.collect.collection``.

An archive is written while it is computed and resumes where a kill left it, so that its writer, and
not the runner, knows whether a run exists already.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from circuit.artifacts.activations.activations import Activations
from circuit.artifacts.activations.shards import JoinResult, join_shards
from circuit.artifacts.activations.writer import Shard, remove_stale_journal
from circuit.artifacts.files.documents import plain
from circuit.artifacts.files.paths import refuse_input, shard_path
from circuit.artifacts.manifest.manifest import Run, manifest_path, reusable
from circuit.artifacts.prompts.prompts import PromptSet
from circuit.artifacts.prompts.read import read_prompts
from circuit.errors import ArtifactError, UsageError
from circuit.present.document import Document, Text
from circuit.present.numbers import byte_size
from circuit.stages.collect.answers import AnswerOptions
from circuit.stages.collect.collection import Collection
from circuit.stages.collect.estimate import Estimate, estimate
from circuit.stages.collect.recording import Recording
from circuit.stages.collect.request import CollectRequest
from circuit.stages.collect.sharding import combined
from circuit.stages.rows.prompting import choose_format, shown_format
from circuit.stages.run import REUSED, Command, Job, Outcome, Plan, Session, Track, untracked
from circuit.values import schemas

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel


@dataclass(frozen=True, kw_only=True)
class CollectResult:
    """What is in an archive; ``layers`` are by site, ``seconds`` those of the run that wrote it."""

    archive: Path
    manifest: Path
    model: str
    n_layers: int
    d_model: int
    samples: int
    layers: dict[str, list[int]]
    positions: list[str]
    format: str
    tokens: dict[str, int]
    shared_prefix: int
    answers: dict[str, Any] | None
    seconds: float


@dataclass(frozen=True, kw_only=True)
class ShardResult:
    """A shard that is complete, and the numbers of those that are not."""

    shard: Path
    missing: tuple[int, ...]


@dataclass(frozen=True)
class Following:
    """What a process of a split model knows that is not the first: nothing."""


Collected = CollectResult | ShardResult | Estimate | Following


def collect(
    job: Collection, *, force: bool = False, track: Track = untracked
) -> Outcome[Activations]:
    """Record activations of every prompt and write the archive."""
    started = time.perf_counter()
    reused = not force and _exists(job, manifest_path(job.out), schemas.ACTIVATIONS)
    job.told_by_first(None if reused else (), 0)
    if reused:
        remove_stale_journal(job.out)
        return Outcome(result=Activations.open(job.out), reused=True)
    layout = job.layout(force=force)
    with job.writer(layout, force=force) as writer:
        ran = job.run(layout, writer, force=force, track=track)
        activations = writer.finish(run=Run.since(started), results=ran.results, beside=ran.files)
    return Outcome(result=activations)


def follow(job: Collection) -> None:
    """Compute this process's part of a split model for the first process, which does all else."""
    if job.told_by_first(None, 0) is not None:
        job.follow(job.layout())


def collect_shard(
    job: Collection, number: int, count: int, *, force: bool = False, track: Track = untracked
) -> Outcome[Activations] | ShardResult:
    """Record shard ``number`` of ``count``, from 1; who is the last to finish joins them all."""
    started = time.perf_counter()
    if not force and _exists(job, manifest_path(job.out), schemas.ACTIVATIONS):
        return Outcome(result=Activations.open(job.out), reused=True)
    path = shard_path(job.out, number, count)
    if not force and _exists(job, path, schemas.SHARD):
        remove_stale_journal(job.out, Shard(number, count, range(0)))
    else:
        layout = job.layout(number, count, force=force)
        with job.writer(layout, force=force) as writer:
            ran = job.run(layout, writer, force=force, track=track)
            writer.finish_shard(run=Run.since(started), results=ran.results, beside=ran.files)
    joined = join_shards(
        job.out,
        count,
        prompts=job.prompts,
        origin=job.origin,
        combine=combined,
        run=Run.since(started),
        force=force,
    )
    return _whole_or_shard(job, path, joined, force=force)


def shard_of(text: str | None) -> tuple[int, int] | None:
    """Return (number, count) of ``--shard i/n``, or of this process under mlx.launch, or None."""
    from circuit.model.machine.launch import launched_group

    group = launched_group()
    if text is None:
        return None if group is None else (group.rank() + 1, group.size())
    if group is not None:
        message = f"--shard {text} cannot be given to one of {group.size()} launched processes"
        hint = "leave --shard out: each process takes its part"
        raise UsageError("shard-of-launched-process", message, hint=hint)
    if (match := re.fullmatch(r"(\d+)/(\d+)", text)) is None:
        message = f"`--shard {text}` is not a number of a number"
        raise UsageError("bad-shard", message, hint="--shard takes 1/4 to 4/4", shard=text)
    number, count = int(match[1]), int(match[2])
    return None if number == count == 1 else (number, count)


def _whole_or_shard(
    job: Collection, path: Path, joined: JoinResult, *, force: bool
) -> Outcome[Activations] | ShardResult:
    if joined.activations is not None:
        return Outcome(result=joined.activations)
    if joined.others and not force:
        other, difference = next(iter(joined.others.items()))
        message = f"shard {other} of `{job.out}` is of another run: {difference}"
        hint = "collect it again with the same options and --force"
        raise ArtifactError("shard-of-another-run", message, hint=hint, shard=other)
    # With --force the others are being collected again, too.
    return ShardResult(shard=path, missing=tuple(sorted({*joined.missing, *(joined.others or ())})))


def _exists(job: Collection, path: Path, schema: str) -> bool:
    found = reusable(
        path,
        schema=schema,
        parameters=job.origin.parameters,
        inputs=job.inputs,
        model=job.model.identity,
        tokenizer=job.model.tokenizer_identity,
    )
    return found is not None


def limited(prompts: PromptSet, limit: int | None) -> PromptSet:
    """Keep ``limit`` prompts, spread evenly over the set, so that no class is lost."""
    if limit is None or limit >= len(prompts.prompts):
        return prompts
    if limit < 1:
        message = f"`--limit` must be at least 1, got {limit}"
        raise UsageError(
            "out-of-range", message, hint="leave it out to use all prompts", limit=limit
        )
    return prompts.subset(np.linspace(0, len(prompts.prompts) - 1, limit).round().astype(int))


def prepare(request: CollectRequest) -> "Callable[[LoadedModel], Collection]":
    """Check what can be checked without a model; return what makes a model's collection."""
    options, out = request.prompt_format, request.output.output
    inputs = inputs_of(request)
    refuse_input(manifest_path(out), inputs)
    _check_split(request)
    recording = recording_of(request)
    prompts = limited(read_prompts(request.dataset), request.limit)
    recording.check(prompts)
    prompt_format = choose_format(
        prompts, chat=options.chat, system=options.system, tools=options.tools
    )
    return lambda model: Collection(
        model=model,
        prompts=prompts,
        out=out,
        recording=recording,
        prompt_format=shown_format(model, prompt_format, options.tools),
        inputs=inputs,
        parameters={"limit": request.limit},
    )


def inputs_of(request: CollectRequest) -> list[Path]:
    """Return the files that a request reads."""
    tools = request.prompt_format.tools
    return [request.dataset] if tools is None else [request.dataset, tools]


def plan(request: CollectRequest) -> Plan[Collected]:
    """Check the request."""
    shard = None if request.tensor_parallel and request.shard is None else shard_of(request.shard)
    made = prepare(request)

    def begin(model: "LoadedModel") -> Job[Collected]:
        job = made(model)
        return Job(compute=lambda session: _collected(job, request, shard, session))

    return Plan(
        result=CollectResult,
        model=request.model,
        begin=begin,
        tensor_parallel=request.tensor_parallel,
    )


def _check_split(request: CollectRequest) -> None:
    """Raise for what a model that is split over processes does not do."""
    if request.tensor_parallel and request.generate is not None:
        message = "answers (--generate) are not written by a model that is split over processes"
        hint = "leave out --generate, or --tensor-parallel"
        raise UsageError("no-answers-of-split-model", message, hint=hint)
    if request.tensor_parallel and request.dry_run:
        message = "a model that is split over processes has no --dry-run"
        hint = "use --dry-run with a checkpoint of the same shape"
        raise UsageError("no-dry-run-of-split-model", message, hint=hint)


def recording_of(request: CollectRequest) -> Recording:
    """Return what the options of a request record."""
    if request.generate is None and request.criterion:
        message = "`--criterion` judges answers, and `--generate` is not given"
        raise UsageError("no-answers", message, hint="ask for answers with --generate N")
    criteria = tuple(request.criterion or ["function_call"])
    answers = None if request.generate is None else AnswerOptions(request.generate, criteria)
    return Recording(
        layers=request.layers,
        sites=request.sites,
        positions=list(request.positions),
        max_length=request.max_length,
        truncate=request.truncate,
        batch_tokens=request.batch_tokens,
        share_prefix=request.share_prefix,
        dtype=request.store,
        answers=answers,
    )


def _collected(
    job: Collection, request: CollectRequest, shard: tuple[int, int] | None, session: Session
) -> Collected:
    force = request.output.force
    if job.follows:
        follow(job)
        return Following()
    if request.dry_run:
        return estimate(job, *(shard or (1, 1)))
    if shard is None:
        done: Outcome[Activations] | ShardResult = collect(job, force=force, track=session.track)
    else:
        done = collect_shard(job, *shard, force=force, track=session.track)
    if isinstance(done, ShardResult):
        missing = ", ".join(map(str, done.missing))
        assert shard is not None
        session.note(f"shard {shard[0]} of {shard[1]} is complete; missing: {missing}")
        return done
    if done.reused:
        session.note(REUSED)
    return summarised(done.result)


def summarised(activations: Activations) -> CollectResult:
    """Say what is in an archive."""
    results, manifest = activations.manifest.results, activations.manifest
    return CollectResult(
        archive=activations.archive.path,
        manifest=activations.path,
        model="" if manifest.model is None else manifest.model.id,
        n_layers=activations.n_layers,
        d_model=activations.d_model,
        samples=len(activations.prompts),
        layers={site: activations.layers(site) for site in activations.sites},
        positions=activations.positions,
        format=manifest.parameters["format"],
        tokens=results["tokens"],
        shared_prefix=results["shared_prefix"],
        answers=results.get("answers"),
        seconds=manifest.run.seconds,
    )


def present(result: Collected) -> Document | None:
    """Say what is in the archive, or what it would cost."""
    match result:
        case CollectResult():
            return Document("", [Text(_archive_lines(result))])
        case ShardResult():
            return Document("", [Text([f"Saved to: {result.shard}"])])
        case Estimate():
            return Document("", [Text(_estimate_lines(result))])
        case Following():
            return None


def _archive_lines(result: CollectResult) -> list[str]:
    captured = "; ".join(f"{s} {', '.join(map(str, at))}" for s, at in result.layers.items())
    shared = f", the first {result.shared_prefix} of each run once" if result.shared_prefix else ""
    lines = [
        f"Model: {result.model} ({result.n_layers} layers, d_model={result.d_model})",
        "Collection complete:",
        f"  Samples: {result.samples} ({result.format}, {result.tokens['total']} tokens{shared})",
        f"  Layers captured: {captured}",
        f"  Positions: {', '.join(result.positions)}",
    ]
    if result.answers:
        met = ", ".join(f"{name} {n}" for name, n in result.answers["met"].items())
        lines.append(f"  Answers: {result.answers['n']}, of these {met}")
    return [*lines, f"  Saved to: {result.archive}"]


def _estimate_lines(cost: Estimate) -> list[str]:
    shared = f", the first {cost.shared_prefix} of each run once" if cost.shared_prefix else ""
    answers = f"; up to {cost.answering:.1f} s for the answers" if cost.answering else ""
    return [
        "Nothing is collected (--dry-run).",
        f"  Prompts: {cost.prompts} of {cost.shortest} to {cost.longest} tokens",
        f"  Tokens: {cost.tokens}{shared}; {cost.tokens_to_run} run in {cost.batches} batches",
        f"  Padding: {cost.padding:.1%} of what runs (--batch-tokens {cost.batch_tokens})",
        f"  FLOPs: {cost.flops:.3g}",
        f"  Archive: {byte_size(cost.archive)}",
        f"  Memory: {byte_size(cost.weights)} of weights, {byte_size(cost.working)} to work in",
        f"  Time: {cost.seconds:.1f} s, at the speed that one batch had now{answers}",
    ]


COLLECT = Command[CollectRequest, Collected](
    request=CollectRequest, plan=plan, present=present, data=plain
)
