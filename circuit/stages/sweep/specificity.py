"""Specificity: k directions on the test prompts and read-outs of all k, each at its own c*.

    s_ij    slope of read-out j on the dose of direction i (``circuit.methods.steering.dose_response``), doses −1 to 1 in units of c*_i
    share   |s_ij| / |s_jj|, within a column, whose unit is that of read-out j: how far direction i moves what direction j is for

A direction that moves everything is not about anything. Everything is taken from finished sweeps: directions, strengths, test prompts,
formats and read-outs. No intervals beyond those of the sweeps' own slopes; with k directions there are k (k − 1) comparisons. Writes
``circuit.specificity/1``.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from circuit.artifacts.files.documents import plain
from circuit.artifacts.manifest.manifest import Manifest, Run, digest, reusable, write_manifest
from circuit.artifacts.prompts.prompts import PromptSet
from circuit.artifacts.prompts.read import read_prompts
from circuit.artifacts.steering_files.files import read_steering_file
from circuit.errors import ArtifactError, UsageError
from circuit.methods.steering.dose_response import response
from circuit.stages.rows.prompting import encode
from circuit.stages.rows.same_weights import other_weights
from circuit.stages.run import Track, untracked
from circuit.stages.steering.intervention import Intervention, Manner, Part
from circuit.stages.steering.readout import Reader, Readout, reader
from circuit.stages.sweep.results import read_sweep
from circuit.values import schemas
from circuit.values.prompt_format import PromptFormat

DOSES = (-1.0, -0.5, 0.0, 0.5, 1.0)


@dataclass(frozen=True, eq=False)
class Measured:
    """A finished sweep, ready to be run on other prompts: its direction at c*, and its own test prompts."""

    intervention: Intervention
    prompts: PromptSet
    reads: Reader


def specificity(
    model: Any,
    sweeps: Mapping[str, Path],
    *,
    out: Path | None = None,
    force: bool = False,
    track: Track = untracked,
) -> tuple[dict[str, Any], bool]:
    """Return the matrix of slopes of finished sweeps, by name, and whether it was in ``out`` already."""
    started = time.perf_counter()
    if len(sweeps) < 2:
        raise UsageError("specificity compares two sweeps and more", hint="give several files")
    manifests = {name: read_sweep(path) for name, path in sweeps.items()}
    for name, manifest in manifests.items():
        _check_model(model, manifest, sweeps[name])
    about: dict[str, Any] = {
        "schema": schemas.SPECIFICITY,
        "parameters": {"sweeps": list(sweeps), "doses": DOSES},
        "inputs": list(sweeps.values()),
        "model": model.identity,
    }
    if out is not None and (found := reusable(out, **about, force=force)) is not None:
        return found.results, True
    ready = {n: _ready(model, manifest, sweeps[n]) for n, manifest in manifests.items()}
    cells = [(i, j) for i in sweeps for j in sweeps]
    slopes = {
        (i, j): _slope(ready[i].intervention, ready[j])
        for i, j in track(cells, "Measuring", len(cells))
    }
    own = {j: abs(slopes[j, j][0]) for j in sweeps}
    results: dict[str, Any] = plain(
        {
            "names": list(sweeps),
            "slopes": [[slopes[i, j] for j in sweeps] for i in sweeps],
            "share": [
                [abs(slopes[i, j][0]) / own[j] if own[j] > 0 else None for j in sweeps]
                for i in sweeps
            ],
        }
    )
    if out is not None:
        common = {"tokenizer": model.tokenizer_identity, "run": Run.since(started), "force": force}
        write_manifest(out, **about, results=results, **common)
    return results, False


def _check_model(model: Any, manifest: Manifest, path: Path) -> None:
    theirs = manifest.model
    if theirs is not None and other_weights(theirs, model.identity):
        message = f"`{path}` was measured on `{theirs.id}`, not on `{model.identity.id}`"
        raise UsageError(message, hint="compare sweeps of one model")


def _ready(model: Any, manifest: Manifest, path: Path) -> Measured:
    """Read the directions and test prompts of a sweep, which are its first inputs."""
    files = []
    for ref in manifest.inputs:
        file = path.parent / ref.path
        if not file.is_file() or digest(file) != ref.sha256:
            message = f"`{file}` is not the file that `{path}` was measured with"
            raise ArtifactError(message, hint="run the sweep again")
        files.append(file)
    parameters = manifest.parameters
    prompts = read_prompts(files[0])
    asked = parameters["readout"]
    readout = Readout(
        tuple(asked["positive"]),
        tuple(asked["negative"]),
        asked["criterion"],
        asked["max_tokens"],
        asked["prefill"],
    )
    form = parameters["format"]
    tools = None if form["tools"] is None else tuple(form["tools"])
    encoded = encode(model, prompts.texts, PromptFormat(form["chat"], form["system"], tools))
    return Measured(
        _intervention(manifest, files[1:]),
        prompts,
        reader(model, readout, prompts.prompts, encoded),
    )


def _intervention(manifest: Manifest, files: list[Path]) -> Intervention:
    described = manifest.parameters["intervention"]
    manner = Manner(*(described[key] for key in ("rule", "operator", "scope")))
    held = [d for file in files if file.suffix != ".json" for d in read_steering_file(file)]
    parts = []
    for one in described["directions"]:
        same = [d for d in held if d.tensor == one["direction"]]
        if not same or one["plane_sha256"] is not None:
            message = f"direction `{one['direction']}` cannot be taken from the sweep's own files"
            raise ArtifactError(message, hint="run the sweep on the steering file itself")
        parts.append(Part(same[0], one["weight"], one["unit"]))
    factor = described["factor"] * manifest.results["c_star"]
    return Intervention(tuple(parts), manner, factor)


def _slope(intervention: Intervention, on: Measured) -> list[float]:
    m = np.stack([on.reads.measure(intervention, dose).m for dose in DOSES], axis=1)
    answer = response(np.array(DOSES), m, on.prompts.groups())
    return answer.mean(answer.slopes).as_list()
