"""``probes run``: at which layer does each question of a battery become readable?

All prompts of the battery go through the model once, into one archive per prompt format (``<report>.raw.safetensors``,
``<report>.chat.safetensors``), by the code of ``collect``, and once more through the same model with random weights
(``<report>.random.raw.safetensors``). Each question is then put to ``embed``, to every wanted ``resid_post``, and to everything that it has to
beat (``stages.scoring``). What may be said is in ``emergence``:

    layer            the first decodable layer that is above all baselines (words, surface, ``embed``, random weights at the same
                     layer) by a paired difference, and stays above in the next two; median and 90 % interval over resamples
    saturation_layer the first that is not shown to be worse than the best
    threshold_layer  the first layer whose AUROC reaches the threshold, whatever its uncertainty
    in_tokens, on_surface  the question is decodable at ``embed``, or from the words or the surface of the text
    verdict          few groups, not decodable, surface, tokens, unresolved, decodable or selective: ``methods.verdict``

``significant`` (a star) means: the interval lies above ½, the family-wise permutation p is at most 0.05, there are at least 10 groups; never
anything else. ``p_battery`` is the smallest p of a probe, corrected for the number of probes (Holm).

``flags`` of a probe say in words what is wrong with its rows (``stages.flags``); the results stand, and are worth what the flags leave of them.
The report is a manifest, schema ``circuit.probes/1``, with the held-out scores of every prompt and a checklist. The probes, fitted to all
prompts, are in ``<report>.fitted.safetensors`` for ``probes apply``. A star says that an answer can be read off a layer,
not that the model uses it; only an intervention can show that.
"""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from circuit.artifacts.activations.activations import Activations
from circuit.artifacts.files.documents import canonical_json, plain
from circuit.artifacts.manifest.manifest import Run, manifest_path, reusable, write_manifest
from circuit.errors import DataError
from circuit.methods.arrays import Array
from circuit.methods.linear.threads import one_blas_thread
from circuit.methods.probes.description_length import MIN_ROWS
from circuit.methods.probes.permutation import holm
from circuit.methods.probes.question import Task, prepare
from circuit.methods.uncertainty.emergence import check_threshold
from circuit.methods.uncertainty.splits import merge_identical
from circuit.stages.collect.recording import Recording
from circuit.stages.collect.run import collect_prompts
from circuit.stages.legacy import ModelOptions
from circuit.stages.probes.battery import Pool, Probe, load_battery, pools, summary
from circuit.stages.probes.checklist import checklist
from circuit.stages.probes.saved import save_probes
from circuit.stages.probes.score import Sources, score
from circuit.stages.rows.labelled_rows import LabelledRows, mostly_distinct, repetition_text
from circuit.stages.rows.warnings import all_equal_rows, equal_rows_text, row_warnings
from circuit.stages.run import Track, untracked
from circuit.values import schemas


@dataclass(frozen=True)
class Settings:
    """How every probe of the battery is fitted and judged."""

    threshold: float = 0.75
    folds: int = 5
    n_boot: int = 1000
    n_shuffles: int = 1000
    seed: int = 0
    random_weights: bool = True


@dataclass(frozen=True)
class Done:
    """The results of a battery, and whether the report was there already."""

    results: dict[str, Any]
    reused: bool


@dataclass(frozen=True)
class Collection:
    """A pool's prompts run through the model, and through it with random weights."""

    pool: Pool
    trained: Activations
    random: Activations | None

    @property
    def archives(self) -> list[Activations]:
        """The archives that there are."""
        return [self.trained] if self.random is None else [self.trained, self.random]


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
    """Probe a model with a battery; with ``out`` the report, the probes and the archives are written there."""
    check_threshold(settings.threshold)
    gathered = pools(load_battery(datasets, strata), chat=chat)
    for probe in (probe for pool in gathered for probe in pool.probes):
        _task(probe, settings)
    if out is not None:
        return _reported(options, gathered, layers, settings, manifest_path(out), force, track)
    with TemporaryDirectory() as folder:
        passing = Path(folder) / "probes.json"
        return _reported(options, gathered, layers, settings, passing, force, track)


def _reported(
    options: ModelOptions,
    gathered: Sequence[Pool],
    layers: str,
    settings: Settings,
    out: Path,
    force: bool,
    track: Track,
) -> Done:
    """Collect, score, and write the report last."""
    started = time.perf_counter()
    collections = _collections(options, gathered, layers, settings, out, force, track)
    archives = [archive for each in collections for archive in each.archives]
    files = [p.path for pool in gathered for p in pool.probes if not p.builtin]
    model = collections[0].trained.manifest.model
    described: dict[str, Any] = {
        "parameters": {**asdict(settings), "layers": collections[0].trained.layers("resid_post")},
        "inputs": [*(archive.path for archive in archives), *files],
        "model": model,
    }
    found = reusable(out, schema=schemas.PROBES, **described, force=force)
    if found is not None:
        return Done(found.results, reused=True)
    with one_blas_thread():
        results = plain(_results(collections, settings, track))
        fitted = save_probes(
            out.with_name(f"{out.stem}.fitted"),
            [(probe, each) for each in collections for probe in each.pool.probes],
            results,
            seed=settings.seed,
            force=force,
        )
    write_manifest(
        out,
        schema=schemas.PROBES,
        **described,
        outputs=[fitted] if fitted else [],
        results=results,
        tokenizer=collections[0].trained.manifest.tokenizer,
        run=Run.since(started),
        force=force,
    )
    return Done(results, reused=False)


