"""``circuit introspect attribute``: what each component adds directly to a logit difference.

At a prompt's last token the residual stream is the sum of what was added to it, h = embed +
Σ_l (attn_out_l + mlp_out_l). With the statistics of the final norm held constant, the logit
difference d = logit(answer) − logit(wrong) is linear in h
(``circuit.model.gradients.linear_form``):

    d = constant + v·embed + Σ_l (v·attn_out_l + v·mlp_out_l)
    v·attn_out_l = Σ_heads + the map's constant

and each term is a component's contribution in logits. The sum is compared with the model's own d,
and an error above ``BOUND`` of its size is refused. Families without a row in
``circuit.model.checkpoint.families`` are divided by blocks.

Where it is not exact: the norm's statistics depend on all components, and holding them constant is
a convention (Elhage et al. 2021); the logits of a soft-capped head (Gemma 2) are read before the
cap, which the result records; what a component does *through* later ones is not in its term. For
that use ``circuit introspect patch``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from circuit.errors import ModelError, UsageError
from circuit.introspect.inputs.choices import single_token, token_text
from circuit.introspect.plans import asked, question
from circuit.methods.arrays import Array
from circuit.methods.uncertainty.means import mean_estimate
from circuit.present.document import Cell, Document, Estimate, Number, Part, Table, Text
from circuit.present.numbers import counted, few_groups
from circuit.stages.figures.picture_files import check_picture, write_picture
from circuit.stages.options import ModelOptions, OutputOptions, PromptsOptions, SeedOptions
from circuit.stages.rows.prompt_input import PromptInput, read_prompt_input
from circuit.stages.rows.prompting import encode
from circuit.stages.run import Command, Plan, Result
from circuit.values import schemas
from circuit.values.prompt_format import RAW, PromptFormat
from circuit.values.requests import group, option
from circuit.values.sites import EMBED, Site

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel
    from circuit.model.prompts.tokens import EncodedPrompt

BOUND = {"float32": 1e-4}  # of the sum of absolute terms; other dtypes 0.05
SHOWN, TOP, DRAWN = 4, 12, 24  # prompts and heads that are shown, terms that are drawn


@dataclass(frozen=True, kw_only=True)
class AttributeRequest:
    r"""Divide a logit difference among the components that write it: embedding, heads, MLPs.

    Examples:
      circuit introspect attribute -m tiny -p "50 + 25 = " --answer 7 --wrong 2
      circuit introspect attribute -m tiny -p "50 + 25 = |31 + 4 = |64 + 22 = " -o \
        attribution.json --plot attribution.png
    """

    model: ModelOptions = group(ModelOptions)
    prompts: PromptsOptions = group(PromptsOptions)
    answer: str | None = option(
        "--answer", help="A token.", default=None, shown_default="each prompt's top-1"
    )
    wrong: str | None = option(
        "--wrong", help="Another token.", default=None, shown_default="the next most likely"
    )
    plot: Path | None = option(
        "--plot", help="Draw the largest terms (png, pdf, svg).", default=None
    )
    output: OutputOptions = group(OutputOptions)
    seed: SeedOptions = group(SeedOptions)


@dataclass(frozen=True, kw_only=True)
class Term:
    """A component's part of the logit difference: of each prompt, and the mean with an interval."""

    name: str
    kind: str
    layer: int | None
    head: int | None
    values: list[float]
    mean: float
    interval: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class PromptAnswers:
    """A prompt, both answers, and the logit difference; ``read`` is that before a soft-cap."""

    prompt: str
    answer: str
    wrong: str
    difference: float
    read: float


@dataclass(frozen=True, kw_only=True)
class AttributeResult(Result):
    """Terms whose sum is the logit difference, then heads.

    The heads of a layer and its ``attention rest`` add up to its attention. ``error`` is the
    largest |Σ terms − d| of a prompt, relative to |d|. Without ``same_tokens`` each prompt has its
    own two answers.
    """

    model: str
    format: str
    prompts: list[PromptAnswers]
    terms: list[Term]
    heads: list[Term]
    error: float
    soft_cap: float | None
    n_groups: int
    same_tokens: bool


def plan(request: AttributeRequest) -> Plan[AttributeResult]:
    """Read the prompts."""
    check_picture(request.plot)
    given = read_prompt_input(request.prompts.prompts)
    form = given.form(request.prompts.chat)
    return question(
        request,
        AttributeResult,
        schemas.ATTRIBUTION,
        inputs=given.inputs,
        parameters=asked(request, prompts=given.texts, format=form.name),
        answer=lambda model, _: attribute(
            model,
            given,
            form=form,
            answer=request.answer,
            wrong=request.wrong,
            seed=request.seed.seed,
        ),
        pictures={request.plot: draw_attribution},
    )


