"""Two models and the same prompts: what each would say, where it comes to say it, and what it makes of the other's answer.

    answer       the likeliest next token, with its text
    emergence    first layer from which the logit lens finds that token likeliest up to the end; its depth is
                 (layer + 1) / number of blocks, which two models of different depth share
    rank, p      of the other's answer in this model's distribution (rank from 1)
    JS, KL       between both distributions, in nats, where the models have one vocabulary

With two tokenizers an answer is looked for by its text (``vocabulary``); one that the other tokenizer writes in several tokens has
no rank there, and its pieces are named instead. Over a set of prompts: the share of equal answers with Wilson's interval, and means with a
bootstrap interval over groups. The models are loaded one after the other.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from circuit.errors import UsageError
from circuit.introspect.compare.two_models import in_turn, name_of
from circuit.introspect.compare.vocabulary import Vocabulary, is_whole
from circuit.introspect.inputs.choices import LayerStrategy
from circuit.introspect.lens.distributions import next_log_probs
from circuit.introspect.questions.analyze import AnalysisConfig, AnalysisResult, analyze, describe
from circuit.methods.arrays import Array
from circuit.methods.steering import divergences
from circuit.methods.uncertainty.means import mean_interval
from circuit.methods.uncertainty.scores import wilson
from circuit.stages.legacy import ModelOptions
from circuit.stages.rows.prompt_input import PromptInput
from circuit.stages.rows.prompting import encode


@dataclass(frozen=True)
class Seen:
    """What a model makes of a token: its rank and probability, or the pieces that its tokenizer makes of the text."""

    text: str
    rank: int | None
    probability: float | None
    pieces: list[str] | None = None
    emergence_layer: int | None = None


@dataclass(frozen=True)
class View:
    """What one model says to one prompt."""

    n_tokens: int
    answer: str
    probability: float
    predictions: list[tuple[str, float]]
    emergence_layer: int | None
    depth: float | None
    others_answer: Seen
    tracked: list[Seen]


@dataclass(frozen=True)
class Compared:
    """One prompt in both models; divergences are None where the vocabularies differ."""

    prompt: str
    views: tuple[View, View]
    same_answer: bool
    js: float | None
    kl_1_2: float | None
    kl_2_1: float | None


@dataclass(frozen=True)
class Comparison:
    """Two models on some prompts; means hold a value and the ends of its interval (None with one group)."""

    models: list[dict[str, Any]]
    format: str
    same_vocabulary: bool
    prompts: list[Compared]
    agreement: float
    agreement_interval: tuple[float, float]
    js: list[float | None] | None
    depth: list[list[float | None] | None]
    n_groups: int

    def as_dict(self) -> dict[str, Any]:
        """Return everything, as JSON holds it."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class _Heard:
    """What is kept of a model when it is gone."""

    about: dict[str, Any]
    identity: Any
    vocabulary: Vocabulary
    form: str
    ids: list[Any]
    log_p: Array
    analyses: list[AnalysisResult]


def compare(
    options: tuple[ModelOptions, ModelOptions],
    given: PromptInput,
    *,
    top_k: int = 5,
    track: Sequence[str] = (),
    raw: bool | None = None,
) -> Comparison:
    """Ask both models; raises ``UsageError`` for a tracked text that is one token in neither."""
    heard = in_turn(options, lambda model: _hear(model, given, top_k, track, raw))
    same = heard[0].vocabulary.same_as(heard[1].vocabulary)
    for text in track:
        if all(_tracked(each, text) is None for each in heard):
            pieces = ", ".join(map(repr, heard[0].vocabulary.pieces(text)))
            message = f"`{text}` is one token in neither model; the first makes {pieces} of it"
            raise UsageError(message, hint="track one of its pieces; a blank before a word counts")
    prompts = [_compared(heard, row, text, track, same) for row, text in enumerate(given.texts)]
    equal = [each.same_answer for each in prompts]
    return Comparison(
        [{**h.about, "name": name_of(o)} for h, o in zip(heard, options, strict=True)],
        heard[0].form,
        same,
        prompts,
        float(np.mean(equal)),
        wilson(sum(equal), len(equal)),
        mean_interval([p.js or 0.0 for p in prompts], given.groups, bounds=(0, np.log(2)))
        if same
        else None,
        [_mean_depth(prompts, i, given.groups) for i in (0, 1)],
        given.n_groups,
    )


