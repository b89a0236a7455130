"""``steer sweep``: the held-out dose-response of a steering, its controls, and its cost.

    1. train, validation and test prompts share no group (``stages.rows.holdout``); the test prompts
       are used here and nowhere else
    2. the strength: c*, at which the divergence on neutral prompts is 1 nat
       (``stages.steering.strength``), or a given one
    3. the read-out m of every test prompt at every dose x = c/c* (``stages.steering.readout``), for
       the direction, for random and shuffled-label directions at the same doses
       (``stages.steering.controls``), and for a prompt that asks for the same in words
    4. on neutral prompts, at every dose, divergence and coherence (``stages.steering.rollouts``)
    5. slopes, intervals, nulls and a verdict in words (``stages.sweep.summary``)

Writes ``circuit.sweep/2``. An interrupted run resumes.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from circuit.artifacts.files.documents import plain, restored
from circuit.artifacts.files.measurements import Measurements
from circuit.artifacts.prompts.read import read_prompts
from circuit.errors import UsageError
from circuit.stages.figures.pictures import PLOTS
from circuit.stages.figures.request import VisualizeRequest
from circuit.stages.rows.holdout import check_apart
from circuit.stages.rows.prompting import encode, format_for
from circuit.stages.rows.provenance import fit_of, shuffled_vectors
from circuit.stages.rows.warnings import too_few_controls
from circuit.stages.run import SILENT, Command, Draw, Job, Plan, Session, run
from circuit.stages.steering.controls import Control, controls
from circuit.stages.steering.intervention import Intervention
from circuit.stages.steering.neutral import neutral_prompts
from circuit.stages.steering.readout import Readout, reader
from circuit.stages.steering.rollouts import prepared
from circuit.stages.steering.rules import check_action, check_uncalibrated, resolve
from circuit.stages.steering.source import sources_of, terms_of
from circuit.stages.steering.strength import Calibration, calibrate
from circuit.stages.sweep.document import sweep_document
from circuit.stages.sweep.doses import Bench, DosePoint
from circuit.stages.sweep.experiment import Experiment, SweepSettings, check_test, check_training
from circuit.stages.sweep.request import SweepRequest
from circuit.stages.sweep.result import SweepResult
from circuit.stages.sweep.summary import Points, summarised
from circuit.values import schemas

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel


def plan(request: SweepRequest) -> Plan[SweepResult]:
    """Read the prompt sets and the directions, and check that test prompts are held out."""
    if request.plots is not None and request.output.output is None:
        message = "`--plots` draws what `-o` writes, and there is no `-o`"
        raise UsageError("option-needed", message, hint="give -o, too")
    test, readout = read_prompts(request.test), Readout.of(request.readout)
    settings = SweepSettings.of(request)
    check_test(test, readout, settings)
    given = {"train": request.train, "validation": request.validation}
    sets = {name: read_prompts(path) for name, path in given.items() if path is not None}
    check_apart({**sets, "test": test})
    check_action(request.action)
    check_uncalibrated(request.action.rule)
    sources = sources_of(request.directions)
    fits = [fit_of(source.file) for source in sources]
    check_training(fits, "test", test)

    def begin(model: "LoadedModel") -> Job[SweepResult]:
        allow = request.directions.allow_other_model
        terms = terms_of(model, sources, allow_other_model=allow)
        form = format_for(
            test, request.prompt_format, made_in=terms[0].direction.format, model=model
        )
        chosen: Mapping[str, int] = terms[0].direction.extra.get("selection") or {}
        numbers = [len(source.terms(model.n_layers)) for source in sources]
        experiment = Experiment(
            intervention=resolve(model, terms, request.action, form),
            test=test,
            readout=readout,
            form=form,
            settings=settings,
            fits=[fit for fit, n in zip(fits, numbers, strict=True) for _ in range(n)],
            has_train=request.train is not None,
            archive=request.activations,
            configs_tried=chosen.get("configs_tried"),
        )
        return Job(
            parameters=experiment.parameters(),
            compute=lambda session: sweep(model, experiment, session),
        )

    others = [request.train, request.validation, request.activations]
    files = [source.file for source in sources]
    return Plan(
        result=SweepResult,
        schema=schemas.SWEEP,
        model=request.model,
        # The test prompts first: see ``circuit.stages.sweep.specificity``.
        inputs=[request.test, *files, *(path for path in others if path is not None)],
        output=request.output.output,
        force=request.output.force,
        known=asdict(settings),
        resumes=True,
        pictures=_pictures(request),
        notes=[*too_few_controls(request.random, request.shuffled)],
        begin=begin,
    )


def _pictures(request: SweepRequest) -> Mapping[Path, Draw[SweepResult]]:
    report, folder = request.output.output, request.plots
    if report is None or folder is None:
        return {}

    def draw(_: SweepResult, path: Path, *, force: bool) -> str:
        run(VisualizeRequest(report=report, output=path.parent, force=force))
        return "the pictures of the sweep"

    return {folder / PLOTS: draw}


def sweep(model: "LoadedModel", experiment: Experiment, session: Session = SILENT) -> SweepResult:
    """Measure the direction and its controls at every dose, and summarise."""
    settings = experiment.settings
    if not experiment.training_is_known:
        session.note("the training prompts of the direction are not known: give them with --train")
    bench = _bench(model, experiment, session.measurements or Measurements(None, {}))
    calibration = _calibration(bench, experiment)
    if calibration is not None and calibration.status != "converged":
        session.note(f"the calibration missed {settings.kl:g} nats: {calibration.status}")
    c_star = settings.strength if calibration is None else calibration.coefficient
    assert c_star is not None
    factor = experiment.intervention.factor
    steering = replace(experiment.intervention, factor=factor * c_star)
    others = _controls(experiment, steering)
    if settings.same_kl:
        others = [bench.at_same_kl(control, settings.kl, factor) for control in others]
    planned = bench.planned(steering, others)
    found: dict[str, dict[float, DosePoint]] = {}
    for at, point in session.track(bench.measured(planned), "Measuring", len(planned)):
        found.setdefault(at.name, {})[at.dose] = point
    in_words = None
    if settings.prompt_baseline is not None:
        in_words = bench.kept("prompt", lambda: _in_words(model, experiment))
    points = Points(by_name=found, in_words=in_words, calibration=calibration, c_star=c_star)
    return summarised(experiment, points)


def _bench(model: "LoadedModel", experiment: Experiment, kept: Measurements) -> Bench:
    test, form = experiment.test, experiment.form
    encoded = encode(model, test.texts, form)
    neutral = neutral_prompts(model, form, experiment.neutral)
    return Bench(
        model=model,
        reader=reader(model, experiment.readout, test.prompts, encoded),
        neutral=prepared(model, neutral, experiment.settings.n_tokens),
        doses=experiment.settings.doses,
        measurements=kept,
    )


def _calibration(bench: Bench, experiment: Experiment) -> Calibration | None:
    settings = experiment.settings
    if settings.strength is not None:
        return None

    def measure() -> object:
        found = calibrate(bench.model, experiment.intervention, bench.neutral, target=settings.kl)
        return plain(found)

    return restored(Calibration, bench.measurements.get("calibration", measure))


def _controls(experiment: Experiment, steering: Intervention) -> list[Control]:
    settings = experiment.settings
    fits = experiment.fits or [None] * len(steering.terms)
    shuffled = [
        shuffled_vectors(
            term.direction, fit, experiment.archive, settings.n_shuffled, settings.seed
        )
        for term, fit in zip(steering.terms, fits, strict=True)
    ]
    return controls(steering, settings.n_random, shuffled, settings.seed)


def _in_words(model: "LoadedModel", experiment: Experiment) -> DosePoint:
    """Read the test prompts when a system message (or text before them) asks for the same."""
    text, test = str(experiment.settings.prompt_baseline), experiment.test
    chat = experiment.form.chat
    form = replace(experiment.form, system=text) if chat else experiment.form
    texts = test.texts if chat else [text + each for each in test.texts]
    asked = reader(model, experiment.readout, test.prompts, encode(model, texts, form))
    return DosePoint.of(asked.measure([]))


SWEEP = Command(
    request=SweepRequest,
    plan=plan,
    present=sweep_document,
    result=SweepResult,
)
