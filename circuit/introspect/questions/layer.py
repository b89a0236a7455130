"""``circuit introspect layer``: similarity of prompts, layer by layer, within and between labels.

h_i = ``resid_post`` at the last token of prompt i. Similarity is the cosine, raw and *centred* (the
mean over the prompts is subtracted first: residuals share a large common part, so that raw cosines
are near 1 for any prompts; with two prompts the centred one is −1 by construction, and it is left
out with fewer than three).

    within       mean cosine of pairs of prompts with one label
    between      the same of pairs with two labels
    separation   within − between

Intervals come from a bootstrap over groups, within labels; a prompt drawn twice is not a pair
with itself. p is the proportion of permuted labels that separate at least as well; both need two
groups of every label. A separation is about these prompts: a label that correlates with length or
with one word separates, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from circuit.errors import UsageError
from circuit.introspect.attention.attended import Attended, attended, attended_table
from circuit.introspect.inputs.per_prompt import labels_of
from circuit.introspect.plans import asked, question
from circuit.methods.arrays import Array
from circuit.methods.geometry.label_similarity import Separation, separation
from circuit.methods.geometry.similarity import cosine_matrix
from circuit.present.document import Cell, Document, Estimate, Facts, Number, Part, Section, Table
from circuit.present.numbers import few_groups
from circuit.stages.options import LAYERS, ModelOptions, OutputOptions, PromptsOptions, SeedOptions
from circuit.stages.rows.prompt_input import PromptInput, read_prompt_input
from circuit.stages.rows.prompting import encode
from circuit.stages.run import Command, Plan, Result
from circuit.values import schemas
from circuit.values.layers import parse_layers
from circuit.values.prompt_format import RAW, PromptFormat
from circuit.values.requests import group, option
from circuit.values.sites import Site

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel

WIDE = 8  # prompts whose cosines are shown as a matrix


@dataclass(frozen=True, kw_only=True)
class LayerRequest:
    """Compare the states of several prompts, within labels and between them, layer by layer.

    Examples:
      circuit introspect layer -m tiny -p "100 - 37 = |100 - 37 =" -l working,broken --layers 2,4
      circuit introspect layer -m tiny -p "58 + 31 = |50 + 25 = |58 + 31 =|50 + 25 =" \