def _hear(
    model: Any, given: PromptInput, top_k: int, track: Sequence[str], raw: bool | None
) -> _Heard:
    form = given.form(None if raw is None else not raw)
    encoded = encode(model, given.texts, form)
    vocabulary = Vocabulary(model.tokenizer)
    own = [text for text in track if len(vocabulary.pieces(text)) == 1]
    config = AnalysisConfig(LayerStrategy.ALL, top_k=top_k, track_tokens=own)
    return _Heard(
        {**describe(model), "identity": asdict(model.identity)},
        model.identity,
        vocabulary,
        form.name,
        [prompt.ids for prompt in encoded],
        next_log_probs(model, encoded),
        analyze(model, given.texts, config, form=form),
    )


def _compared(
    heard: Sequence[_Heard], row: int, text: str, track: Sequence[str], same: bool
) -> Compared:
    a, b = heard
    p, q = a.log_p[row].astype(np.float64), b.log_p[row].astype(np.float64)
    comparable = same and len(p) == len(q)
    views = _view(a, b, row, track, same), _view(b, a, row, track, same)
    return Compared(
        text,
        views,
        _same_answer(heard, row, views, same),
        _rounded(divergences.js(p, q)) if comparable else None,
        _rounded(divergences.kl(p, q)) if comparable else None,
        _rounded(divergences.kl(q, p)) if comparable else None,
    )


def _same_answer(heard: Sequence[_Heard], row: int, views: tuple[View, View], same: bool) -> bool:
    """Compare answers as tokens, or as texts where tokens are not comparable."""
    if same:
        return len({int(np.argmax(each.log_p[row])) for each in heard}) == 1
    return views[0].answer == views[1].answer and is_whole(views[0].answer)


def _rounded(value: Array) -> float:
    return round(max(0.0, float(value)), 8)


def _view(own: _Heard, other: _Heard, row: int, track: Sequence[str], same: bool) -> View:
    analysis, log_p, ids = own.analyses[row], own.log_p[row], own.ids[row]
    answer = int(np.argmax(log_p))
    layer = emergence(analysis, answer)
    theirs = int(np.argmax(other.log_p[row]))
    text = other.vocabulary.added(other.ids[row], theirs)
    return View(
        len(ids),
        own.vocabulary.added(ids, answer),
        float(np.exp(log_p[answer])),
        [
            (own.vocabulary.added(ids, each.token_id), each.probability)
            for each in analysis.final_prediction
        ],
        layer,
        None if layer is None else (layer + 1) / analysis.num_layers,
        _seen(own, row, text, theirs if same else own.vocabulary.find(text, ids)),
        [_seen_tracked(own, row, text) for text in track],
    )


def emergence(analysis: AnalysisResult, token: int) -> int | None:
    """Return the first layer from which ``token`` is the likeliest at all that follow; None where it is not at the last."""
    first = None
    for layer in reversed(analysis.layer_predictions):
        if layer.predictions[0].token_id != token:
            break
        first = layer.layer_idx
    return first


def _seen(own: _Heard, row: int, text: str, token: int | None, layer: int | None = None) -> Seen:
    if token is None:
        return Seen(text, None, None, own.vocabulary.pieces(text))
    log_p = own.log_p[row]
    rank = int(divergences.rank(log_p, token))
    return Seen(text, rank, float(np.exp(log_p[token])), None, layer)


def _tracked(own: _Heard, text: str) -> int | None:
    """Return the number, in the analyses, of a tracked text that is one token."""
    names = [each.token for each in own.analyses[0].token_evolutions]
    return names.index(text) if text in names else None


def _seen_tracked(own: _Heard, row: int, text: str) -> Seen:
    number = _tracked(own, text)
    if number is None:
        return _seen(own, row, text, None)
    evolution = own.analyses[row].token_evolutions[number]
    return _seen(own, row, text, evolution.token_id, evolution.emergence_layer)


def _mean_depth(
    prompts: Sequence[Compared], i: int, groups: Sequence[str]
) -> list[float | None] | None:
    found = [(p.views[i].depth, g) for p, g in zip(prompts, groups, strict=True)]
    known = [(depth, group) for depth, group in found if depth is not None]
    if not known:
        return None
    return mean_interval([d for d, _ in known], [g for _, g in known], bounds=(0, 1))
