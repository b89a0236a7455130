"""Probes to keep: fitted to all prompts of a battery, saved as directions with a slope and a bias, read at any token.

``<report>.fitted.safetensors`` is an archive of directions (schema ``circuit.directions/1``). Each vector v is a probe's weight w at unit
length; ``extra`` holds what makes it a probe: ``logit = slope · (v · h) + bias``. A question of two classes is one direction, named after the
probe; one of K classes is K of them, ``probe:class``, whose logits go through a softmax. So the file also steers and projects like any
other. A layer at which all prompts have the same activations has no probe.

``apply`` reads a probe at every token of a prompt, and of what the model goes on to write. It was trained and scored at the last
token of a prompt: elsewhere its probability is an extrapolation, and its course along the tokens is what is meaningful. Beside the score stand
the verdict of its run, among how many layers its layer is the best (then the score is optimistic), and ``notes``: other
weights or another prompt format than the probe was made with, and a probe that was not shown to read anything.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from circuit.artifacts.activations.activations import Activations
from circuit.artifacts.manifest.manifest import Run
from circuit.artifacts.steering_files.files import Direction, read_directions, write_directions
from circuit.errors import DataError, UsageError
from circuit.methods.probes.fitted_probe import FittedProbe, fit_probe, probabilities
from circuit.methods.probes.verdict import FEW_GROUPS, NOT_DECODABLE
from circuit.stages.legacy import ModelOptions
from circuit.stages.probes.battery import Pool, Probe
from circuit.stages.rows.prompting import encode
from circuit.stages.rows.questions import Array
from circuit.stages.rows.same_weights import other_weights
from circuit.values.identity import ModelIdentity
from circuit.values.layers import parse_layers
from circuit.values.prompt_format import PromptFormat
from circuit.values.sampling import Sampling
from circuit.values.sites import Site

SITE = "resid_post"


class Collected(Protocol):
    """Prompts of one format and their activations."""

    @property
    def pool(self) -> Pool:
        """The prompts, and the probes that ask them."""

    @property
    def trained(self) -> Activations:
        """What the model holds for them."""


def save_probes(
    stem: Path,
    jobs: Sequence[tuple[Probe, Collected]],
    results: Mapping[str, Any],
    *,
    seed: int,
    force: bool = False,
) -> Path | None:
    """Fit every probe at every layer to all of its prompts and write them; None when there is none to write."""
    started = time.perf_counter()
    found = [
        direction
        for probe, each in jobs
        for direction in _directions(probe, each, results["probes"][probe.name], seed)
    ]
    if not found:
        return None
    archives = list({each.trained.path: each.trained for _, each in jobs}.values())
    best = {name: probe["emergence"]["best_layer"] for name, probe in results["probes"].items()}
    write_directions(
        stem,
        found,
        parameters={"seed": seed, "probes": list(results["probes"]), "site": SITE},
        inputs=[archive.path for archive in archives],
        results={"best_layers": best},
        model=archives[0].manifest.model,
        tokenizer=archives[0].manifest.tokenizer,
        run=Run.since(started),
        force=force,
    )
    return stem.with_name(f"{stem.name}.safetensors")


def _directions(
    probe: Probe, each: Collected, report: Mapping[str, Any], seed: int
) -> Iterator[Direction]:
    """Fit a probe at every layer."""
    labelled, y = probe.prompts.y()
    at, groups = each.pool.rows(probe)[labelled], probe.prompts.groups()[labelled]
    names = [probe.prompts.labels[k] for k in np.unique(y)]
    y = np.unique(y, return_inverse=True)[1]
    for layer in each.trained.layers(SITE):
        rows = each.trained.read(SITE, layer)[at]
        fitted = fit_probe(rows, y, groups, seed=seed)
        entry = report["layers"][str(layer)]
        quality = {key: entry[key] for key in ("auroc", "p_any", "significant")}
        best = layer == report["emergence"]["best_layer"]
        for part in _parts(probe.name, names, fitted):
            if part.slope:
                one = y == part.positive
                yield Direction(
                    name=part.name,
                    site=SITE,
                    layer=layer,
                    vector=part.vector,
                    norm=float(np.linalg.norm(rows[one].mean(axis=0) - rows[~one].mean(axis=0))),
                    positive_label=names[part.positive],
                    negative_label=names[0] if len(names) == 2 else "rest",
                    quality=quality,
                    extra={
                        **part.extra(probe.name, names),
                        "best": best,
                        "chosen_among": len(report["layers"]),
                        "verdict": report["emergence"]["verdict"],
                    },
                    method="probe",
                    model=each.trained.manifest.model,
                    format=each.pool.form.name,
                )


@dataclass(frozen=True)
class Part:
    """One logit of a probe: the class that it speaks for, its unit weights, slope and bias."""

    name: str
    positive: int
    vector: Array
    slope: float
    bias: float

    def extra(self, probe: str, classes: list[str]) -> dict[str, Any]:
        """Return what makes a direction a probe."""
        return {"probe": probe, "classes": classes, "slope": self.slope, "bias": self.bias}


def _parts(name: str, classes: list[str], fitted: FittedProbe) -> Iterator[Part]:
    for k, weights in enumerate(fitted.weights.T):
        slope = float(np.linalg.norm(weights))
        vector = (weights / slope if slope else weights).astype(np.float32)
        binary = len(classes) == 2
        full_name = name if binary else f"{name}:{classes[k]}"
        yield Part(full_name, 1 if binary else k, vector, slope, float(fitted.bias[k]))


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
    """Read one probe of ``path``: the only one, or ``name``; at ``layer``, or where it scored best."""
    saved = [each for each in read_directions(path) if each.method == "probe"]
    names = list(dict.fromkeys(each.extra["probe"] for each in saved))
    if not saved:
        message = f"`{path}` holds no probes"
        raise DataError(
            message, hint="circuit probes run -o REPORT.json writes REPORT.fitted.safetensors"
        )
    if name is None and len(names) > 1:
        message = f"`{path}` holds {len(names)} probes"
        raise UsageError(message, hint=f"choose one with --probe: {', '.join(names)}")
    if name is not None and name not in names:
        message = f"`{path}` holds no probe `{name}`"
        raise UsageError(message, hint=f"it holds {', '.join(names)}")
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
        message = f"`{layer}` names {len(chosen)} layers, a probe is read at one"
        raise UsageError(message, hint="name one layer with --layer")
    return chosen[0]


def apply_probe(
    options: ModelOptions,
    probes: Path,
    prompts: Sequence[str],
    *,
    name: str | None = None,
    layer: str | None = None,
    chat: bool | None = None,
    generate: int = 0,
) -> dict[str, Any]:
    """Read a probe at every token of ``prompts`` and of ``generate`` tokens that the model goes on to write."""
    from circuit.model.forward.token_states import token_states, token_texts

    probe, identity = read_probe(probes, name, layer)
    model = options.load()
    _check_model(model, identity, probes)
    use_chat = probe.parts[0].format == "chat" if chat is None else chat
    form = "chat" if use_chat else "raw"
    encoded = encode(model, prompts, PromptFormat(chat=use_chat))
    written = _written(model, encoded, generate)
    readings = []
    for text, prompt, answer in zip(prompts, encoded, written, strict=True):
        ids = [*map(int, prompt.ids), *answer]
        at = Site(SITE, probe.layer)
        p = probe.probabilities(token_states(model, ids, [at])[at])
        readings.append(
            {
                "prompt": text,
                "tokens": token_texts(model, ids),
                "generated_from": len(prompt.ids),
                "probabilities": np.round(p, 6).tolist(),
            }
        )
    return {
        "probe": probe.name,
        "layer": probe.layer,
        "classes": probe.classes,
        "quality": dict(probe.parts[0].quality),
        "verdict": probe.verdict,
        "best_of_layers": probe.best_of,
        "trained_at": "the last token of a prompt",
        "format": form,
        "notes": list(_notes(probe, model, identity, form)),
        "readings": readings,
    }


def _written(model: Any, encoded: Sequence[Any], n_tokens: int) -> list[list[int]]:
    if not n_tokens:
        return [[] for _ in encoded]
    from circuit.model.forward.generate import generate

    return [answer.ids for answer in generate(model, encoded, Sampling(n_tokens))]


def _check_model(model: Any, identity: ModelIdentity | None, path: Path) -> None:
    """Refuse a model of another shape; other weights are the reader's own choice (base against fine-tuned), and noted."""
    if identity is None:
        return
    if (model.n_layers, model.d_model) != (identity.n_layers, identity.d_model):
        message = (
            f"`{path}` is for a model of {identity.n_layers} layers and width {identity.d_model}, "
            f"`{model.id}` has {model.n_layers} and {model.d_model}"
        )
        raise DataError(message, hint=f"it was made with `{identity.id}`")


def _notes(
    probe: SavedProbe, model: Any, identity: ModelIdentity | None, form: str
) -> Iterator[str]:
    """Say what makes the probe's score another than that of these readings, or the readings meaningless."""
    if identity is not None:
        here = model.identity
        if other_weights(identity, here):
            yield (
                f"the probe was made with `{identity.id}`, this model has other weights (`{here.id}`): the "
                "score is not of this model"
            )
    trained_on = probe.parts[0].format
    if trained_on is not None and trained_on != form:
        yield (
            f"the probe was made from prompts given as {trained_on}, these are {form}: the score is "
            "not of such prompts"
        )
    significant = probe.parts[0].quality.get("significant")
    if probe.verdict in (FEW_GROUPS, NOT_DECODABLE):
        yield f"the verdict of the probe is `{probe.verdict}`: what it reads here means nothing"
    elif significant is False:
        yield f"the probe was not shown to read anything at L{probe.layer}: do not rely on it here"
