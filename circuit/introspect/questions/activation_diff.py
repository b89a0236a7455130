"""``circuit introspect activation-diff``: what fine-tuning changed in the activations.

Two checkpoints, or one without and with an adapter, read the same prompts. At ``resid_post`` of
each layer, at the last token of every prompt, with rows A of the base and B of the fine-tuned
model:

    cosine      of row i in both, and *centred* (the mean of each model's rows is subtracted first:
                what all prompts share says little about what changed)
    moved       ‖b − a‖ / ‖a‖            norm ratio    ‖b‖ / ‖a‖
    cka         linear, unbiased: 1 for the same geometry up to rotation and scale; the only one
                where widths differ

Means over prompts have bootstrap intervals over groups, CKA a jackknife's (``methods.geometry.
cka_interval``). Each model reads the prompts with its own tokenizer and template; prompts that
become other tokens are counted and named, since more than the weights differs there. Models of
different depth are compared at the same relative depth. The models are loaded one after the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from circuit.introspect.compare.two_models import (
    ComparedModel,
    LoadingOptions,
    ask_each,
    compared,
    name_of,
)
from circuit.introspect.compare.vocabulary import Vocabulary
from circuit.introspect.plans import asked, comparison
from circuit.methods.arrays import Array
from circuit.methods.geometry.cka_interval import cka_estimate
from circuit.methods.geometry.similarity import centred_cosines, paired_cosines, relative_distances
from circuit.methods.uncertainty.means import Mean, mean_interval
from circuit.present.document import Document, Estimate, Facts, Notice, Part, Table, Text
from circuit.present.numbers import counted, few_groups, interval
from circuit.stages.options import ModelOptions, OutputOptions, PromptsOptions
from circuit.stages.rows.prompt_input import PromptInput, read_prompt_input
from circuit.stages.rows.prompting import encode
from circuit.stages.run import Command, Plan, Result
from circuit.values import schemas
from circuit.values.layers import parse_layers
from circuit.values.prompt_format import RAW, PromptFormat
from circuit.values.requests import group, option

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel


@dataclass(frozen=True, kw_only=True)
class ActivationDiffRequest:
    """See in which layers fine-tuning changed the activations of some prompts.

    --adapter belongs to the fine-tuned model. The models are loaded one after the other.

    Examples:
      circuit introspect activation-diff -b tiny -f tiny -p "What is the weather in Oslo?|50 + 25 ="
      circuit introspect activation-diff -b tiny -f tiny -p @prompts.json --layers -1 -o moved.json
    """

    base: str = option("--base", "-b", help="Hub id, checkpoint folder, GGUF file, or tiny.")
    finetuned: str | None = option(
        "--finetuned",
        "-f",
        help="The fine-tuned model.",
        default=None,
        shown_default="the base, with --adapter",
    )
    prompts: PromptsOptions = group(PromptsOptions)
    layers: str = option(
        "--layers", help="Layers of the base: all | 0,4,8 | 8-13 | -1 | 50%.", default="all"
    )
    output: OutputOptions = group(OutputOptions)
    loading: LoadingOptions = group(LoadingOptions)


@dataclass(frozen=True, kw_only=True)
class LayerDifference:
    """A layer of the base and its counterpart; means with intervals, None where not defined."""

    layer: int
    other_layer: int
    cosine: Mean | None
    centred_cosine: Mean | None
    moved: Mean | None
    norm_ratio: Mean | None
    cka: Mean | None


@dataclass(frozen=True, kw_only=True)
class ActivationDiffResult(Result):
    """Every layer, and what else differs; ``cosines`` are those at the layer that moved most."""

    models: tuple[ComparedModel, ComparedModel]
    format: str
    prompts: list[str]
    layers: list[LayerDifference]
    other_tokens: list[int]
    same_vocabulary: bool
    cosines: list[float] | None
    n_groups: int


@dataclass(frozen=True, kw_only=True, eq=False)
class _Collected:
    """What remains of a model: its tokens and its residuals by layer."""

    about: ComparedModel
    vocabulary: Vocabulary
    tokens: list[list[str]]
    states: dict[int, Array]


def plan(request: ActivationDiffRequest) -> Plan[ActivationDiffResult]:
    """Read the prompts, and which models are compared."""
    given = read_prompt_input(request.prompts.prompts)
    form = given.form(request.prompts.chat)
    options = request.loading.two_models(request.base, request.finetuned, name="-f")
    return comparison(
        request,
        ActivationDiffResult,
        schemas.ACTIVATION_DIFF,
        models=options,
        inputs=given.inputs,
        parameters=asked(
            request,
            without=("base", "finetuned"),
            models=[name_of(each) for each in options],
            prompts=given.texts,
            format=form.name,
        ),
        answer=lambda: activation_diff(options, given, layers=request.layers, form=form),
    )


def activation_diff(
    options: tuple[ModelOptions, ModelOptions],
    given: PromptInput,
    *,
    layers: str = "all",
    form: PromptFormat = RAW,
) -> ActivationDiffResult:
    """Compare both models; raises ``UsageError`` for layers that the base lacks."""
    a, b = ask_each(options, lambda model, which: _collect(model, which, given, form))
    depth = len(a.states)
    at = parse_layers(layers, range(depth), depth)
    pairs = [(k, counterpart(k, depth, len(b.states))) for k in at]
    found = [
        _difference(a.states[k], b.states[j], given.groups, layer=k, other=j) for k, j in pairs
    ]
    return ActivationDiffResult(
        models=(a.about, b.about),
        format=form.name,
        prompts=given.texts,
        layers=found,
        other_tokens=[i for i, (x, y) in enumerate(zip(a.tokens, b.tokens, strict=True)) if x != y],
        same_vocabulary=a.vocabulary.same_as(b.vocabulary),
        cosines=_prompt_cosines(a, b, found),
        n_groups=given.n_groups,
    )


def counterpart(layer: int, n_layers: int, n_other: int) -> int:
    """Return the layer of the other model at the same relative depth, (layer + 1) / n_layers."""
    return max(0, round((layer + 1) / n_layers * n_other) - 1)


def _collect(
    model: "LoadedModel", options: ModelOptions, given: PromptInput, form: PromptFormat
) -> _Collected:
    from circuit.model.forward.last_token import last_residuals
    from circuit.model.forward.token_states import token_texts

    encoded = encode(model, given.texts, form)
    return _Collected(
        about=compared(model, options),
        vocabulary=Vocabulary(model.tokenizer),
        tokens=[token_texts(model, prompt.ids.tolist()) for prompt in encoded],
        states=last_residuals(model, encoded, range(model.n_layers)),
    )


def _difference(
    A: Array,  # noqa: N803
    B: Array,  # noqa: N803
    groups: Sequence[str],
    *,
    layer: int,
    other: int,
) -> LayerDifference:
    same_width = A.shape[1] == B.shape[1]
    centred = centred_cosines(A, B) if same_width and len(A) > 2 else None

    def mean(values: Array, low: float, high: float) -> Mean:
        return mean_interval(values, groups, bounds=(low, high))

    return LayerDifference(
        layer=layer,
        other_layer=other,
        cosine=mean(paired_cosines(A, B), -1, 1) if same_width else None,
        centred_cosine=None if centred is None else mean(centred, -1, 1),
        moved=mean(relative_distances(A, B), 0, np.inf) if same_width else None,
        norm_ratio=mean(norm_ratios(A, B), 0, np.inf) if same_width else None,
        cka=cka_estimate(A, B, groups),
    )


def norm_ratios(A: Array, B: Array) -> Array:  # noqa: N803
    """‖b_i‖ / ‖a_i‖ of rows ``A`` and ``B`` (n, d), (n,)."""
    a, b = (np.linalg.norm(rows.astype(np.float64), axis=1) for rows in (A, B))
    return np.asarray(b / np.where(a > 0, a, 1))


def _prompt_cosines(
    a: _Collected, b: _Collected, found: Sequence[LayerDifference]
) -> list[float] | None:
    """Return the cosine of each prompt at the layer that moved most."""
    most = moved_most(found)
    if most is None:
        return None
    cosines = paired_cosines(a.states[most.layer], b.states[most.other_layer])
    return [round(float(value), 6) for value in cosines]


def moved_most(layers: Sequence[LayerDifference]) -> LayerDifference | None:
    """Return the layer that moved most; None where the widths differ."""
    moved = [each for each in layers if each.moved is not None]
    return max(moved, key=lambda each: (each.moved or [0.0])[0] or 0.0, default=None)


def present(result: ActivationDiffResult) -> Document:
    """Show a row for each layer, then what else differs."""
    base, other = result.models
    facts: list[tuple[str, str]] = [
        (name, f"{model.name} ({model.n_layers} layers of {model.d_model})")
        for name, model in (("Base", base), ("Fine-tuned", other))
    ]
    lines = [f"{counted(len(result.prompts))}, {result.format}, last token"]
    if base.n_layers != other.n_layers:
        lines.append(
            "a ~ b: layer a of the base, and layer b of the other at the same relative depth"
        )
    parts: list[Part] = [Facts(facts), Text(lines), _table(result.layers)]
    parts += [Text(["", *_tokens(result), _most(result)])]
    if len(result.prompts) < 4:
        parts.append(Notice("CKA needs at least 4 prompts."))
    return Document("", [*parts, *few_groups(result.n_groups)])


def _most(result: ActivationDiffResult) -> str:
    base, other = result.models
    most = moved_most(result.layers)
    if most is None or most.moved is None:
        return "The widths differ: only CKA compares them."
    if base.n_layers != other.n_layers:
        return "The depths differ: no layer is reported to have moved most."
    if most.moved[0] == 0:
        return "Nothing moved."
    return f"Moved most: layer {most.layer} ({interval(most.moved, '.3f')} of the norm)"


def _table(layers: Sequence[LayerDifference]) -> Table:
    def name(each: LayerDifference) -> str:
        same = each.layer == each.other_layer
        return f"{each.layer}" if same else f"{each.layer} ~ {each.other_layer}"

    return Table.of(
        layers,
        {
            "layer": name,
            "cosine": lambda each: Estimate.of(each.cosine, ".3f"),
            "centred": lambda each: Estimate.of(each.centred_cosine, ".3f"),
            "|b - a| / |a|": lambda each: Estimate.of(each.moved, ".3f"),
            "|b| / |a|": lambda each: Estimate.of(each.norm_ratio, ".3f"),
            "CKA": lambda each: Estimate.of(each.cka, ".3f"),
        },
    )


def _tokens(result: ActivationDiffResult) -> list[str]:
    differ = result.other_tokens
    if not differ:
        return []
    shown = ", ".join(repr(result.prompts[i]) for i in differ[:3])
    more = " ..." if len(differ) > 3 else ""
    verb = "becomes" if len(differ) == 1 else "become"
    n = counted(len(result.prompts))
    return [f"{len(differ)} of {n} {verb} other tokens: {shown}{more}"]


COMMAND = Command(
    request=ActivationDiffRequest, plan=plan, present=present, result=ActivationDiffResult
)
