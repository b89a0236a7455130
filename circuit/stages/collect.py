"""Prompts in, activations out: what the model holds at chosen sites, layers and positions.

``collect_prompts`` is the whole of it for a prompt set in memory; the probes stage uses it too.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from circuit.artifacts.activations import Activations
from circuit.artifacts.activations_writer import ActivationsWriter, forget_finished
from circuit.artifacts.contents import SCHEMA
from circuit.artifacts.manifest import Run, manifest_path, reusable
from circuit.artifacts.origin import Origin
from circuit.artifacts.places import refuse_input
from circuit.artifacts.prompts import PromptSet
from circuit.errors import UsageError
from circuit.methods.layers import parse_layers
from circuit.stages.prompting import Format, choose_format, encode
from circuit.stages.running import ModelOptions, Track, untracked


@dataclass(frozen=True)
class Wanted:
    """What to record, in the words of the command line."""

    layers: str = "all"
    sites: str = "resid_post"
    positions: str = "last"
    max_length: int | None = None
    batch_tokens: int = 2048
    dtype: str = "float32"


@dataclass(frozen=True)
class Collected:
    """The archive, and whether it was there already."""

    activations: Activations
    reused: bool


def collect(
    options: ModelOptions,
    dataset: Path,
    out: Path,
    *,
    wanted: Wanted,
    chat: bool | None = None,
    system: str | None = None,
    tools: Path | None = None,
    limit: int | None = None,
    force: bool = False,
    track: Track = untracked,
) -> Collected:
    """Record activations of every prompt of ``dataset`` and write them to ``out``."""
    refuse_input(manifest_path(out), [dataset])
    prompts = limited(PromptSet.load(dataset), limit)
    return collect_prompts(
        options.load(),
        prompts,
        out,
        wanted=wanted,
        prompt_format=choose_format(prompts, chat=chat, system=system, tools=tools),
        inputs=[dataset] if tools is None else [dataset, tools],
        parameters={"limit": limit},
        force=force,
        track=track,
    )


def collect_prompts(
    model: Any,
    prompts: PromptSet,
    out: Path,
    *,
    wanted: Wanted,
    prompt_format: Format,
    inputs: Sequence[Path],
    parameters: dict[str, Any],
    force: bool = False,
    track: Track = untracked,
) -> Collected:
    """Record activations of a prompt set in memory; ``inputs`` are the files that it came from."""
    from circuit.model.capture import capture, plan
    from circuit.model.sites import parse_sites
    from circuit.model.tokens import parse_positions

    started = time.perf_counter()
    layers = parse_layers(wanted.layers, range(model.n_layers), model.n_layers)
    sites = parse_sites(wanted.sites, layers, model.n_layers)
    positions = parse_positions(wanted.positions)
    parameters = {
        **parameters,
        "sites": [str(site) for site in sites],
        "positions": positions,
        **_described(wanted, prompt_format, model),
    }
    if not force and _is_there(manifest_path(out), parameters, inputs, model):
        forget_finished(out)
        return Collected(Activations.open(out), reused=True)
    with ActivationsWriter(
        out,
        prompts=prompts,
        sites_layers=[(site.name, site.layer or 0) for site in sites],
        positions=positions,
        d_model=model.d_model,
        origin=Origin.of(
            out,
            parameters=parameters,
            inputs=inputs,
            model=model.identity,
            tokenizer=model.tokenizer_identity,
        ),
        dtype=wanted.dtype,
        force=force,
    ) as writer:
        encoded = encode(model, prompts.texts, prompt_format, max_length=wanted.max_length)
        batches = plan(model, encoded, batch_tokens=wanted.batch_tokens)
        left = {n: rows for n, rows in enumerate(batches) if n not in writer.finished}
        stream = capture(
            model, encoded, sites=sites, positions=positions, batches=list(left.values())
        )
        _fill(writer, zip(left, stream, strict=True), len(left), track)
        activations = writer.finish(
            run=Run.since(started),
            results=_results([len(prompt.ids) for prompt in encoded], batches),
        )
    return Collected(activations, reused=False)


def _described(wanted: Wanted, prompt_format: Format, model: Any) -> dict[str, Any]:
    return {
        "format": prompt_format.name,
        "system": prompt_format.system,
        "tools": prompt_format.tools,
        "enable_thinking": False,
        "max_length": wanted.max_length,
        "dtype": wanted.dtype,
        "batch_tokens": wanted.batch_tokens,
        # The same weights under another chat template are another run.
        "tokenizer_sha256": model.tokenizer_identity.files_sha256,
    }


def _results(lengths: Sequence[int], batches: Sequence[npt.NDArray[np.intp]]) -> dict[str, Any]:
    return {
        "tokens": {"total": sum(lengths), "min": min(lengths), "max": max(lengths)},
        "padded_batches": any(len({lengths[row] for row in rows}) > 1 for rows in batches),
        "note": "hidden_states[i] of Hugging Face is resid_post.(i-1); its last entry "
        "is taken after the final norm, resid_post is not",
    }


def _is_there(path: Path, parameters: dict[str, Any], inputs: Sequence[Path], model: Any) -> bool:
    found = reusable(
        path, schema=SCHEMA, parameters=parameters, inputs=inputs, model=model.identity
    )
    return found is not None


def _fill(writer: ActivationsWriter, stream: Iterable[Any], n_batches: int, track: Track) -> None:
    for number, batch in track(stream, "Collecting", n_batches):
        for (site, position), values in batch.values.items():
            writer.put(site.name, site.layer or 0, position, batch.rows, values)
        writer.done(number)


def limited(prompts: PromptSet, limit: int | None) -> PromptSet:
    """Keep ``limit`` prompts, spread evenly over the set, so that no class is lost by its place."""
    if limit is None or limit >= len(prompts.prompts):
        return prompts
    if limit < 1:
        message = f"--limit {limit} keeps no prompt"
        raise UsageError(message, hint="keep at least one")
    return prompts.subset(np.linspace(0, len(prompts.prompts) - 1, limit).round().astype(int))