-l works,works,fails,fails --layers 3 --attention
    """

    model: ModelOptions = group(ModelOptions)
    prompts: PromptsOptions = group(PromptsOptions)
    labels: str | None = option(
        "--labels", "-l", help="A label for each prompt: working,broken.", default=None
    )
    layers: str = option("--layers", help=LAYERS, default="all")
    attention: bool = option(
        "--attention", help="Show where the last token attends.", default=False
    )
    output: OutputOptions = group(OutputOptions)
    seed: SeedOptions = group(SeedOptions)


@dataclass(frozen=True, kw_only=True)
class LayerSimilarity:
    """Cosines between all prompts after one block, and how labels stand out in them."""

    layer: int
    matrix: list[list[float]]
    centred_matrix: list[list[float]] | None
    raw: Separation
    centred: Separation | None


@dataclass(frozen=True, kw_only=True)
class LayerResult(Result):
    """Every layer, and for each prompt where its last token attends."""

    model: str
    prompts: list[str]
    labels: list[str]
    format: str
    layers: list[LayerSimilarity]
    attention: list[list[Attended]] | None
    n_groups: int


def plan(request: LayerRequest) -> Plan[LayerResult]:
    """Read the prompts and their labels."""
    given = read_prompt_input(request.prompts.prompts)
    check_several(given)
    labels = labels_of(given, request.labels)
    form = given.form(request.prompts.chat)
    return question(
        request,
        LayerResult,
        schemas.LAYER_SIMILARITY,
        inputs=given.inputs,
        parameters=asked(request, prompts=given.texts, labels=labels, format=form.name),
        answer=lambda model, _: layer_similarity(
            model,
            given,
            labels,
            layers=request.layers,
            attention=request.attention,
            form=form,
            seed=request.seed.seed,
        ),
    )


def check_several(given: PromptInput) -> None:
    """Raise ``UsageError`` for one prompt, which can be compared with nothing."""
    if (n := len(given.texts)) < 2:
        message = f"layer similarity needs at least 2 prompts, got {n}"
        raise UsageError("too-few-prompts", message, hint="give two or more: -p 'a|b'", n=n)


def layer_similarity(
    model: "LoadedModel",
    given: PromptInput,
    labels: Sequence[str],
    *,
    layers: str = "all",
    attention: bool = False,
    form: PromptFormat = RAW,
    seed: int = 0,
) -> LayerResult:
    """Compare all prompts at every layer; needs two prompts."""
    from circuit.model.forward.last_token import last_residuals

    check_several(given)
    at = parse_layers(layers, range(model.n_layers), model.n_layers)
    encoded = encode(model, given.texts, form)
    states = last_residuals(model, encoded, at)
    return LayerResult(
        model=model.id,
        prompts=given.texts,
        labels=list(labels),
        format=form.name,
        layers=[_layer(k, states[k], labels, given.groups, seed) for k in at],
        attention=[_attention(model, prompt.ids, at) for prompt in encoded] if attention else None,
        n_groups=given.n_groups,
    )


def _layer(
    layer: int, rows: Array, labels: Sequence[str], groups: Sequence[str], seed: int
) -> LayerSimilarity:
    plain = cosine_matrix(rows)
    centred = cosine_matrix(rows - rows.mean(axis=0, dtype=np.float64)) if len(rows) > 2 else None
    return LayerSimilarity(
        layer=layer,
        matrix=np.round(plain, 6).tolist(),
        centred_matrix=None if centred is None else np.round(centred, 6).tolist(),
        raw=separation(plain, labels, groups, seed=seed),
        centred=None if centred is None else separation(centred, labels, groups, seed=seed),
    )


def _attention(model: "LoadedModel", ids: Array, layers: Sequence[int]) -> list[Attended]:
    from circuit.model.forward.token_states import token_states, token_texts

    tokens = token_texts(model, ids.tolist())
    patterns = [Site("attn_pattern", layer) for layer in layers]
    found = token_states(model, ids.tolist(), [], last=patterns)
    return [attended(site.layer, found[site][-1], tokens) for site in patterns]


def present(result: LayerResult) -> Document:
    """Show the cosines of few prompts as matrices, the separation of labels, and attention."""
    parts: list[Part] = [Facts([("Model", f"{result.model} ({result.format})")])]
    if len(result.prompts) <= WIDE:
        named = zip(result.labels, result.prompts, strict=True)
        parts.append(Facts([(f"  {label}", repr(text)) for label, text in named]))
        parts += [_matrix(layer, result.labels) for layer in result.layers]
    if len(set(result.labels)) < len(result.labels) or len(set(result.labels)) == 2:
        parts.append(_separations(result.layers))
    parts += few_groups(result.n_groups)
    for text, found in zip(result.prompts, result.attention or [], strict=False):
        title = f"Attention of the last token of {text!r}"
        parts.append(Section(title, [attended_table(found)]))
    return Document("", parts)


def _matrix(layer: LayerSimilarity, labels: Sequence[str]) -> Table:
    """Show raw cosines, and centred ones in brackets."""
    centred = layer.centred_matrix
    rows = []
    for i, row in enumerate(layer.matrix):
        cells = [
            f"{value:.3f}" + ("" if centred is None else f" ({centred[i][j]:+.2f})")
            for j, value in enumerate(row)
        ]
        rows.append([labels[i], *cells])
    name = "raw" if centred is None else "raw (centred)"
    return Table(title=f"Layer {layer.layer}: cosines", header=[name, *labels], rows=rows)


def _separations(layers: Sequence[LayerSimilarity]) -> Table:
    rows: list[list[Cell]] = []
    for layer in layers:
        for name, found in (("raw", layer.raw), ("centred", layer.centred)):
            if found is not None:
                means = (found.within, found.between, found.separation)
                cells = [Estimate.of(each, ".3f") for each in means]
                rows.append([str(layer.layer), name, *cells, Number(found.p)])
    header = ["layer", "cosine", "within", "between", "separation", "p"]
    return Table(title="Within and between labels", header=header, rows=rows)


COMMAND = Command(request=LayerRequest, plan=plan, present=present, result=LayerResult)
