"""Prompts in, activations out: what the model holds at chosen sites, layers and positions.

``collect`` does it for a file of prompts, whole or one shard of it; ``collect_prompts`` for a prompt set
in memory, which the probes stage uses too. How the work is laid out is ``circuit.stages.collect.collection``'s.
"""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from circuit.artifacts.activations.activations import Activations
from circuit.artifacts.activations.shards import Joined, join_shards
from circuit.artifacts.activations.writer import Shard, forget_finished
from circuit.artifacts.files.paths import refuse_input, shard_path
from circuit.artifacts.manifest.manifest import Run, manifest_path, reusable
from circuit.artifacts.prompts.prompts import PromptSet
from circuit.artifacts.prompts.read import read_prompts
from circuit.errors import ArtifactError, UsageError
from circuit.stages.collect.collection import Collection
from circuit.stages.collect.request import Wanted
from circuit.stages.collect.sharding import combined
from circuit.stages.legacy import ModelOptions
from circuit.stages.rows.prompting import choose_format
from circuit.stages.run import Track, untracked
from circuit.values import schemas
from circuit.values.prompt_format import PromptFormat


@dataclass(frozen=True)
class Collected:
    """The archive, and whether it was there already."""

    activations: Activations
    reused: bool


@dataclass(frozen=True)
class Waiting:
    """A shard is done, and the numbers of those that are not."""

    shard: Path
    missing: tuple[int, ...]


def prepared(
    options: ModelOptions,
    dataset: Path,
    out: Path,
    *,
    wanted: Wanted = Wanted(),
    chat: bool | None = None,
    system: str | None = None,
    tools: Path | None = None,
    limit: int | None = None,
) -> Collection:
    """Read the prompts and load the model; nothing has run yet."""
    refuse_input(manifest_path(out), [dataset] if tools is None else [dataset, tools])
    if options.tensor_parallel and wanted.asked is not None:
        message = "answers (--generate) are not written by a model that is split over processes"
        raise UsageError(message, hint="leave out --generate, or --tensor-parallel")
    prompts = limited(read_prompts(dataset), limit)
    wanted.check(prompts)
    form = choose_format(prompts, chat=chat, system=system, tools=tools)
    return Collection(
        options.load(),
        prompts,
        out,
        wanted,
        form,
        [dataset] if tools is None else [dataset, tools],
        {"limit": limit},
    )


def collect(job: Collection, *, force: bool = False, track: Track = untracked) -> Collected:
    """Record activations of every prompt and write the archive."""
    started = time.perf_counter()
    reused = not force and _is_there(job, manifest_path(job.out), schemas.ACTIVATIONS)
    job.told_by_first(None if reused else (), 0)
    if reused:
        forget_finished(job.out)
        return Collected(Activations.open(job.out), reused=True)
    layout = job.layout(force=force)
    with job.writer(layout, force=force) as writer:
        ran = job.run(layout, writer, force=force, track=track)
        activations = writer.finish(run=Run.since(started), results=ran.results, beside=ran.beside)
    return Collected(activations, reused=False)


def follow(job: Collection) -> None:
    """Compute this process's part of a split model for the first process, which does all else."""
    if job.told_by_first(None, 0) is not None:
        job.follow(job.layout())


def collect_shard(
    job: Collection, number: int, count: int, *, force: bool = False, track: Track = untracked
) -> Collected | Waiting:
    """Record shard ``number`` of ``count``, from 1; who is the last to finish joins them all."""
    started = time.perf_counter()
    if not force and _is_there(job, manifest_path(job.out), schemas.ACTIVATIONS):
        return Collected(Activations.open(job.out), reused=True)
    path = shard_path(job.out, number, count)
    if not force and _is_there(job, path, schemas.SHARD):
        forget_finished(job.out, Shard(number, count, range(0)))
    else:
        layout = job.layout(number, count, force=force)
        with job.writer(layout, force=force) as writer:
            ran = job.run(layout, writer, force=force, track=track)
            writer.finish_shard(run=Run.since(started), results=ran.results, beside=ran.beside)
    joined = join_shards(
        job.out,
        count,
        prompts=job.prompts,
        origin=job.origin,
        combine=combined,
        run=Run.since(started),
        force=force,
    )
    return _whole_or_waiting(job, path, joined, force=force)


def part(text: str | None) -> tuple[int, int] | None:
    """Return (number, count) of ``--shard i/n``, or of this process under mlx.launch, or nothing."""
    from circuit.model.machine.launch import launched_group

    group = launched_group()
    if text is None:
        return None if group is None else (group.rank() + 1, group.size())
    if group is not None:
        message = f"--shard {text} cannot be given to one of {group.size()} launched processes"
        raise UsageError(message, hint="leave --shard out: each process takes its part")
    if (match := re.fullmatch(r"(\d+)/(\d+)", text)) is None:
        raise UsageError(f"--shard `{text}` is not a part", hint="--shard takes 1/4 to 4/4")
    number, count = int(match[1]), int(match[2])
    return None if number == count == 1 else (number, count)


def collect_prompts(
    model: Any,
    prompts: PromptSet,
    out: Path,
    *,
    wanted: Wanted,
    prompt_format: PromptFormat,
    inputs: Sequence[Path],
    parameters: dict[str, Any],
    force: bool = False,
    track: Track = untracked,
) -> Collected:
    """Record activations of a prompt set in memory; ``inputs`` are the files that it came from."""
    job = Collection(model, prompts, out, wanted, prompt_format, inputs, parameters)
    return collect(job, force=force, track=track)


def _whole_or_waiting(
    job: Collection, path: Path, joined: Joined, *, force: bool
) -> Collected | Waiting:
    if joined.activations is not None:
        return Collected(joined.activations, reused=False)
    if joined.others and not force:
        other, difference = next(iter(joined.others.items()))
        message = f"shard {other} of `{job.out}` is of another run: {difference}"
        raise ArtifactError(message, hint="collect it again with the same options and --force")
    # With --force the others are being collected again, too.
    return Waiting(path, tuple(sorted({*joined.missing, *(joined.others or ())})))


def _is_there(job: Collection, path: Path, schema: str) -> bool:
    found = reusable(
        path,
        schema=schema,
        parameters=job.origin.parameters,
        inputs=job.inputs,
        model=job.model.identity,
    )
    return found is not None


def limited(prompts: PromptSet, limit: int | None) -> PromptSet:
    """Keep ``limit`` prompts, spread evenly over the set, so that no class is lost by its place."""
    if limit is None or limit >= len(prompts.prompts):
        return prompts
    if limit < 1:
        message = f"--limit {limit} keeps no prompt"
        raise UsageError(message, hint="keep at least one")
    return prompts.subset(np.linspace(0, len(prompts.prompts) - 1, limit).round().astype(int))
