"""Direct logit attribution: what every component adds, by itself and directly, to the logit difference of two answers.

At a prompt's last token the residual stream is the sum of what was added to it, h = embed + Σ_l (attn_out_l + mlp_out_l). With the statistics of the
final norm held as they are, the logit difference d = logit(answer) − logit(wrong) is linear in h (``circuit.model.gradients.linear_form``), so

    d = constant + v·embed + Σ_l (v·attn_out_l + v·mlp_out_l),      v·attn_out_l = Σ_heads + the map's constant

and each term is a component's share in logits. The sum is compared with the model's own d, and an error above ``BOUND`` of
its size is refused. Families without a row in ``circuit.model.checkpoint.families`` are divided by blocks.

Where it is not exact: the norm's statistics are themselves made by all components, and holding them is a convention (Elhage et al. 2021);
a soft-capped head (Gemma 2) is read before its cap, as is said in the result; what a component does *through* later ones is not in its
term at all. For that patch (``circuit introspect patch``).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from circuit.errors import ModelError, UsageError
from circuit.introspect.inputs.choices import one_token, token_text
from circuit.methods.arrays import Array
from circuit.methods.uncertainty.means import mean_estimate
from circuit.stages.rows.prompting import encode
from circuit.values.prompt_format import RAW, PromptFormat
from circuit.values.sites import EMBED, Site

BOUND = {"float32": 1e-4}  # of the sum of absolute terms; other dtypes 0.05


@dataclass(frozen=True)
class Term:
    """A component's share of the logit difference: of each prompt, its mean, and the interval of that where there is one."""

    name: str
    kind: str
    layer: int | None
    head: int | None
    values: list[float]
    mean: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class PromptAnswers:
    """A prompt, the two answers, and the model's logit difference; ``read`` is that before a soft-cap."""

    prompt: str
    answer: str
    wrong: str
    difference: float
    read: float


@dataclass(frozen=True)
class Attribution:
    """Terms whose sum is the logit difference, then heads, whose sum with ``attention rest`` of a layer is its attention."""

    prompts: list[PromptAnswers]
    terms: list[Term]
    heads: list[Term]
    error: float  # the largest |Σ terms − d| of a prompt, relative to |d|
    soft_cap: float | None
    n_groups: int
    same_tokens: (
        bool  # else each prompt has its own pair of tokens, and means are over unlike differences
    )

    def as_dict(self) -> dict[str, Any]:
        """Return everything, as JSON holds it."""
        return asdict(self)


def attribute(
    model: Any,
    prompts: Sequence[str],
    *,
    form: PromptFormat = RAW,
    answer: str | None = None,
    wrong: str | None = None,
    groups: Sequence[str] | None = None,
    seed: int = 0,
) -> Attribution:
    """Divide the logit difference of ``answer`` and ``wrong``, by default of the model's two likeliest tokens.

    Raises ``UsageError`` for an answer that is not one token or the same as the other.
    """
    from circuit.model.gradients.linear_form import read_differences, readout

    chosen = [None if text is None else one_token(model, text) for text in (answer, wrong)]
    encoded = encode(model, prompts, form)
    held = _held(model, encoded)
    final = held[Site("resid_post", model.n_layers - 1)]
    answers, wrongs, plain = _answers(model, final, chosen[0], chosen[1])
    forms = readout(model, final, answers, wrongs)
    vectors, constants = forms.vectors[0], forms.constants[0]
    names = list(groups) if groups is not None else [str(k) for k in range(len(encoded))]

    def term(name: str, kind: str, layer: int | None, head: int | None, values: Array) -> Term:
        found = mean_estimate(values, names, seed=seed)
        interval = None if found is None else (found.low, found.high)
        mean = float(np.mean(values))
        return Term(name, kind, layer, head, np.asarray(values).tolist(), mean, interval)

    terms = [term("constant", "constant", None, None, constants)]
    terms += [
        term(name, kind, layer, None, _dot(vectors, values))
        for name, kind, layer, values in _parts(model, held)
    ]
    read = read_differences(model, final, answers, wrongs, forms.cap)
    error = _check(model, terms, read)
    heads = [term(*each) for each in _heads(model, held, vectors)]
    return Attribution(
        [
            PromptAnswers(text, token_text(model, a), token_text(model, b), float(d), float(r))
            for text, a, b, d, r in zip(prompts, answers, wrongs, plain, read, strict=True)
        ],
        terms,
        heads,
        error,
        forms.cap,
        len(set(names)),
        len(set(zip(answers, wrongs, strict=True))) == 1,
    )