def attribute(
    model: "LoadedModel",
    given: PromptInput,
    *,
    form: PromptFormat = RAW,
    answer: str | None = None,
    wrong: str | None = None,
    seed: int = 0,
) -> AttributeResult:
    """Divide the logit difference of ``answer`` and ``wrong``, by default the two top tokens.

    Raises ``UsageError`` for an answer that is not one token or the same as the other.
    """
    from circuit.model.gradients.linear_form import read_differences, readout

    chosen = [None if text is None else single_token(model, text) for text in (answer, wrong)]
    held = activations_of(model, encode(model, given.texts, form))
    final = held[Site("resid_post", model.n_layers - 1)]
    answers, wrongs, plain = _answers(model, final, chosen[0], chosen[1])
    forms = readout(model, final, answers, wrongs)
    vectors = forms.vectors[0]
    parts = [Contribution("constant", "constant", forms.constants[0])]
    parts += [
        replace(each, values=logits_of(vectors, each.values)) for each in parts_of(model, held)
    ]
    terms = [_term(each, given.groups, seed) for each in parts]
    read = read_differences(model, final, answers, wrongs, forms.cap)
    rows = zip(given.texts, answers, wrongs, plain, read, strict=True)
    return AttributeResult(
        model=model.id,
        format=form.name,
        prompts=[
            PromptAnswers(
                prompt=text,
                answer=token_text(model, a),
                wrong=token_text(model, b),
                difference=float(difference),
                read=float(before),
            )
            for text, a, b, difference, before in rows
        ],
        terms=terms,
        heads=[_term(each, given.groups, seed) for each in heads_of(model, held, vectors)],
        error=_check(model, terms, read),
        soft_cap=forms.cap,
        n_groups=given.n_groups,
        same_tokens=len(set(zip(answers, wrongs, strict=True))) == 1,
    )


@dataclass(frozen=True, eq=False)
class Contribution:
    """What a component adds: a vector for each prompt (n, d_model), or its logits (n,)."""

    name: str
    kind: str
    values: Array
    layer: int | None = None
    head: int | None = None


def parts_of(model: "LoadedModel", held: Mapping[Site, Array]) -> Iterator[Contribution]:
    """Yield what adds up to the last residual: sublayers where the family is known, else blocks."""
    from circuit.model.sites.sites import available_sites

    yield Contribution("embed", "embed", held[EMBED])
    split = {"attn_out", "mlp_out"} <= set(available_sites(model))
    for k in range(model.n_layers):
        if split:
            yield Contribution(f"attention.{k}", "attn_out", held[Site("attn_out", k)], k)
            yield Contribution(f"mlp.{k}", "mlp_out", held[Site("mlp_out", k)], k)
        else:
            step = held[Site("resid_post", k)] - held[Site("resid_pre", k)]
            yield Contribution(f"block.{k}", "block", step, k)


def activations_of(model: "LoadedModel", encoded: "Sequence[EncodedPrompt]") -> dict[Site, Array]:
    """Return the activations of every site at the last token, (n_prompts, width) each."""
    from circuit.model.forward.last_token import last_states
    from circuit.model.sites.sites import available_sites, sites_at

    wanted = {"embed", "resid_pre", "resid_post", "attn_out", "mlp_out", "z"}
    names = sorted(wanted & {*available_sites(model), "embed"})
    sites = sites_at(names, range(model.n_layers))
    return last_states(model, encoded, sites)


def logits_of(vectors: Array, rows: Array) -> Array:
    """Return the product of each vector with its row, both (n, d_model)."""
    return np.asarray((vectors.astype(np.float64) * rows).sum(axis=1))


def heads_of(model: "LoadedModel", held: dict[Site, Array], vectors: Array) -> list[Contribution]:
    """Return the logits of every head, and of each layer what its attention adds without them."""
    from circuit.model.gradients.linear_form import head_forms
    from circuit.model.interventions.ablation import Component, count

    if Site("z", model.n_layers - 1) not in held or Site("attn_out", 0) not in held:
        return []
    z = [held[Site("z", k)] for k in range(model.n_layers)]
    forms = head_forms(model, z, vectors)
    found: list[Contribution] = []
    for k, (rows, v) in enumerate(zip(z, forms.vectors, strict=True)):
        n_heads = count(model, Component("head", k, 0))
        parts = (v.astype(np.float64) * rows).reshape(len(rows), n_heads, -1).sum(axis=2)
        found += [Contribution(f"head.{k}.{h}", "head", parts[:, h], k, h) for h in range(n_heads)]
        rest = logits_of(vectors, held[Site("attn_out", k)]) - parts.sum(axis=1)
        found.append(Contribution(f"attention rest.{k}", "rest", rest, k))
    return found


