"""``circuit introspect ablate``: which components a behaviour needs.

Every prompt is answered by the unmodified model (the baseline) and with components ablated
(``circuit.model.interventions.ablation``). Prompts that fail in the baseline say nothing about a
component: they are left out of both measures, and counted. The measures:

    pass rate    share of prompts whose answer meets the criterion, with Wilson's interval
    Δ log p      log p(baseline's answer | prompt) with the ablation − without, mean over tokens, in
                 nats: the mean over prompts with a bootstrap interval over their groups. It detects
                 a component that matters a little, which a pass rate does not

A component without which the behaviour fails is needed *by the model as it computes now*: others
may have compensated for it (self-repair), and a mean that is off the distribution may break what
the component never did. ``circuit introspect circuit`` compares with random components of the same
kind.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from circuit.errors import DataError
from circuit.introspect.ablation.components import Ablation, ComponentChoice
from circuit.introspect.ablation.trials import Answering, Trial, references_of, trial_of
from circuit.introspect.inputs.cases import Case, read_cases
from circuit.introspect.plans import asked, question
from circuit.present.characters import shortened
from circuit.present.document import Cell, Document, Estimate, Facts, Notice, Part, Table, Text
from circuit.present.numbers import counted, few_groups
from circuit.stages.options import LAYERS, ModelOptions, OutputOptions, SeedOptions, chat_option
from circuit.stages.rows.prompting import encode
from circuit.stages.run import SILENT, Command, Plan, Result, Session
from circuit.values import schemas
from circuit.values.prompt_format import PromptFormat
from circuit.values.requests import group, option

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel

WIDE = 6  # prompts whose answers are shown in columns


@dataclass(frozen=True, kw_only=True)
class AblateRequest:
    r"""Ablate components, one by one or together, and see what the model can no longer do.

    Prompts that the unmodified model fails are left out and counted.

    Examples:
      circuit introspect ablate -m tiny -p "50 + 25 = |31 + 4 = " -c number --raw --layers 0-2 -n 4
      circuit introspect ablate -m tiny --prompts "10 + 10 = :20|45 + 45 = :90" --raw \
        --layers 2,3 --multi -n 4
    """

    model: ModelOptions = group(ModelOptions)
    prompt: str | None = option(
        "--prompt", "-p", help="a|b, @lines.txt or @prompts.json.", default=None
    )
    criterion: str | None = option(
        "--criterion",
        "-c",
        help="What an answer has to meet: function_call, sorry, positive, negative, refusal, "
        "number, expected, regex:PATTERN, or a text.",
        default=None,
    )
    prompts: str | None = option(
        "--prompts", help='Prompts with expected texts: "10*10=:100|45*45=:2025".', default=None
    )
    component: str | None = option(
        "--component", help="mlp, attention or both.", default=None, shown_default="both"
    )
    layers: str | None = option("--layers", help=LAYERS, default=None, shown_default="all")
    heads: str | None = option(
        "--heads", help="Heads instead, as layer.head: 3.0,-1.2.", default=None
    )
    neurons: str | None = option(
        "--neurons", help="Neurons instead, as layer.neuron: 3.17.", default=None
    )
    multi: bool = option(
        "--multi", help="Ablate all of them together, not one by one.", default=False
    )
    method: str = option(
        "--method", help="What replaces them: mean, resample, zero.", default="mean"
    )
    max_tokens: int = option(
        "--max-tokens", "-n", help="Tokens to generate at most.", default=60, minimum=1
    )
    chat: bool | None = chat_option("the prompt set's, or chat if there is a template")
    verbose: bool = option("--verbose", "-v", help="Print every answer.", default=False)
    output: OutputOptions = group(OutputOptions)
    seed: SeedOptions = group(SeedOptions)


@dataclass(frozen=True, kw_only=True)
class AblateResult(Result):
    """The baseline and every ablation, in the order in which they were given."""

    model: str
    format: str
    prompts: list[str]
    criteria: list[str]
    baseline: list[str]
    baseline_passes: list[bool]
    n_excluded: int
    trials: list[Trial]
    method: str
    reference: str


def plan(request: AblateRequest) -> Plan[AblateResult]:
    """Read the prompts, their criteria and the components."""
    from circuit.model.interventions.ablation import check_method

    check_method(request.method)
    choice = ComponentChoice(
        component=request.component,
        layers=request.layers,
        heads=request.heads,
        neurons=request.neurons,
    )
    cases, given = read_cases(request.prompt, request.criterion, request.prompts)

    def form_of(model: "LoadedModel") -> PromptFormat:
        return given.form(request.chat, default=bool(model.tokenizer.has_chat_template))

    return question(
        request,
        AblateResult,
        schemas.ABLATION,
        inputs=given.inputs,
        parameters=asked(
            request,
            without=("prompt", "criterion", "chat", "verbose"),
            **vars(choice),
            prompts=[case.prompt for case in cases],
            criteria=[case.criterion_name for case in cases],
        ),
        of_model=lambda model: {"format": form_of(model).name},
        answer=lambda model, session: ablate(
            model,
            cases,
            choice.ablations(model, multi=request.multi),
            form=form_of(model),
            method=request.method,
            max_tokens=request.max_tokens,
            seed=request.seed.seed,
            session=session,
        ),
    )


def ablate(
    model: "LoadedModel",
    cases: Sequence[Case],
    ablations: Sequence[Ablation],
    *,
    form: PromptFormat,
    method: str = "mean",
    max_tokens: int = 60,
    seed: int = 0,
    session: Session = SILENT,
) -> AblateResult:
    """Run every ablation on every case; all prompts of one run are a batch.

    Raises ``UsageError`` for components that are out of range and ``DataError`` without a prompt.
    """
    from circuit.model.forward.generate import may_be_ragged
    from circuit.model.interventions.ablation import ablated, check_components

    if not cases:
        message = "ablation needs at least 1 prompt"
        raise DataError("no-prompts", message, hint="give them with -p or --prompts")
    components = list(dict.fromkeys(each for one in ablations for each in one.components))
    check_components(model, components)
    encoded = encode(model, [case.prompt for case in cases], form)
    run = Answering(model, encoded, max_tokens, may_be_ragged(model))
    references, reference = references_of(run, components, form, method)
    baseline = run.answers(encoded)
    passed = [c.is_met(a.text) for c, a in zip(cases, baseline, strict=True)]
    plain = [each.log_probs for each in run.read(baseline)]
    trials = []
    for each in session.track(ablations, "Ablating", len(ablations)):
        with ablated(model, each.components, method, references, seed=seed):
            answers, log_probs = run.answers_again(baseline)
        deltas = [
            float(np.mean(a - b)) if before and len(b) else None
            for a, b, before in zip(log_probs, plain, passed, strict=True)
        ]
        trials.append(trial_of(each, cases, answers, passed, deltas=deltas, seed=seed))
    return AblateResult(
        model=model.id,
        format=form.name,
        prompts=[case.prompt for case in cases],
        criteria=[case.criterion_name for case in cases],
        baseline=[answer.text for answer in baseline],
        baseline_passes=passed,
        n_excluded=passed.count(False),
        trials=trials,
        method=method,
        reference=reference,
    )


def present(result: AblateResult, verbose: bool = False) -> Document:
    """Show a table of ablations, the answers of few prompts in columns, and what broke."""
    n = len(result.prompts)
    kept = n - result.n_excluded
    excluded = f"; {counted(result.n_excluded)} left out, which the model fails"
    how = "to zero" if result.method == "zero" else f"by {result.method} of {result.reference}"
    about: list[tuple[str, Cell]] = [
        ("Ablation", f"{how}; {counted(n)}, {result.format}"),
        ("Baseline", f"{kept} of {n} pass" + (excluded if result.n_excluded else "")),
    ]
    rows: list[list[Cell]] = [[each.name, _rate(each), _effect(each)] for each in result.trials]
    header = ["ablated", "still pass", "Δ log p of the answer, nats per token"]
    parts: list[Part] = [Facts(about), Table(header=header, rows=rows)]
    if n <= WIDE:
        parts.append(_answers(result))
    elif verbose:
        parts.append(Text(list(_listed(result))))
    return Document("", [*parts, *_summary(result, kept)])


def _rate(trial: Trial) -> Cell:
    if trial.rate is None or trial.interval is None:
        return "no prompt passed"
    return Estimate(trial.rate, *trial.interval)


def _effect(trial: Trial) -> Cell:
    if trial.effect is not None:
        return Estimate.of(trial.effect, "+.3f")
    return ", ".join(f"{delta:+.3f}" for delta in trial.delta if delta is not None) or None


def _answers(result: AblateResult) -> Table:
    """Show prompts in columns: whether each passes, and what was written."""
    rows = [["none", *_cells(result.baseline_passes, result.baseline)]]
    rows += [[each.name, *_cells(each.passes, each.outputs)] for each in result.trials]
    header = ["ablated", *(repr(prompt) for prompt in result.prompts)]
    return Table(title="Answers", header=header, rows=rows)


def _cells(passes: Sequence[bool | None], outputs: Sequence[str]) -> list[str]:
    mark = {True: "✓", False: "✗", None: "-"}
    return [
        f"{mark[ok]} {shortened(repr(text), 24)}" for ok, text in zip(passes, outputs, strict=True)
    ]


def _listed(result: AblateResult) -> Iterator[str]:
    for i, prompt in enumerate(result.prompts):
        yield f"{prompt!r}: {result.baseline[i]!r}"
        yield from (f"  without {t.name}: {t.outputs[i]!r}" for t in result.trials)


def _summary(result: AblateResult, kept: int) -> list[Part]:
    """Say which ablations break the behaviour, and how much that is worth."""
    if not kept:
        return [Notice("The unmodified model fails every prompt: nothing can be concluded.")]
    every = [each.name for each in result.trials if each.rate == 0]
    some = [each.name for each in result.trials if each.rate is not None and 0 < each.rate < 1]
    broken = Facts(
        [
            ("Breaks every prompt", ", ".join(every) or "none"),
            ("Breaks some", ", ".join(some) or "none"),
        ]
    )
    return [broken, *few_groups(kept)]


def _display(request: AblateRequest) -> Mapping[str, object]:
    return {"verbose": request.verbose}


COMMAND = Command(request=AblateRequest, plan=plan, present=present, display=_display)