def _collections(
    options: ModelOptions,
    gathered: Sequence[Pool],
    layers: str,
    settings: Settings,
    out: Path,
    force: bool,
    track: Track,
) -> list[Collection]:
    """Run the prompts through the model, then through it with random weights: one of them in memory at a time."""
    model = options.load()
    trained = [_collected(model, pool, layers, out, force, track) for pool in gathered]
    if not settings.random_weights:
        return [Collection(p, t, None) for p, t in zip(gathered, trained, strict=True)]
    from circuit.model.checkpoint.random_weights import randomise

    model = randomise(model, seed=settings.seed)
    stem = out.with_name(f"{out.stem}.random")
    random = [_collected(model, pool, layers, stem, force, track) for pool in gathered]
    return [Collection(*each) for each in zip(gathered, trained, random, strict=True)]


def _collected(
    model: Any, pool: Pool, layers: str, out: Path, force: bool, track: Track
) -> Activations:
    """Run the prompts of one format through the model, or open the archive that holds them."""
    text = canonical_json([probe.prompts for probe in pool.probes])
    done = collect_prompts(
        model,
        pool.prompts,
        out.with_name(f"{out.name.removesuffix('.json')}.{pool.name}"),
        recording=Recording(layers=layers, sites="embed,resid_post"),
        prompt_format=pool.form,
        inputs=[probe.path for probe in pool.probes if not probe.builtin],
        parameters={"battery_sha256": hashlib.sha256(text.encode()).hexdigest()},
        force=force,
        track=track,
    )
    return done.result


def _results(collections: Sequence[Collection], settings: Settings, track: Track) -> dict[str, Any]:
    jobs = [(probe, each) for each in collections for probe in each.pool.probes]
    scored = {
        probe.name: _scored(probe, each, settings)
        for probe, each in track(jobs, "Probing", len(jobs))
    }
    p_battery = holm({name: _smallest_p(probe) for name, probe in scored.items()})
    for name, probe in scored.items():
        probe["p_battery"] = p_battery[name]
    random, model = collections[0].random, collections[0].trained.manifest.model
    order = [p.name for p in sorted((job[0] for job in jobs), key=Probe.place)]
    results = {
        "n_layers": collections[0].trained.n_layers,
        "model": None if model is None else model.id,
        "layers": collections[0].trained.layers("resid_post"),
        "score": "held-out AUROC, macro one-against-rest; chance 0.5",
        "threshold": settings.threshold,
        "n_boot": settings.n_boot,
        "bits_from_prompts": MIN_ROWS,
        "seed": settings.seed,
        "random_weights": random.manifest.model.id if random and random.manifest.model else None,
        "prompts": sum(len(each.pool.prompts.prompts) for each in collections),
        "probes": {name: scored[name] for name in order},
    }
    return {**results, "checklist": checklist(results)}


def _smallest_p(probe: dict[str, Any]) -> float | None:
    found = [entry["p_any"] for entry in probe["layers"].values() if entry["p_any"] is not None]
    return min(found, default=None)


def _task(probe: Probe, settings: Settings, deepest: Array | None = None) -> Task:
    """Draw the folds of a probe, or say in one sentence why that cannot be done."""
    _, y = probe.prompts.y()
    try:
        return prepare(
            y,
            _groups(probe, deepest)[0],
            units=_units(probe),
            folds=settings.folds,
            seed=settings.seed,
            n_boot=settings.n_boot if deepest is not None else 1,
            n_shuffles=settings.n_shuffles if deepest is not None else 0,
        )
    except DataError as error:
        message = f"probe `{probe.name}`: {error.message}"
        raise DataError(message, hint=error.hint) from error


def _groups(probe: Probe, deepest: Array | None) -> tuple[Array, int]:
    """Groups of the labelled prompts, equal texts and equal activations joined, and how many prompts repeat another."""
    rows, _ = probe.prompts.y()
    keys: list[Any] = [[probe.prompts.texts[row] for row in rows]]
    if deepest is not None and mostly_distinct(deepest):
        keys.append(deepest)
    return merge_identical(probe.prompts.groups()[rows], *keys)


def _units(probe: Probe) -> list[str]:
    """What labels are permuted within: the pair of a prompt that has a partner, else its group."""
    rows, _ = probe.prompts.y()
    unit = [f"group {name}" for name in probe.prompts.groups()]
    for number, pair in enumerate(probe.prompts.pairs()):
        for row in pair:
            unit[row] = f"pair {number}"
    return [unit[row] for row in rows]


def _scored(probe: Probe, each: Collection, settings: Settings) -> dict[str, Any]:
    """Score one probe at every layer and beside every baseline."""
    labelled, _ = probe.prompts.y()
    rows, layers = each.pool.rows(probe)[labelled], each.trained.layers("resid_post")
    deepest = each.trained.read("resid_post", layers[-1])[rows]
    task, repeated = _task(probe, settings, deepest), _groups(probe, deepest)[1]
    asked = LabelledRows(probe.name, labelled, task.y, probe.classes(), task.groups)
    random = each.random
    sources = Sources(
        texts=[probe.prompts.texts[row] for row in labelled],
        embed=each.trained.read("embed", 0)[rows],
        layers=layers,
        read=lambda layer: np.asarray(each.trained.read("resid_post", layer)[rows]),
        random=None
        if random is None
        else lambda layer: np.asarray(random.read("resid_post", layer)[rows]),
    )
    return {
        **summary(probe),
        "format": each.pool.form.name,
        "repeated_prompts": repeated,
        "flags": [
            *row_warnings(asked, settings.folds),
            *([repetition_text(repeated, len(labelled))] if repeated else []),
            *(
                equal_rows_text(f"L{k}", len(labelled))
                for k in layers
                if all_equal_rows(sources.read(k))
            ),
        ],
        **score(task, sources, threshold=settings.threshold),
    }
