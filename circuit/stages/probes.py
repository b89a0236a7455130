"""``probes run``: at which layer does each question of a battery become readable?

All prompts of the battery go through the model once, into one archive per prompt format (``<report>.raw.safetensors``,
``<report>.chat.safetensors``), by the code of ``collect``. Each probe then reads its rows at ``embed`` and at every
wanted ``resid_post``, and two baselines read the text itself; all on the same grouped folds.

    *              the lower bound of the AUROC's 95 % interval is above the upper bound of the same procedure on
                   shuffled labels, and there are at least 10 groups; a star never means anything else
    in_tokens      the star holds at ``embed``: the embedding of the last token tells the classes apart
    on_surface     the star holds for the words or the surface features of the text: no model is needed
    layer          emergence: the first layer whose lower bound is above the upper bounds of all baselines (shuffled
                   labels, words, surface, ``embed``) and stays above in the next two
    threshold_layer  the first layer whose AUROC reaches the threshold, whatever its uncertainty

The report is a manifest, schema ``circuit.probes/1``. A star says that an answer can be read off a layer, not
that the model uses it; only an intervention can show that.
"""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from circuit.artifacts.activations import Activations
from circuit.artifacts.documents import canonical_json, plain
from circuit.artifacts.manifest import Run, manifest_path, reusable, write_manifest
from circuit.errors import DataError
from circuit.methods.emergence import check_threshold, emergence_layer, threshold_crossing
from circuit.methods.probing import ProbeResult, cross_validated_probe
from circuit.methods.splits import MIN_GROUPS, grouped_folds, merge_identical
from circuit.methods.surface import bag_of_words, surface_features
from circuit.methods.threads import one_blas_thread
from circuit.stages.battery import Pool, Probe, load_battery, pools, summary
from circuit.stages.collect import collect_prompts
from circuit.stages.collection import Wanted
from circuit.stages.running import ModelOptions, Track, untracked

SCHEMA = "circuit.probes/1"
BASELINES = ("words", "surface", "embed")


@dataclass(frozen=True)
class Settings:
    """How every probe of the battery is fitted and judged."""

    threshold: float = 0.75
    folds: int = 5
    n_boot: int = 1000
    n_shuffles: int = 20
    seed: int = 0


@dataclass(frozen=True)
class Done:
    """The results of a battery, and whether the report was there already."""

    results: dict[str, Any]
    reused: bool


def run_probes(
    options: ModelOptions,
    *,
    datasets: Path | None = None,
    strata: Sequence[str] = (),
    layers: str = "all",
    chat: bool | None = None,
    settings: Settings = Settings(),
    out: Path | None = None,
    force: bool = False,
    track: Track = untracked,
) -> Done:
    """Probe a model with a battery; with ``out`` the report and the archives are written there."""
    check_threshold(settings.threshold)
    gathered = pools(load_battery(datasets, strata), chat=chat)
    for probe in (probe for pool in gathered for probe in pool.probes):
        Design.of(probe, settings)
    model = options.load()
    if out is not None:
        return _reported(model, gathered, layers, settings, manifest_path(out), force, track)
    with TemporaryDirectory() as folder:
        passing = Path(folder) / "probes.json"
        return _reported(model, gathered, layers, settings, passing, force, track)


def _reported(
    model: Any,
    gathered: Sequence[Pool],
    layers: str,
    settings: Settings,
    out: Path,
    force: bool,
    track: Track,
) -> Done:
    """Collect, score, and write the report last."""
    started = time.perf_counter()
    archives = [_collected(model, pool, layers, out, force, track) for pool in gathered]
    files = [p.path for pool in gathered for p in pool.probes if not p.builtin]
    described: dict[str, Any] = {
        "parameters": {**asdict(settings), "layers": archives[0].layers("resid_post")},
        "inputs": [*(archive.path for archive in archives), *files],
        "model": model.identity,
    }
    found = reusable(out, schema=SCHEMA, **described, force=force)
    if found is not None:
        return Done(found.results, reused=True)
    results = plain(_results(model, gathered, archives, settings, track))
    write_manifest(
        out,
        schema=SCHEMA,
        **described,
        results=results,
        tokenizer=model.tokenizer_identity,
        run=Run.since(started),
        force=force,
    )
    return Done(results, reused=False)


def _collected(
    model: Any, pool: Pool, layers: str, out: Path, force: bool, track: Track
) -> Activations:
    """Run the prompts of one format through the model, or open the archive that holds them."""
    text = canonical_json([probe.prompts for probe in pool.probes])
    return collect_prompts(
        model,
        pool.prompts,
        out.with_name(f"{out.stem}.{pool.name}"),
        wanted=Wanted(layers=layers, sites="embed,resid_post"),
        prompt_format=pool.form,
        inputs=[probe.path for probe in pool.probes if not probe.builtin],
        parameters={"battery_sha256": hashlib.sha256(text.encode()).hexdigest()},
        force=force,
        track=track,
    ).activations


