"""``circuit introspect compare``: the predictions of two models for the same prompts.

What is compared: ``circuit.introspect.compare.predictions``. The models are loaded one after the
other.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from circuit.introspect.compare.predictions import (
    ModelPrediction,
    PromptComparison,
    TokenRank,
    ask_both,
    compare_prompt,
    mean_depth,
)
from circuit.introspect.compare.two_models import ComparedModel, LoadingOptions, name_of
from circuit.introspect.compare.vocabulary import is_whole
from circuit.introspect.inputs.choices import check_tracked
from circuit.introspect.plans import asked, comparison
from circuit.methods.uncertainty.means import Mean, mean_interval
from circuit.methods.uncertainty.scores import wilson
from circuit.present.document import (
    Cell,
    Document,
    Estimate,
    Facts,
    Notice,
    Part,
    Section,
    Table,
    Text,
)
from circuit.present.numbers import few_groups
from circuit.stages.options import ModelOptions, OutputOptions, PromptsOptions
from circuit.stages.rows.prompt_input import PromptInput, read_prompt_input
from circuit.stages.run import Command, Plan, Result
from circuit.values import schemas
from circuit.values.prompt_format import RAW, PromptFormat
from circuit.values.requests import group, option


@dataclass(frozen=True, kw_only=True)
class CompareRequest:
    """Compare the predictions of two models: where they emerge, the rank of each other's answer.

    --adapter belongs to the second model. They are loaded one after the other.

    Examples:
      circuit introspect compare -m1 tiny -m2 tiny -p "The capital of France is" --top-k 3
      circuit introspect compare -m1 tiny -m2 tiny -p "50 + 25 = |50 + 25 =" -t 7 --json
    """

    model1: str = option("--model1", "-m1", help="Hub id, checkpoint folder, GGUF file, or tiny.")
    model2: str | None = option(
        "--model2",
        "-m2",
        help="The other model.",
        default=None,
        shown_default="the first, with --adapter",
    )
    prompts: PromptsOptions = group(PromptsOptions)
    top_k: int = option("--top-k", help="Tokens to show of each model.", default=5, minimum=1)
    track: list[str] | None = option(
        "--track", "-t", help="Rank this token in both models; repeatable.", default=None
    )
    output: OutputOptions = group(OutputOptions)
    loading: LoadingOptions = group(LoadingOptions)


@dataclass(frozen=True, kw_only=True)
class CompareResult(Result):
    """Two models on some prompts; means are [value, low, high], ends None with one group."""

    models: tuple[ComparedModel, ComparedModel]
    format: str
    same_vocabulary: bool
    prompts: list[PromptComparison]
    agreement: float
    agreement_interval: tuple[float, float]
    js: Mean | None
    depth: tuple[Mean | None, Mean | None]
    n_groups: int


def plan(request: CompareRequest) -> Plan[CompareResult]:
    """Read the prompts, the tracked texts, and which models are compared."""
    track = request.track or []
    check_tracked(track)
    given = read_prompt_input(request.prompts.prompts)
    form = given.form(request.prompts.chat)
    options = request.loading.two_models(request.model1, request.model2, name="-m2")
    return comparison(
        request,
        CompareResult,
        schemas.COMPARISON,
        models=options,
        inputs=given.inputs,
        parameters=asked(
            request,
            without=("model1", "model2"),
            models=[name_of(each) for each in options],
            prompts=given.texts,
            track=track,
            format=form.name,
        ),
        answer=lambda: compare(options, given, top_k=request.top_k, track=track, form=form),
    )


def compare(
    options: tuple[ModelOptions, ModelOptions],
    given: PromptInput,
    *,
    top_k: int = 5,
    track: Sequence[str] = (),
    form: PromptFormat = RAW,
) -> CompareResult:
    """Compare two models; raises ``UsageError`` for a tracked text that is one token in neither."""
    a, b = ask_both(options, given, top_k=top_k, track=track, form=form)
    same = a.vocabulary.same_as(b.vocabulary)
    rows = range(len(given.texts))
    prompts = [compare_prompt(a, b, row, track=track, same=same) for row in rows]
    equal = [each.same_answer for each in prompts]
    js = [each.js or 0.0 for each in prompts]
    return CompareResult(
        models=(a.about, b.about),
        format=form.name,
        same_vocabulary=same,
        prompts=prompts,
        agreement=float(np.mean(equal)),
        agreement_interval=wilson(sum(equal), len(equal)),
        js=mean_interval(js, given.groups, bounds=(0, np.log(2))) if same else None,
        depth=(mean_depth(prompts, 0, given.groups), mean_depth(prompts, 1, given.groups)),
        n_groups=given.n_groups,
    )


def present(result: CompareResult) -> Document:
    """Show both models, every prompt in both, and what holds over all prompts."""
    names = _names(result.models)
    about = [
        (name, f"{m.family}, {m.n_layers} layers of {m.d_model}")
        for name, m in zip(names, result.models, strict=True)
    ]
    parts: list[Part] = [Facts(about)]
    if not result.same_vocabulary:
        text = "the tokenizers differ: answers are compared by text, distributions are not."
        parts.append(Notice(text))
    parts += [_section(each, names) for each in result.prompts]
    if len(result.prompts) > 1:
        parts.append(_summary(result, names))
    return Document("", [*parts, *few_groups(result.n_groups)])


def _names(models: Sequence[ComparedModel]) -> list[str]:
    names = [m.name for m in models]
    return names if len(set(names)) == 2 else [f"{name} ({i})" for i, name in enumerate(names, 1)]


def _section(found: PromptComparison, names: Sequence[str]) -> Section:
    a, b = found.views
    same = "the same answer" if found.same_answer else "different answers"
    others = [rank_text(view.others_answer) for view in found.views]
    parts: list[Part] = [
        Text([f"{a.n_tokens} and {b.n_tokens} tokens, {same}"]),
        _side_by_side(found.views, names),
        Section("Emergence", [_by_model(names, map(_emerged, found.views))]),
        Section("The other's answer", [_by_model(names, others)]),
    ]
    if found.js is not None:
        js, kl_1_2, kl_2_1 = found.js, found.kl_1_2, found.kl_2_1
        parts.append(Text([f"  JS {js:.4f} nats, KL(1‖2) {kl_1_2:.4f}, KL(2‖1) {kl_2_1:.4f}"]))
    if a.tracked:
        ranks = [map(rank_text, pair) for pair in zip(a.tracked, b.tracked, strict=True)]
        parts.append(Section("Tracked tokens", [_by_model(names, each) for each in ranks]))
    return Section(f"Prompt: {found.prompt!r}", parts)


def _by_model(names: Sequence[str], texts: Iterable[str]) -> Text:
    return Text([f"  {name}: {text}" for name, text in zip(names, texts, strict=True)])


def _side_by_side(views: Sequence[ModelPrediction], names: Sequence[str]) -> Table:
    pairs = zip(*(view.predictions for view in views), strict=False)
    rows: list[list[Cell]] = [
        [str(rank), *(f"{text!r} {p:.4f}" for text, p in pair)]
        for rank, pair in enumerate(pairs, 1)
    ]
    return Table(title="Final Predictions", header=["rank", *names], rows=rows)


def _emerged(view: ModelPrediction) -> str:
    if view.emergence_layer is None:
        return repr(view.answer)
    where = f"layer {view.emergence_layer} ({view.depth:.0%} of the depth)"
    return f"{view.answer!r} is top-1 from {where}"


def rank_text(found: TokenRank) -> str:
    """Say the rank of a token, or why it has none."""
    if found.rank is None and not is_whole(found.text):
        return f"{found.text!r} is a piece of a character: not compared"
    if found.rank is None:
        pieces = ", ".join(map(repr, found.pieces or []))
        return f"{found.text!r} is not one token (but {pieces}): no rank"
    text = f"{found.text!r} has rank {found.rank}, p {found.probability:.4f}"
    if found.emergence_layer is not None:
        text += f", top-1 first at layer {found.emergence_layer}"
    return text


def _summary(result: CompareResult, names: Sequence[str]) -> Section:
    facts = [("  Same answer", Estimate(result.agreement, *result.agreement_interval))]
    if result.js is not None:
        facts.append(("  JS (nats)", Estimate.of(result.js, ".4f")))
    for name, depth in zip(names, result.depth, strict=True):
        if depth is not None:
            facts.append((f"  Depth of emergence, {name}", Estimate.of(depth, ".2f")))
    return Section(f"Over {len(result.prompts)} prompts", [Facts(facts)])


COMMAND = Command(request=CompareRequest, plan=plan, present=present, result=CompareResult)