def _term(each: Contribution, groups: Sequence[str], seed: int) -> Term:
    found = mean_estimate(each.values, groups, seed=seed)
    return Term(
        name=each.name,
        kind=each.kind,
        layer=each.layer,
        head=each.head,
        values=np.asarray(each.values).tolist(),
        mean=float(np.mean(each.values)),
        interval=None if found is None else (found.low, found.high),
    )


def _answers(
    model: "LoadedModel", final: Array, answer: int | None, wrong: int | None
) -> tuple[list[int], list[int], Array]:
    """Return the answers' ids and the model's logit difference of each prompt."""
    from circuit.model.forward.tail import read_logits

    if answer is not None and answer == wrong:
        message = "`--answer` and `--wrong` are the same token"
        raise UsageError("equal-answers", message, hint="name two tokens")
    logits = read_logits(model, final)
    found: list[tuple[int, int]] = []
    for row in logits:
        order = [int(i) for i in np.argsort(-row, kind="stable")[:3]]
        first = answer if answer is not None else next(i for i in order if i != wrong)
        found.append((first, wrong if wrong is not None else next(i for i in order if i != first)))
    a, b = (list(each) for each in zip(*found, strict=True))
    rows = np.arange(len(logits))
    return a, b, np.asarray(logits[rows, a] - logits[rows, b])


def _check(model: "LoadedModel", terms: Sequence[Term], read: Array) -> float:
    """Return the largest error of the sum, relative to the logit difference.

    Raises ``ModelError`` where it is more than rounding.
    """
    values = np.array([term.values for term in terms])
    missing = np.abs(values.sum(axis=0) - read)
    bound = BOUND.get(model.dtype, 5e-2)
    if (missing > bound * np.abs(values).sum(axis=0)).any():
        most = float(missing.max())
        raise ModelError(
            "parts-do-not-add-up",
            f"the parts of `{model.id}` do not add up to its logits: {most:.3g} logits are missing",
            hint="its row in circuit/model/checkpoint/families.py does not fit it, or its "
            "blocks do more than add",
            missing=most,
        )
    return float((missing / np.maximum(np.abs(read), 1e-12)).max())


def draw_attribution(result: AttributeResult, path: Path, *, force: bool = False) -> None:
    """Draw the largest terms; where heads are known they replace their attention."""
    from circuit.plots.bars import bars

    split = {term.layer for term in result.heads}
    whole = [t for t in result.terms if not (t.kind == "attn_out" and t.layer in split)]
    terms = sorted([*whole, *result.heads], key=lambda term: -abs(term.mean))[:DRAWN]
    figure = bars(
        [term.name for term in terms],
        [term.mean for term in terms],
        [term.interval for term in terms],
        xlabel="Direct effect on the logit difference",
    )
    write_picture(path, figure, force=force)


def present(result: AttributeResult) -> Document:
    """Show terms along the layers, the strongest heads, and how exactly they add up."""
    total = Number(sum(term.mean for term in result.terms), "+.4f")
    rows: list[list[Cell]] = [*map(_row, result.terms), ["sum", total]]
    parts: list[Part] = [Text(_about(result)), Table(header=["component", "logits"], rows=rows)]
    if result.heads:
        heads = sorted(result.heads, key=lambda term: -abs(term.mean))[:TOP]
        rows = [_row(term) for term in heads]
        parts.append(Table(title="Largest heads", header=["head", "logits"], rows=rows))
    read = sum(each.read for each in result.prompts) / len(result.prompts)
    parts.append(
        Text(
            [
                f"The model's own difference is {read:+.4f}; the largest error of a sum is "
                f"{result.error:.1e} of it.",
                "Only direct contributions are counted: circuit introspect patch measures the "
                "others.",
            ]
        )
    )
    return Document("", [*parts, *few_groups(result.n_groups)])


def _about(result: AttributeResult) -> list[str]:
    n = len(result.prompts)
    lines = [f"Direct logit attribution of `{result.model}`: {counted(n)}, {result.format}"]
    lines += [
        f"  {each.prompt!r}: {each.answer!r} over {each.wrong!r} by {each.difference:+.4f} logits"
        for each in result.prompts[:SHOWN]
    ]
    if n > SHOWN:
        lines.append(f"  … and {n - SHOWN} more")
    if not result.same_tokens:
        lines.append(
            "Each prompt has its own pair of tokens: the means are over different logit "
            "differences (--answer, --wrong)."
        )
    if result.soft_cap is not None:
        lines.append(
            f"The model caps its logits softly at ±{result.soft_cap:g}; the terms are those of the "
            "logits before the cap."
        )
    return lines


def _row(term: Term) -> list[Cell]:
    return [term.name, Estimate.within(term.mean, term.interval, "+.4f")]


COMMAND = Command(request=AttributeRequest, plan=plan, present=present)
