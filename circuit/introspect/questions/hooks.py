"""``circuit introspect hooks``: what a model holds while it reads a prompt, layer by layer.

Everything is taken from one forward pass of each prompt (``circuit.model.sites.sites``). Of each
site: its shape, the norm at the last token, and the mean norm over the tokens after the first,
which is an attention sink with a norm of its own. With ``--last-only`` only the last token is kept.
Attention is that of the last token, averaged over heads. The lens is that of ``circuit introspect
analyze``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from circuit.introspect.attention.attended import Attended, attended, attended_table
from circuit.introspect.lens.logit_lens import TokenPrediction, lens_log_probs, top_tokens
from circuit.introspect.plans import asked, question
from circuit.methods.arrays import Array
from circuit.present.document import Document, Facts, Number, Part, Section, Table
from circuit.stages.options import LAYERS, ModelOptions, OutputOptions, PromptsOptions
from circuit.stages.rows.prompt_input import PromptInput, read_prompt_input
from circuit.stages.rows.prompting import encode
from circuit.stages.run import Command, Plan, Result, Session
from circuit.values import schemas
from circuit.values.layers import parse_layers
from circuit.values.prompt_format import RAW, PromptFormat
from circuit.values.requests import group, option
from circuit.values.sites import Site

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel

DEFAULT = "resid_post"


@dataclass(frozen=True, kw_only=True)
class HooksRequest:
    """Show a model's states while it reads a prompt: shapes, norms, attention, the logit lens.

    Examples:
      circuit introspect hooks -m tiny -p "The capital of France is"
      circuit introspect hooks -m tiny -p "50 + 25 = " --layers 0,3,5 --sites resid_post,mlp_out \
