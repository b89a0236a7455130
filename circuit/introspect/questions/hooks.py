"""What a model holds while it reads one prompt: the sites, their shapes and norms, attention, and the lens, layer by layer.

Everything is taken from one forward pass of the model itself (``circuit.model.sites.sites``). Of each site: its shape, the norm at the last token and
the mean norm over the tokens after the first, which is an attention sink with a norm of its own. With ``last_only`` only the last token is
kept. Attention is that of the last token, averaged over heads. The lens is that of ``circuit introspect analyze``.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from circuit.introspect.attention.attended import Attended, attended
from circuit.introspect.inputs.choices import LayerStrategy
from circuit.introspect.questions.analyze import AnalysisConfig, TokenPrediction, analyze
from circuit.stages.rows.prompt_input import PromptInput
from circuit.stages.rows.prompting import encode
from circuit.values.layers import parse_layers
from circuit.values.prompt_format import PromptFormat

DEFAULT = "resid_post"


@dataclass(frozen=True)
class Held:
    """What one site holds: its shape, and norms at the last token and on average (None with ``last_only``)."""

    site: str
    shape: tuple[int, ...]
    dtype: str
    last_norm: float
    mean_norm: float | None


@dataclass(frozen=True)
class LensAt:
    """The likeliest tokens that the lens reads after a block."""

    layer: int
    predictions: list[TokenPrediction]


@dataclass(frozen=True)
class Hooked:
    """One prompt: its tokens, what every site holds, and what was asked for beside."""

    prompt: str
    tokens: list[str]
    layers: list[int]
    held: list[Held]
    attention: list[Attended] | None
    lens: list[LensAt] | None

    def as_dict(self) -> dict[str, Any]:
        """Return everything, as JSON holds it."""
        return asdict(self)


def hook(
    model: Any,
    given: PromptInput,
    *,
    layers: str = "all",
    sites: str = DEFAULT,
    capture_attention: bool = False,
    last_only: bool = False,
    logit_lens: bool = True,
    top_k: int = 3,
    raw: bool | None = None,
) -> list[Hooked]:
    """Read every prompt; raises ``UsageError`` for layers and sites that there are not, and ``ModelError`` that says why."""
    from circuit.model.sites.sites import parse_sites

    at = sorted(set(parse_layers(layers, range(model.n_layers), model.n_layers)))
    wanted = parse_sites(sites, at, model)
    form = given.form(None if raw is None else not raw)
    encoded = encode(model, given.texts, form)
    lenses = _lenses(model, given, at, form, top_k) if logit_lens else [None] * len(encoded)
    return [
        _hooked(model, text, prompt.ids.tolist(), at, wanted, lens, capture_attention, last_only)
        for text, prompt, lens in zip(given.texts, encoded, lenses, strict=True)
    ]


def _lenses(
    model: Any, given: PromptInput, layers: Sequence[int], form: PromptFormat, top_k: int
) -> list[list[LensAt] | None]:
    config = AnalysisConfig(LayerStrategy.CUSTOM, custom_layers=list(layers), top_k=top_k)
    return [
        [LensAt(each.layer_idx, each.predictions) for each in found.layer_predictions]
        for found in analyze(model, given.texts, config, form=form)
    ]


def _hooked(
    model: Any,
    text: str,
    ids: list[int],
    layers: list[int],
    sites: Sequence[Any],
    lens: list[LensAt] | None,
    attention: bool,
    last_only: bool,
) -> Hooked:
    from circuit.model.forward.last_attention import last_attention
    from circuit.model.forward.token_states import token_states, token_texts

    states = token_states(model, ids, sites)
    tokens = token_texts(model, ids)
    weights = last_attention(model, ids, layers) if attention else {}
    return Hooked(
        text,
        tokens,
        layers,
        [_held(model, str(site), states[site], last_only) for site in sites],
        [attended(k, weights[k], tokens) for k in layers] if attention else None,
        lens,
    )


def _held(model: Any, site: str, rows: Any, last_only: bool) -> Held:
    flat = rows.reshape(len(rows), -1).astype(np.float64)
    norms = np.linalg.norm(flat, axis=1)
    kept = rows[-1:] if last_only else rows
    mean = None if last_only else float(norms[1:].mean() if len(norms) > 1 else norms[0])
    return Held(site, tuple(kept.shape), model.dtype, float(norms[-1]), mean)
