"""``probes run``: at which layer does each question of a battery become readable?

All prompts of the battery go through the model once, into one archive per prompt format
(``<report>.raw.safetensors``, ``<report>.chat.safetensors``), by the code of ``collect``, and once
more through the same model with random weights (``<report>.random.raw.safetensors``). Each question
is then put to ``embed``, to every layer of ``resid_post``, and to everything that it has to beat
(``stages.probes.score``). What may be said is in ``emergence``:

    layer            the first decodable layer that is above all baselines (words, surface,
                     ``embed``, random weights at the same layer) by a paired difference, and stays
                     above in the next two; median and 90 % interval over resamples
    saturation_layer the first that is not shown to be worse than the best
    threshold_layer  the first layer whose AUROC reaches the threshold, whatever its uncertainty
    in_tokens, on_surface  the question is decodable at ``embed``, or from the words or the surface
    verdict          few groups, not decodable, surface, tokens, unresolved, decodable or selective:
                     ``methods.verdict``

``significant`` (a star) means: the interval lies above ½, the family-wise permutation p is at most
0.05, there are at least 10 groups; never anything else. ``p_battery`` is the smallest p of a probe,
corrected for the number of probes (Holm). ``flags`` of a probe say in words what is wrong with its
rows (``stages.rows.warnings``).

The report is a manifest, schema ``circuit.probes/1``, with the held-out scores of every prompt and
a checklist. The archives and the probes, fitted to all prompts (``<report>.fitted.safetensors``,
for ``probes apply``), are its outputs. A star says that an answer can be read off a layer, not that
the model uses it; only an intervention can show that.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from circuit.artifacts.activations.activations import Activations
from circuit.artifacts.files.documents import canonical_json, plain
from circuit.artifacts.manifest.manifest import manifest_path, write_manifest
from circuit.methods.linear.processes import in_processes
from circuit.methods.linear.threads import one_blas_thread
from circuit.methods.probes.description_length import MIN_ROWS
from circuit.methods.probes.permutation import holm
from circuit.methods.uncertainty.emergence import check_threshold
from circuit.stages.collect.collection import Collection
from circuit.stages.collect.recording import Recording
from circuit.stages.collect.run import collect
from circuit.stages.probes.battery import Pool, Probe, load_battery, pools
from circuit.stages.probes.checklist import checklist
from circuit.stages.probes.document import present
from circuit.stages.probes.question import PoolActivations, question_result, task_of
from circuit.stages.probes.request import RunRequest
from circuit.stages.probes.results import BatteryResult, QuestionResult
from circuit.stages.probes.saved import save_probes
from circuit.stages.rows.prompting import shown_format
from circuit.stages.run import Command, Job, Plan, Record, Session
from circuit.values import schemas
from circuit.values.layers import parse_layers

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel

MANY_LAYERS = 64  # probes times layers


def plan(request: RunRequest) -> Plan[BatteryResult]:
    """Read the battery, and check that every probe of it can be fitted."""
    check_threshold(request.threshold)
    battery = load_battery(request.battery.datasets, request.battery.category.strata)
    gathered = pools(battery, chat=request.chat)
    for probe in battery:
        task_of(probe, request)
    out = None if request.output is None else manifest_path(request.output)
    asked = [[pool.form, [probe.prompts for probe in pool.probes]] for pool in gathered]
    known = {
        "threshold": request.threshold,
        "folds": request.folds,
        "n_boot": request.n_boot,
        "n_shuffles": request.n_shuffles,
        "seed": request.seed.seed,
        "random_weights": request.random_weights,
        "battery_sha256": _sha256(asked),
    }

    def begin(model: "LoadedModel") -> Job[BatteryResult]:
        layers = parse_layers(request.layers, range(model.n_layers), model.n_layers)
        collections: list[PoolActivations] = []

        def compute(session: Session) -> BatteryResult:
            with ExitStack() as stack:  # without a report the archives are temporary
                at = out or Path(stack.enter_context(TemporaryDirectory())) / "probes.json"
                collections.extend(_collections(request, model, gathered, at, session))
                stack.enter_context(one_blas_thread())
                return _results(collections, request, session)

        def write(result: BatteryResult, record: Record) -> None:
            _write(request, collections, out, result, record)

        return Job(parameters={**known, "layers": layers}, compute=compute, write=write)

    return Plan(
        result=BatteryResult,
        schema=schemas.PROBES,
        model=request.model,
        inputs=[probe.path for probe in battery if not probe.builtin],
        output=out,
        force=request.force,
        known=known,
        begin=begin,
    )


def _sha256(value: object) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def _collections(
    request: RunRequest,
    model: "LoadedModel",
    gathered: Sequence[Pool],
    out: Path,
    session: Session,
) -> list[PoolActivations]:
    """Run the prompts through the model, then through the same model with random weights."""
    trained = [_collected(model, pool, request, _stem(out, pool), session) for pool in gathered]
    if not request.random_weights:
        return [PoolActivations(p, t, None) for p, t in zip(gathered, trained, strict=True)]
    from circuit.model.checkpoint.random_weights import randomise

    model = randomise(model, seed=request.seed.seed)
    random = [
        _collected(model, pool, request, _stem(out, pool, "random."), session) for pool in gathered
    ]
    return [PoolActivations(*each) for each in zip(gathered, trained, random, strict=True)]


def _stem(out: Path, pool: Pool, weights: str = "") -> Path:
    return out.with_name(f"{out.name.removesuffix('.json')}.{weights}{pool.name}")


def _collected(
    model: "LoadedModel", pool: Pool, request: RunRequest, stem: Path, session: Session
) -> Activations:
    """Run the prompts of one format through the model, or open the archive that holds them."""
    collection = Collection(
        model=model,
        prompts=pool.prompts,
        out=stem,
        recording=Recording(layers=request.layers, sites="embed,resid_post"),
        prompt_format=shown_format(model, pool.form, None),
        inputs=[probe.path for probe in pool.probes if not probe.builtin],
        parameters={"battery_sha256": _sha256([probe.prompts for probe in pool.probes])},
    )
    return collect(collection, force=request.force, track=session.track).result


def _write(
    request: RunRequest,
    collections: Sequence[PoolActivations],
    out: Path | None,
    result: BatteryResult,
    record: Record,
) -> None:
    """Fit the probes to all prompts and write them, and the report last."""
    assert out is not None
    with one_blas_thread():
        fitted = save_probes(
            out.with_name(f"{out.stem}.fitted"),
            [(probe, each) for each in collections for probe in each.pool.probes],
            result.probes,
            seed=request.seed.seed,
            force=request.force,
        )
    archives = [archive.path for each in collections for archive in each.archives]
    write_manifest(
        out,
        **vars(record),
        outputs=[*archives, *([fitted] if fitted else [])],
        results=plain(result),
    )


def scores(
    jobs: Sequence[tuple[Probe, PoolActivations]],
    request: RunRequest,
    n_layers: int,
    *,
    workers: int | None = None,
) -> Iterator[QuestionResult]:
    """Score every probe; where there is much to do, in one process for each core.

    A worker takes about two seconds to start, and a probe a fifth of a second for a layer.
    """
    few = len(jobs) * n_layers < MANY_LAYERS
    return in_processes(partial(_scored, request), jobs, workers=1 if few else workers)


def _scored(request: RunRequest, job: tuple[Probe, PoolActivations]) -> QuestionResult:
    return question_result(*job, request)


def _results(
    collections: Sequence[PoolActivations], request: RunRequest, session: Session
) -> BatteryResult:
    jobs = [(probe, each) for each in collections for probe in each.pool.probes]
    found = scores(jobs, request, len(collections[0].trained.layers("resid_post")))
    scored = {one.name: one for one in session.track(found, "Probing", len(jobs))}
    p_battery = holm({name: probe.smallest_p for name, probe in scored.items()})
    order = [probe.name for probe in sorted((job[0] for job in jobs), key=Probe.rank)]
    probes = {name: replace(scored[name], p_battery=p_battery[name]) for name in order}
    random, first = collections[0].random, collections[0].trained
    named = random.manifest.model.id if random and random.manifest.model else None
    return BatteryResult(
        n_layers=first.n_layers,
        model=None if first.manifest.model is None else first.manifest.model.id,
        layers=first.layers("resid_post"),
        score="held-out AUROC, macro one-against-rest; chance 0.5",
        threshold=request.threshold,
        n_boot=request.n_boot,
        bits_from_prompts=MIN_ROWS,
        seed=request.seed.seed,
        random_weights=named,
        prompts=sum(len(each.pool.prompts.prompts) for each in collections),
        probes=probes,
        checklist=checklist(
            probes, n_boot=request.n_boot, seed=request.seed.seed, random_weights=named
        ),
    )


RUN = Command(
    request=RunRequest,
    plan=plan,
    present=present,
    display=lambda request: {"stratigraphy": request.stratigraphy},
    result=BatteryResult,
)