--capture-attention --last-only --no-logit-lens
    """

    model: ModelOptions = group(ModelOptions)
    prompts: PromptsOptions = group(PromptsOptions)
    layers: str = option("--layers", help=LAYERS, default="all")
    sites: str = option(
        "--sites", help="Sites to read, as `circuit sites -m MODEL` lists them.", default=DEFAULT
    )
    capture_attention: bool = option(
        "--capture-attention", help="Show where the last token attends.", default=False
    )
    last_only: bool = option("--last-only", help="Keep the last token only.", default=False)
    no_logit_lens: bool = option("--no-logit-lens", help="Leave the logit lens out.", default=False)
    top_k: int = option("--top-k", help="Tokens of the lens to show.", default=3, minimum=1)
    output: OutputOptions = group(OutputOptions)


@dataclass(frozen=True, kw_only=True)
class SiteSummary:
    """One site: shape, and norms at the last token and on average (None with ``--last-only``)."""

    site: str
    shape: tuple[int, ...]
    dtype: str
    last_norm: float
    mean_norm: float | None


@dataclass(frozen=True, kw_only=True)
class LensLayer:
    """The top tokens of the lens after a block."""

    layer: int
    predictions: list[TokenPrediction]


@dataclass(frozen=True, kw_only=True)
class HooksPrompt:
    """One prompt: its tokens, every site, and where requested attention and the lens."""

    prompt: str
    tokens: list[str]
    layers: list[int]
    held: list[SiteSummary]
    attention: list[Attended] | None
    lens: list[LensLayer] | None


@dataclass(frozen=True, kw_only=True)
class HooksResult(Result):
    """Every prompt."""

    model: str
    prompts: list[HooksPrompt]


@dataclass(frozen=True, kw_only=True)
class Extras:
    """What is read besides the sites."""

    attention: bool = False
    last_only: bool = False
    logit_lens: bool = True
    top_k: int = 3


def plan(request: HooksRequest) -> Plan[HooksResult]:
    """Read the prompts."""
    given = read_prompt_input(request.prompts.prompts)
    form = given.form(request.prompts.chat)
    extras = Extras(
        attention=request.capture_attention,
        last_only=request.last_only,
        logit_lens=not request.no_logit_lens,
        top_k=request.top_k,
    )

    def answer(model: "LoadedModel", _: Session) -> HooksResult:
        layers, sites = request.layers, request.sites
        found = read_sites(model, given, layers=layers, sites=sites, extras=extras, form=form)
        return HooksResult(model=model.id, prompts=found)

    return question(
        request,
        HooksResult,
        schemas.HOOKS,
        inputs=given.inputs,
        parameters=asked(
            request, without=["no_logit_lens"], prompts=given.texts, logit_lens=extras.logit_lens
        ),
        answer=answer,
    )


def read_sites(
    model: "LoadedModel",
    given: PromptInput,
    *,
    layers: str = "all",
    sites: str = DEFAULT,
    extras: Extras = Extras(),
    form: PromptFormat = RAW,
) -> list[HooksPrompt]:
    """Run every prompt once and describe its sites.

    Raises ``UsageError`` for layers out of range and unknown sites, ``ModelError`` for a site that
    the model lacks.
    """
    from circuit.model.sites.sites import parse_sites

    at = parse_layers(layers, range(model.n_layers), model.n_layers)
    listed = parse_sites(sites, at, model)
    encoded = encode(model, given.texts, form)
    return [
        _prompt(model, text, prompt.ids.tolist(), at, sites=listed, extras=extras)
        for text, prompt in zip(given.texts, encoded, strict=True)
    ]


def _prompt(
    model: "LoadedModel",
    text: str,
    ids: list[int],
    layers: list[int],
    *,
    sites: Sequence[Site],
    extras: Extras,
) -> HooksPrompt:
    from circuit.model.forward.token_states import token_states, token_texts

    patterns = [Site("attn_pattern", k) for k in layers] if extras.attention else []
    residuals = [Site("resid_post", k) for k in layers] if extras.logit_lens else []
    states = token_states(model, ids, sites, last=[*patterns, *residuals])
    tokens = token_texts(model, ids)
    return HooksPrompt(
        prompt=text,
        tokens=tokens,
        layers=layers,
        held=[_summary(model, site, states[site], extras.last_only) for site in sites],
        attention=[attended(site.layer, states[site][-1], tokens) for site in patterns]
        if extras.attention
        else None,
        lens=_lens(model, {site.layer: states[site][-1] for site in residuals}, extras.top_k)
        if extras.logit_lens
        else None,
    )


def _lens(model: "LoadedModel", states: Mapping[int, Array], top_k: int) -> list[LensLayer]:
    log_p = lens_log_probs(model, states)
    return [LensLayer(layer=k, predictions=top_tokens(model, log_p[k], top_k)) for k in states]


def _summary(model: "LoadedModel", site: Site, rows: Array, last_only: bool) -> SiteSummary:
    norms = np.linalg.norm(rows.reshape(len(rows), -1).astype(np.float64), axis=1)
    kept = rows[-1:] if last_only else rows
    mean = None if last_only else float(norms[1:].mean() if len(norms) > 1 else norms[0])
    return SiteSummary(
        site=str(site),
        shape=tuple(kept.shape),
        dtype=model.dtype,
        last_norm=float(norms[-1]),
        mean_norm=mean,
    )


def present(result: HooksResult) -> Document:
    """Show every prompt: its sites, attention and the lens."""
    facts = Facts([("Model", result.model)])
    return Document("", [facts, *map(_section, result.prompts)])


def _section(found: HooksPrompt) -> Section:
    parts: list[Part] = [
        Facts([(f"Tokens ({len(found.tokens)})", str(found.tokens))]),
        _sites(found.held),
    ]
    if found.attention is not None:
        title = "Attention of the last token (mean over heads)"
        parts.append(Section(title, [attended_table(found.attention)]))
    if found.lens is not None:
        parts.append(_lens_table(found.lens))
    return Section(f"Prompt: {found.prompt!r}", parts)


def _sites(held: Sequence[SiteSummary]) -> Table:
    return Table.of(
        held,
        {
            "site": lambda each: each.site,
            "shape": lambda each: " x ".join(map(str, each.shape)),
            "dtype": lambda each: each.dtype,
            "norm at the last": lambda each: Number(each.last_norm),
            "mean norm after the first": lambda each: Number(each.mean_norm),
        },
        title="Captured states",
    )


def _lens_table(lens: Sequence[LensLayer]) -> Table:
    def tokens(each: LensLayer) -> str:
        return ", ".join(f"{p.token!r} ({p.probability:.4f})" for p in each.predictions)

    columns = {"layer": lambda each: f"Layer {each.layer}", "top tokens": tokens}
    return Table.of(lens, columns, title="Logit Lens", prose=True)


COMMAND = Command(request=HooksRequest, plan=plan, present=present, result=HooksResult)
