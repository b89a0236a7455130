"""``circuit introspect probe``: a linear probe and a direction from two lists of prompts.

h = ``resid_post`` at the last token of each prompt; class a is the positive one. Methods:

    logistic     L2 logistic regression (``methods.probes.probing``)
    difference   mean of a − mean of b

Scores are cross-validated with groups kept together: stratified folds, a bootstrap interval over
groups, permuted labels (p), and over several layers p_any, the family-wise one. The layer is the
one that scores best, so its own score is optimistic: the score of *choosing* the layer is nested
(``methods.quality.nested``). Under 10 groups nothing is claimed; where a class has one group
nothing can be held out, and there is no score.

The probe that is kept is fitted to all prompts at that layer (``introspect.probes.two_classes``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from circuit.artifacts.files.paths import archive_path, manifest_path
from circuit.artifacts.steering_files.files import Direction, write_directions, write_steering_file
from circuit.artifacts.steering_files.formats import formats
from circuit.errors import UsageError
from circuit.introspect.plans import asked
from circuit.introspect.probes.result import ARCHIVE, ProbeQuestion, ProbeReading, ProbeResult
from circuit.introspect.probes.two_classes import TwoClasses, check_method
from circuit.present.document import (
    Cell,
    Document,
    Estimate,
    Facts,
    Number,
    Part,
    Share,
    Table,
    Text,
)
from circuit.present.numbers import interval, power_sentences
from circuit.stages.options import LAYERS, ModelOptions, OutputOptions, SeedOptions, chat_option
from circuit.stages.rows.prompt_input import read_prompt_input
from circuit.stages.run import Command, Job, Plan, Record, Session
from circuit.values import schemas
from circuit.values.layers import parse_layers
from circuit.values.requests import group, option
from circuit.values.thresholds import MIN_GROUPS

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel


@dataclass(frozen=True, kw_only=True)
class ProbeRequest:
    r"""Separate two lists of prompts by a linear probe at every layer; save probe and direction.

    The direction points to class a. Scores are cross-validated; with under 10 groups of prompts
    nothing is claimed.

    Examples:
      circuit introspect probe -m tiny --class-a "I feel great|What a lovely day|We won" \
        --class-b "I feel awful|What a dull day|We lost" -l 3 -t "I love it" \
        --save-direction mood.npz --save-probe mood
      circuit introspect probe -m tiny --class-a "58 + 31 = |50 + 25 = |7 + 8 = " \
        --class-b "58 + 31 =|50 + 25 =|7 + 8 =" --label-a blank --label-b none \
        --method difference -o probe.json
    """

    model: ModelOptions = group(ModelOptions)
    class_a: str = option("--class-a", "-a", help="Prompts of class a: a|b, @lines.txt, @set.json.")
    class_b: str = option("--class-b", "-b", help="Prompts of class b.")
    label_a: str = option("--label-a", help="Name of class a.", default="class_a")
    label_b: str = option("--label-b", help="Name of class b.", default="class_b")
    layers: str = option("--layer", "--layers", "-l", help=LAYERS, default="all")
    method: str = option(
        "--method", help="logistic, or difference (of the means).", default="logistic"
    )
    test: str | None = option("--test", "-t", help="Prompts to read with the probe.", default=None)
    save_direction: Path | None = option(
        "--save-direction", help="Save the direction: .npz, .json or .safetensors.", default=None
    )
    save_probe: Path | None = option(
        "--save-probe", help="Save the probe, for `circuit probes apply`.", default=None
    )
    name: str | None = option(
        "--name", help="Name of what is saved.", default=None, shown_default="the labels"
    )
    chat: bool | None = chat_option("that of class a's prompt set, or raw")
    output: OutputOptions = group(OutputOptions)
    seed: SeedOptions = group(SeedOptions)


def plan(request: ProbeRequest) -> Plan[ProbeResult]:
    """Read the classes and check the names of what is saved."""
    a, b = read_prompt_input(request.class_a), read_prompt_input(request.class_b)
    classes = TwoClasses.of(a, b, (request.label_a, request.label_b))
    tests = [] if request.test is None else read_prompt_input(request.test).texts
    check_method(request.method)
    check_names(request.save_direction, request.save_probe)
    named = (request.save_direction, request.save_probe)
    paths = list(dict.fromkeys(path for path in named if path is not None))
    form = a.form(request.chat)
    name = request.name or f"{request.label_a}_vs_{request.label_b}"
    known = asked(
        request,
        without=("label_a", "label_b", "test", "name"),
        class_a=a.texts,
        class_b=b.texts,
        labels=[request.label_a, request.label_b],
        format=form.name,
        **({"name": name} if paths else {}),
    )

    def begin(model: "LoadedModel") -> Job[ProbeResult]:
        question = ProbeQuestion(model, classes, form, name, request.seed.seed)
        found: list[Direction] = []

        def compute(session: Session) -> ProbeResult:  # noqa: ARG001
            at = parse_layers(request.layers, range(model.n_layers), model.n_layers)
            result, direction = question.answer(at, request.method, tests, saved=paths)
            found.append(direction)
            return result

        def write(result: ProbeResult, record: Record) -> None:  # noqa: ARG001
            for path in paths:
                _save(path, found[0], known, record)

        return Job(
            parameters={**known, "tests": tests}, compute=compute, write=write if paths else None
        )

    return Plan(
        result=ProbeResult,
        schema=schemas.PROBE,
        model=request.model,
        inputs=[*a.inputs, *b.inputs],
        output=request.output.output,
        force=request.output.force,
        known=known,
        exports=_exports(paths),
        begin=begin,
    )


def check_names(direction: Path | None, probe: Path | None) -> None:
    """Raise ``UsageError`` for names whose suffix is of no format."""
    known = list(dict.fromkeys([ARCHIVE, *(each.SUFFIX for each in formats().values())]))
    for path, what, suffixes in ((direction, "direction", known), (probe, "probe", ["", ARCHIVE])):
        if path is not None and path.suffix not in suffixes:
            message = f"a {what} cannot be saved as `{path}`"
            hint = f"use a name that ends in {', '.join(filter(None, suffixes))}"
            raise UsageError("unknown-format", message, hint=hint, path=str(path))


def _is_archive(path: Path) -> bool:
    return path.suffix in ("", ARCHIVE)


def _exports(paths: Sequence[Path]) -> dict[Path, str | None]:
    """Return every file that is written for these names, with the schema of manifests."""
    found: dict[Path, str | None] = {}
    for path in paths:
        found[archive_path(path) if _is_archive(path) else path] = None
        if _is_archive(path):
            found[manifest_path(path)] = schemas.DIRECTIONS
    return found


def _save(path: Path, direction: Direction, parameters: dict[str, object], record: Record) -> None:
    """Write an archive, which ``circuit probes apply`` reads, or a format of one direction."""
    if not _is_archive(path):
        write_steering_file(path, direction, force=record.force)
        return
    write_directions(
        path.with_suffix(""),
        [direction],
        parameters=parameters,
        inputs=record.inputs,
        model=record.model,
        tokenizer=record.tokenizer,
        run=record.run,
        force=record.force,
    )


def present(result: ProbeResult) -> Document:
    """Show scores by layer, the layer that is chosen, and the test prompts."""
    (a, b), (n_a, n_b) = result.labels, result.n
    about: list[tuple[str, Cell]] = [
        ("Model", f"{result.model} ({result.format})"),
        ("Probe", f"{b} -> {a}, {result.method}"),
        ("Prompts", f"{n_a} of {a}, {n_b} of {b}, {result.n_groups} groups"),
    ]
    parts: list[Part] = [Facts(about), _score_table(result), Facts(_layer(result))]
    parts.append(Text([_claim(result)]))
    if result.tests:
        parts.append(_test_table(result.tests))
    parts += [Text([f"Saved to: {path}"]) for path in result.saved]
    return Document("", parts)


def _score_table(result: ProbeResult) -> Part:
    title = "Held-out AUROC by layer"
    if not result.scores:
        return Text([f"{title}: none, since a class has only one group and none can be held out"])
    return Table.of(
        result.scores,
        {
            "layer": lambda each: str(each.layer),
            "": lambda each: Share(each.auroc[0], ".2f"),
            "AUROC": lambda each: Estimate.of(each.auroc),
            "accuracy": lambda each: Number(each.accuracy, ".2f"),
            "p": lambda each: Number(each.p),
            "p_any": lambda each: Number(each.p_any),
        },
        title=title,
    )


def _layer(result: ProbeResult) -> list[tuple[str, Cell]]:
    a, b = result.labels
    means = result.train_projections
    facts: list[tuple[str, Cell]] = [("Layer", f"{result.layer} ({result.how_chosen})")]
    if result.choosing is not None:
        facts.append(("  Held-out AUROC of choosing it", interval(result.choosing)))
    direction = f"norm {result.norm:.4g}, mean projections {a} {means[a]:.4g}, {b} {means[b]:.4g}"
    return [
        *facts,
        ("  Direction", direction),
        ("  Probe", f"logit = {result.slope:.4g} * (v . h) {result.bias:+.4g}"),
    ]


def _claim(result: ProbeResult) -> str:
    a, b = result.labels
    if result.claimed is None:
        return f"{result.n_groups} groups: nothing is claimed under {MIN_GROUPS}."
    if result.claimed:
        return (
            f"{a} and {b} are separated here (p_any <= 0.05); words alone may separate them, too."
        )
    nothing = f"Nothing separates {a} and {b} better than permuted labels (p_any > 0.05)."
    return " ".join([nothing, *power_sentences(result.power)])


def _test_table(tests: Sequence[ProbeReading]) -> Table:
    return Table.of(
        tests,
        {
            "prompt": lambda each: repr(each.prompt) + " (was fitted to)" * each.seen,
            "v . h": lambda each: Number(each.projection),
            "p": lambda each: Number(each.probability),
            "read as": lambda each: each.label,
        },
        title="Test prompts",
    )


COMMAND = Command(request=ProbeRequest, plan=plan, present=present)