def _results(
    model: Any,
    gathered: Sequence[Pool],
    archives: Sequence[Activations],
    settings: Settings,
    track: Track,
) -> dict[str, Any]:
    jobs = [
        (probe, pool, archive)
        for pool, archive in zip(gathered, archives, strict=True)
        for probe in pool.probes
    ]
    with one_blas_thread():
        scored = {
            probe.name: _scored(probe, pool, archive, settings)
            for probe, pool, archive in track(jobs, "Probing", len(jobs))
        }
    order = [p.name for p in sorted((job[0] for job in jobs), key=Probe.place)]
    return {
        "n_layers": model.n_layers,
        "layers": archives[0].layers("resid_post"),
        "score": "held-out AUROC, macro one-against-rest; chance 0.5",
        "threshold": settings.threshold,
        "prompts": sum(len(pool.prompts.prompts) for pool in gathered),
        "probes": {name: scored[name] for name in order},
    }


@dataclass(frozen=True)
class Design:
    """The labelled rows of a probe, and the folds on which everything is compared."""

    rows: NDArray[np.intp]
    y: NDArray[np.intp]
    groups: NDArray[Any]
    repeats: int
    splits: list[tuple[NDArray[Any], NDArray[Any]]]

    @classmethod
    def of(cls, probe: Probe, settings: Settings) -> "Design":
        """Split a probe, or say in one sentence why that cannot be done."""
        rows, y = probe.prompts.y()
        texts = [probe.prompts.texts[row] for row in rows]
        groups, repeats = merge_identical(probe.prompts.groups()[rows], texts)
        try:
            splits = grouped_folds(y, groups, folds=settings.folds, seed=settings.seed)
        except DataError as error:
            message = f"probe `{probe.name}`: {error.message}"
            raise DataError(message, hint=error.hint) from error
        return cls(rows, y, groups, repeats, splits)


def _scored(probe: Probe, pool: Pool, archive: Activations, settings: Settings) -> dict[str, Any]:
    """Score one probe at every layer and beside every baseline."""
    design = Design.of(probe, settings)
    texts = [probe.prompts.texts[row] for row in design.rows]
    rows = pool.rows(probe)[design.rows]
    layers = archive.layers("resid_post")

    def score(features: NDArray[Any]) -> ProbeResult:
        return cross_validated_probe(
            features,
            design.y,
            design.groups,
            splits=design.splits,
            seed=settings.seed,
            n_boot=settings.n_boot,
            n_shuffles=settings.n_shuffles,
        )

    baselines = {
        "words": score(bag_of_words(texts)),
        "surface": score(surface_features(texts)),
        "embed": score(archive.read("embed", 0)[rows]),
    }
    found = {layer: score(archive.read("resid_post", layer)[rows]) for layer in layers}
    return {
        **summary(probe),
        "format": pool.form.name,
        "n": len(design.rows),
        "n_groups": baselines["words"].n_groups,
        "repeated_texts": design.repeats,
        "n_folds": len(design.splits),
        "baselines": {name: _entry(result) for name, result in baselines.items()},
        "layers": {str(layer): _entry(result) for layer, result in found.items()},
        "emergence": _emergence(found, baselines, settings.threshold),
    }


def _entry(result: ProbeResult) -> dict[str, Any]:
    return {**result.as_dict(), "significant": _is_significant(result)}


def _is_significant(result: ProbeResult) -> bool:
    return result.n_groups >= MIN_GROUPS and result.auroc.low > result.shuffled.high


def _emergence(
    found: dict[int, ProbeResult], baselines: dict[str, ProbeResult], threshold: float
) -> dict[str, Any]:
    """Say where a question becomes readable, and whether the tokens or the text answer it already."""
    layers = list(found)
    beside = max(result.auroc.high for result in baselines.values())
    highs = [max(beside, result.shuffled.high) for result in found.values()]
    enough = next(iter(found.values())).n_groups >= MIN_GROUPS
    lows = [result.auroc.low for result in found.values()]
    return {
        "layer": emergence_layer(layers, lows, highs) if enough else None,
        "threshold_layer": threshold_crossing(
            layers, [result.estimate for result in found.values()], threshold
        ),
        "best_layer": max(layers, key=lambda layer: found[layer].estimate),
        "in_tokens": _is_significant(baselines["embed"]),
        "on_surface": any(_is_significant(baselines[name]) for name in ("words", "surface")),
    }