def _parts(model: Any, held: Mapping[Site, Array]) -> Iterator[tuple[str, str, int | None, Array]]:
    """Yield name, kind, layer and values of what the last residual is the sum of.

    By sublayer where the family is known, else by block.
    """
    from circuit.model.sites.sites import available_sites

    yield "embed", "embed", None, held[EMBED]
    split = {"attn_out", "mlp_out"} <= set(available_sites(model))
    for k in range(model.n_layers):
        if split:
            yield f"attention.{k}", "attn_out", k, held[Site("attn_out", k)]
            yield f"mlp.{k}", "mlp_out", k, held[Site("mlp_out", k)]
        else:
            step = held[Site("resid_post", k)] - held[Site("resid_pre", k)]
            yield f"block.{k}", "block", k, step


def _held(model: Any, encoded: Sequence[Any]) -> dict[Site, Array]:
    """Return what every site holds at the last token, (n_prompts, width) each."""
    from circuit.model.forward.last_token import last_states
    from circuit.model.sites.sites import available_sites, sites_at

    wanted = {"embed", "resid_pre", "resid_post", "attn_out", "mlp_out", "z"}
    names = sorted(wanted & {*available_sites(model), "embed"})
    sites = sites_at(names, range(model.n_layers))
    return last_states(model, encoded, sites)


def _dot(vectors: Array, rows: Array) -> Array:
    return np.asarray((vectors.astype(np.float64) * rows).sum(axis=1))


def _answers(
    model: Any, final: Array, answer: int | None, wrong: int | None
) -> tuple[list[int], list[int], Array]:
    """Return the answers' ids and the model's logit difference of each prompt."""
    from circuit.model.forward.tail import read_logits

    if answer is not None and answer == wrong:
        raise UsageError("--answer and --wrong are the same token", hint="name two tokens")
    logits = read_logits(model, final)
    found: list[tuple[int, int]] = []
    for row in logits:
        order = [int(i) for i in np.argsort(-row, kind="stable")[:3]]
        first = answer if answer is not None else next(i for i in order if i != wrong)
        found.append((first, wrong if wrong is not None else next(i for i in order if i != first)))
    a, b = (list(each) for each in zip(*found, strict=True))
    rows = np.arange(len(logits))
    return a, b, np.asarray(logits[rows, a] - logits[rows, b])


def _check(model: Any, terms: Sequence[Term], read: Array) -> float:
    """Return the largest error of the sum, relative to the logit difference; raise where it is not rounding."""
    values = np.array([term.values for term in terms])
    missing = np.abs(values.sum(axis=0) - read)
    bound = BOUND.get(model.dtype, 5e-2)
    if (missing > bound * np.abs(values).sum(axis=0)).any():
        message = f"the parts of `{model.id}` do not add up to its logits: {missing.max():.3g} logits are missing"
        hint = "its row in circuit/model/checkpoint/families.py does not fit it, or its blocks do more than add"
        raise ModelError(message, hint=hint)
    return float((missing / np.maximum(np.abs(read), 1e-12)).max())


def _heads(
    model: Any, held: dict[Site, Array], vectors: Array
) -> list[tuple[str, str, int, int | None, Array]]:
    """Return the terms of every head, and of each layer what its attention adds beside them."""
    from circuit.model.gradients.linear_form import head_forms
    from circuit.model.interventions.ablation import Component, count

    if Site("z", model.n_layers - 1) not in held or Site("attn_out", 0) not in held:
        return []
    z = [held[Site("z", k)] for k in range(model.n_layers)]
    forms = head_forms(model, z, vectors)
    found: list[tuple[str, str, int, int | None, Array]] = []
    for k, (rows, v) in enumerate(zip(z, forms.vectors, strict=True)):
        n_heads = count(model, Component("head", k, 0))
        parts = (v.astype(np.float64) * rows).reshape(len(rows), n_heads, -1).sum(axis=2)
        found += [(f"head.{k}.{h}", "head", k, h, parts[:, h]) for h in range(n_heads)]
        rest = _dot(vectors, held[Site("attn_out", k)]) - parts.sum(axis=1)
        found.append((f"attention rest.{k}", "rest", k, None, rest))
    return found
