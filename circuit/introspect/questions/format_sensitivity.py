"""``circuit introspect format-sensitivity``: a space at the end of a prompt, and the chat template.

Every prompt is read without and with a space at its end (raw), and, where the model has a chat
template, as raw text and as a user's turn. For each of these contrasts, from form a to form b:

    per layer    cosine of h_a and h_b, ‖h_b − h_a‖ / ‖h_a‖, of ``resid_post`` at the last token:
                 means over prompts with bootstrap intervals over groups, and as a baseline the
                 same between *different* prompts in form a
    output       the top next token in both forms, KL(p_b‖p_a) in nats, and the generated text

With another last token (a space that is a token of its own) the states differ for that reason
alone, so the last tokens are given.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np

from circuit.introspect.inputs.choices import token_text
from circuit.introspect.inputs.variants import Variant, variants
from circuit.introspect.lens.distributions import next_log_probs
from circuit.introspect.plans import asked, question
from circuit.methods.arrays import Array
from circuit.methods.geometry.similarity import paired_cosines, relative_distances
from circuit.methods.steering import divergences
from circuit.methods.uncertainty.means import Mean, mean_interval
from circuit.present.document import (
    Document,
    Estimate,
    Facts,
    Notice,
    Number,
    Part,
    Section,
    Table,
    Text,
)
from circuit.present.numbers import counted, few_groups, interval
from circuit.stages.options import LAYERS, ModelOptions, OutputOptions
from circuit.stages.rows.prompt_input import PromptInput, read_prompt_input
from circuit.stages.rows.prompting import encode
from circuit.stages.run import Command, Plan, Result
from circuit.values import schemas
from circuit.values.layers import parse_layers
from circuit.values.requests import group, option
from circuit.values.sampling import Sampling

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel


@dataclass(frozen=True, kw_only=True)
class FormatSensitivityRequest:
    """See what a space at the end of a prompt, and the chat template, change in layers and output.

    Spaces at the end of the prompts are removed first.

    Examples:
      circuit introspect format-sensitivity -m tiny -p "58 + 31 =|50 + 25 ="
      circuit introspect format-sensitivity -m tiny -p "58 + 31 =|50 + 25 =" --layers 0,3 -s -n 4
    """

    model: ModelOptions = group(ModelOptions)
    prompts: str = option("--prompts", "--prompt", "-p", help="a|b, @lines.txt or @prompts.json.")
    layers: str = option("--layers", help=LAYERS, default="all")
    summary_only: bool = option(
        "--summary-only", "-s", help="Leave out the single prompts.", default=False
    )
    max_tokens: int = option(
        "--max-tokens", "-n", help="Tokens to generate at most.", default=12, minimum=1
    )
    output: OutputOptions = group(OutputOptions)


@dataclass(frozen=True, kw_only=True)
class LayerDistance:
    """How far two forms are apart after a block, and different prompts (None: one prompt)."""

    layer: int
    cosine: Mean
    distance: Mean
    between_cosine: float | None
    between_distance: float | None


@dataclass(frozen=True, kw_only=True)
class FormOutput:
    """The output for one prompt in both forms."""

    prompts: tuple[str, str]
    last_tokens: tuple[str, str]
    next_tokens: tuple[str, str]
    probabilities: tuple[float, float]
    kl: float
    texts: tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class FormContrast:
    """Two forms of all prompts."""

    forms: tuple[str, str]
    layers: list[LayerDistance]
    outputs: list[FormOutput]
    kl: Mean
    n_same_next_token: int
    n_same_text: int
    n_same_ids: int


@dataclass(frozen=True, kw_only=True)
class FormatSensitivityResult(Result):
    """Every contrast that the model has."""

    model: str
    contrasts: list[FormContrast]
    has_template: bool
    n: int
    n_groups: int


@dataclass(frozen=True, kw_only=True, eq=False)
class _Measured:
    """All prompts in one form: their tokens, the states at the last one, and the output."""

    form: Variant
    ids: list[list[int]]
    states: dict[int, Array]
    log_p: Array
    generated: list[str]


def plan(request: FormatSensitivityRequest) -> Plan[FormatSensitivityResult]:
    """Read the prompts."""
    given = read_prompt_input(request.prompts)
    return question(
        request,
        FormatSensitivityResult,
        schemas.FORMAT_SENSITIVITY,
        inputs=given.inputs,
        parameters=asked(request, without=["summary_only"], prompts=given.texts),
        answer=lambda model, _: format_sensitivity(
            model, given, layers=request.layers, max_tokens=request.max_tokens
        ),
    )


def format_sensitivity(
    model: "LoadedModel", given: PromptInput, *, layers: str = "all", max_tokens: int = 12
) -> FormatSensitivityResult:
    """Compare the forms of every prompt; raises ``UsageError`` for layers out of range."""
    at = parse_layers(layers, range(model.n_layers), model.n_layers)
    template = bool(model.tokenizer.has_chat_template)
    bare, spaced, *chat = variants(given.texts, given.form(None), template=template)
    measured = [_measured(model, form, at, max_tokens) for form in (bare, spaced, *chat[:1])]
    return FormatSensitivityResult(
        model=model.id,
        contrasts=[
            _contrast(model, measured[0], other, at, given.groups) for other in measured[1:]
        ],
        has_template=template,
        n=len(given.texts),
        n_groups=given.n_groups,
    )


def _measured(
    model: "LoadedModel", form: Variant, layers: Sequence[int], max_tokens: int
) -> _Measured:
    from circuit.model.forward.generate import generate
    from circuit.model.forward.last_token import last_residuals

    encoded = encode(model, form.texts, form.form)
    return _Measured(
        form=form,
        ids=[prompt.ids.tolist() for prompt in encoded],
        states=last_residuals(model, encoded, layers),
        log_p=next_log_probs(model, encoded),
        generated=[each.text for each in generate(model, encoded, Sampling(max_tokens))],
    )


def _contrast(
    model: "LoadedModel", a: _Measured, b: _Measured, layers: Sequence[int], groups: Sequence[str]
) -> FormContrast:
    outputs = [_output(model, a, b, row) for row in range(len(a.ids))]
    same_top = a.log_p.argmax(axis=1) == b.log_p.argmax(axis=1)
    return FormContrast(
        forms=(a.form.name, b.form.name),
        layers=[_distance(k, a.states[k], b.states[k], groups) for k in layers],
        outputs=outputs,
        kl=mean_interval([each.kl for each in outputs], groups, bounds=(0, np.inf)),
        n_same_next_token=int(same_top.sum()),
        n_same_text=sum(x == y for x, y in zip(a.generated, b.generated, strict=True)),
        n_same_ids=sum(x == y for x, y in zip(a.ids, b.ids, strict=True)),
    )


def _distance(layer: int, A: Array, B: Array, groups: Sequence[str]) -> LayerDistance:  # noqa: N803
    others = [(i, j) for i, j in permutations(range(len(A)), 2) if groups[i] != groups[j]]
    first, second = (A[[pair[k] for pair in others]] for k in (0, 1))
    return LayerDistance(
        layer=layer,
        cosine=mean_interval(paired_cosines(A, B), groups, bounds=(-1, 1)),
        distance=mean_interval(relative_distances(A, B), groups, bounds=(0, np.inf)),
        between_cosine=round(float(paired_cosines(first, second).mean()), 6) if others else None,
        between_distance=round(float(relative_distances(first, second).mean()), 6)
        if others
        else None,
    )


def _output(model: "LoadedModel", a: _Measured, b: _Measured, row: int) -> FormOutput:
    p, q = (form.log_p[row].astype(np.float64) for form in (a, b))
    top = int(np.argmax(p)), int(np.argmax(q))
    return FormOutput(
        prompts=(a.form.texts[row], b.form.texts[row]),
        last_tokens=(token_text(model, a.ids[row][-1]), token_text(model, b.ids[row][-1])),
        next_tokens=(token_text(model, top[0]), token_text(model, top[1])),
        probabilities=(float(np.exp(p[top[0]])), float(np.exp(q[top[1]]))),
        kl=round(max(0.0, float(divergences.kl(q, p))), 6),
        texts=(a.generated[row], b.generated[row]),
    )


def present(result: FormatSensitivityResult, *, summary_only: bool = False) -> Document:
    """Show every contrast: layers, the single prompts, and the counts."""
    parts: list[Part] = [Facts([("Model", f"{result.model} ({counted(result.n)})")])]
    if not result.has_template:
        parts.append(Notice("the model has no chat template: raw text only."))
    parts += [_section(each, result.n, summary_only) for each in result.contrasts]
    return Document("", [*parts, *few_groups(result.n_groups)])


def _section(found: FormContrast, n: int, summary_only: bool) -> Section:
    a, b = found.forms
    parts: list[Part] = [_layers(found.layers)]
    if not summary_only:
        parts += [_single(each) for each in found.outputs]
    lines = [
        "",
        f"Next token: the same for {found.n_same_next_token} of {n}; "
        f"KL {interval(found.kl, '.3f')} nats",
        f"Text: the same for {found.n_same_text} of {n}",
    ]
    if found.n_same_ids:
        lines.append(f"Both forms are the same tokens for {found.n_same_ids} of {n}")
    return Section(f"{a} -> {b}", [*parts, Text(lines)])


def _layers(layers: Sequence[LayerDistance]) -> Table:
    return Table.of(
        layers,
        {
            "layer": lambda each: str(each.layer),
            "cosine": lambda each: Estimate.of(each.cosine, ".3f"),
            "|h' - h| / |h|": lambda each: Estimate.of(each.distance, ".3f"),
            "between prompts: cosine": lambda each: Number(each.between_cosine),
            "distance": lambda each: Number(each.between_distance),
        },
    )


def _single(found: FormOutput) -> Text:
    pairs = zip(found.last_tokens, found.next_tokens, found.probabilities, found.texts, strict=True)
    lines = [f"  after {last!r}: {token!r} ({p:.4f})  {text!r}" for last, token, p, text in pairs]
    return Text(["", f"Prompt: {found.prompts[0]!r}, KL {found.kl:.3f} nats", *lines])


COMMAND = Command(
    request=FormatSensitivityRequest,
    plan=plan,
    present=present,
    display=lambda request: {"summary_only": request.summary_only},
    result=FormatSensitivityResult,
)
