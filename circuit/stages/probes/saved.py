"""Probes to keep: fitted to all prompts of a battery, saved as directions with a slope and a bias.

``<report>.fitted.safetensors`` is an archive of directions (schema ``circuit.directions/1``). Each
vector v is a probe's weight w at unit length; ``extra`` holds what makes it a probe: ``logit =
slope · (v · h) + bias``. A question of two classes is one direction, named after the probe; one of
K classes is K of them, ``probe:class``, whose logits go through a softmax. So the file also steers
and projects like any other. A layer at which all prompts have the same activations has no probe.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from circuit.artifacts.manifest.manifest import Run
from circuit.artifacts.steering_files.files import Direction, read_directions, write_directions
from circuit.errors import DataError, UsageError
from circuit.methods.arrays import Array
from circuit.methods.probes.fitted_probe import FittedProbe, fit_probe, probabilities
from circuit.values.identity import ModelIdentity
from circuit.values.layers import parse_layers

if TYPE_CHECKING:
    # `steer --when` reads saved probes; these are needed where they are made.
    from circuit.stages.probes.battery import Probe
    from circuit.stages.probes.question import PoolActivations
    from circuit.stages.probes.results import QuestionResult

SITE = "resid_post"


def save_probes(
    stem: Path,
    jobs: "Sequence[tuple[Probe, PoolActivations]]",
    results: "Mapping[str, QuestionResult]",
    *,
    seed: int,
    force: bool = False,
) -> Path | None:
    """Fit every probe at every layer to all of its prompts and write them; None for no probe."""
    started = time.perf_counter()
    directions = [
        direction
        for probe, each in jobs
        for direction in _directions(probe, each, results[probe.name], seed)
    ]
    if not directions:
        return None
    archives = list({each.trained.path: each.trained for _, each in jobs}.values())
    write_directions(
        stem,
        directions,
        parameters={"seed": seed, "probes": list(results), "site": SITE},
        inputs=[archive.path for archive in archives],
        results={
            "best_layers": {name: probe.emergence.best_layer for name, probe in results.items()}
        },
        model=archives[0].manifest.model,
        tokenizer=archives[0].manifest.tokenizer,
        run=Run.since(started),
        force=force,
    )
    return stem.with_name(f"{stem.name}.safetensors")


def _directions(
    probe: "Probe", each: "PoolActivations", result: "QuestionResult", seed: int
) -> Iterator[Direction]:
    """Fit a probe at every layer."""
    labelled, y = probe.prompts.y()
    at, groups = each.pool.rows(probe)[labelled], probe.prompts.groups()[labelled]
    names = [probe.prompts.labels[k] for k in np.unique(y)]
    y = np.unique(y, return_inverse=True)[1]
    for layer in each.trained.layers(SITE):
        rows = each.trained.read(SITE, layer)[at]
        fitted = fit_probe(rows, y, groups, seed=seed)
        entry = result.layers[layer]
        quality = {
            "auroc": list(entry.auroc),
            "p_any": entry.p_any,
            "significant": entry.significant,
        }
        for logit in logits_of(probe.name, names, fitted):
            if logit.slope:
                one = y == logit.positive
                yield Direction(
                    name=logit.name,
                    site=SITE,
                    layer=layer,
                    vector=logit.vector,
                    norm=float(np.linalg.norm(rows[one].mean(axis=0) - rows[~one].mean(axis=0))),
                    positive_label=names[logit.positive],
                    negative_label=names[0] if len(names) == 2 else "rest",
                    quality=quality,
                    extra={
                        **logit.extra(probe.name, names),
                        "best": layer == result.emergence.best_layer,
                        "chosen_among": len(result.layers),
                        "verdict": result.emergence.verdict,
                    },
                    method="probe",
                    model=each.trained.manifest.model,
                    format=each.pool.form.name,
                )


@dataclass(frozen=True, kw_only=True)
class Logit:
    """One logit of a probe: the class that it is of, its unit weights, slope and bias."""

    name: str
    positive: int
    vector: Array
    slope: float
    bias: float

    def extra(self, probe: str, classes: list[str]) -> dict[str, object]:
        """Return what makes a direction a probe."""
        return {"probe": probe, "classes": classes, "slope": self.slope, "bias": self.bias}


def logits_of(name: str, classes: list[str], fitted: FittedProbe) -> Iterator[Logit]:
    """Yield the logits of a fitted probe: one for two classes, else one for each."""
    for k, weights in enumerate(fitted.weights.T):
        slope = float(np.linalg.norm(weights))
        vector = (weights / slope if slope else weights).astype(np.float32)
        binary = len(classes) == 2
        full_name = name if binary else f"{name}:{classes[k]}"
        yield Logit(
            name=full_name,
            positive=1 if binary else k,
            vector=vector,
            slope=slope,
            bias=float(fitted.bias[k]),
        )


@dataclass(frozen=True)
class SavedProbe:
    """A probe at one layer, as it was saved: one direction for two classes, else one for each."""

    name: str
    layer: int
    classes: list[str]
    parts: list[Direction]
    best_of: int | None = None  # layers, where this one is the best of several

    @property
    def verdict(self) -> str | None:
        """What its run says of it over all layers; files of ``introspect probe`` have none."""
        verdict: str | None = self.parts[0].extra.get("verdict")
        return verdict

    def probabilities(self, rows: Array) -> Array:
        """Return the probability of each class at ``rows`` (n, d): (n, n_classes)."""
        wide = rows.astype(np.float64)
        logits = [
            part.extra["slope"] * (wide @ part.vector) + part.extra["bias"] for part in self.parts
        ]
        return probabilities(np.stack(logits, axis=1))


def read_probe(
    path: Path, name: str | None, layer: str | None
) -> tuple[SavedProbe, ModelIdentity | None]:
    """Read one probe of ``path``, the only one or ``name``, at ``layer`` or its best layer."""
    saved = [each for each in read_directions(path) if each.method == "probe"]
    names = list(dict.fromkeys(each.extra["probe"] for each in saved))
    if not saved:
        message = f"`{path}` holds no probes"
        hint = "circuit probes run -o REPORT.json writes REPORT.fitted.safetensors"
        raise DataError("no-probes", message, hint=hint, path=str(path))
    if name is None and len(names) > 1:
        message = f"`{path}` holds {len(names)} probes"
        hint = f"choose one with --probe: {', '.join(names)}"
        raise UsageError("probe-not-chosen", message, hint=hint, probes=names)
    if name is not None and name not in names:
        message = f"`{path}` holds no probe `{name}`"
        hint = f"it holds {', '.join(names)}"
        raise UsageError("unknown-probe", message, hint=hint, name=name, probes=names)
    own = [each for each in saved if each.extra["probe"] == (name or names[0])]
    at = _layer(own, layer)
    parts = [each for each in own if each.layer == at]
    among = parts[0].extra.get("chosen_among", len({each.layer for each in own}))
    best_of = among if parts[0].extra["best"] and among > 1 else None
    probe = SavedProbe(name or names[0], at, parts[0].extra["classes"], parts, best_of)
    return probe, parts[0].model


def _layer(parts: Sequence[Direction], layer: str | None) -> int:
    available = sorted({each.layer for each in parts})
    if layer is None:
        best = [each.layer for each in parts if each.extra["best"]]
        return best[0] if best else available[-1]
    model = parts[0].model
    depth = available[-1] + 1 if model is None or model.n_layers is None else model.n_layers
    chosen = parse_layers(layer, available, depth)
    if len(chosen) != 1:
        message = f"`{layer}` names {len(chosen)} layers, and a probe is read at one"
        hint = "name one layer with --layer"
        raise UsageError("several-layers", message, hint=hint, layers=chosen)
    return chosen[0]
