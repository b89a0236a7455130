"""Two models and the same prompts: their predictions, where these emerge, and each other's answers.

    answer       the top next token, with its text
    emergence    first layer from which the logit lens ranks that token first up to the last layer;
                 its depth is (layer + 1) / number of blocks, comparable between models
    rank, p      of the other's answer in this model's distribution (rank from 1)
    JS, KL       between both distributions, in nats, where the models share one vocabulary

With two tokenizers an answer is looked up by its text (``vocabulary``); one that the other
tokenizer splits into several tokens has no rank there, and its pieces are named. Over a set of
prompts: the proportion of equal answers with Wilson's interval, and means with a bootstrap interval
over groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from circuit.errors import UsageError
from circuit.introspect.compare.two_models import ComparedModel, ask_each, compared
from circuit.introspect.compare.vocabulary import Vocabulary, is_whole
from circuit.introspect.inputs.choices import LayerStrategy
from circuit.introspect.lens.distributions import next_log_probs
from circuit.introspect.lens.logit_lens import AnalysisConfig, AnalysisResult, analyze
from circuit.methods.arrays import Array
from circuit.methods.steering import divergences
from circuit.methods.uncertainty.means import mean_interval
from circuit.stages.options import ModelOptions
from circuit.stages.rows.prompt_input import PromptInput
from circuit.stages.rows.prompting import encode
from circuit.values.prompt_format import PromptFormat

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel


@dataclass(frozen=True, kw_only=True)
class TokenRank:
    """A token in a model: its rank and probability, or the tokens that its text is split into."""

    text: str
    rank: int | None
    probability: float | None
    pieces: list[str] | None = None
    emergence_layer: int | None = None


@dataclass(frozen=True, kw_only=True)
class ModelPrediction:
    """The prediction of one model for one prompt."""

    n_tokens: int
    answer: str
    probability: float
    predictions: list[tuple[str, float]]
    emergence_layer: int | None
    depth: float | None
    others_answer: TokenRank
    tracked: list[TokenRank]


@dataclass(frozen=True, kw_only=True)
class PromptComparison:
    """One prompt in both models; divergences are None where the vocabularies differ."""

    prompt: str
    views: tuple[ModelPrediction, ModelPrediction]
    same_answer: bool
    js: float | None
    kl_1_2: float | None
    kl_2_1: float | None


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelOutput:
    """What remains of a model: its distributions, and the lens on every prompt."""

    about: ComparedModel
    vocabulary: Vocabulary
    ids: list[list[int]]
    log_p: Array
    analyses: list[AnalysisResult]

    def answer(self, row: int) -> int:
        """Return the top next token of a prompt."""
        return int(np.argmax(self.log_p[row]))

    def tracked(self, text: str) -> int | None:
        """Return the number, in the analyses, of a tracked text that is one token."""
        names = [each.token for each in self.analyses[0].token_evolutions]
        return names.index(text) if text in names else None


def ask_both(
    options: tuple[ModelOptions, ModelOptions],
    given: PromptInput,
    *,
    top_k: int,
    track: Sequence[str],
    form: PromptFormat,
) -> tuple[ModelOutput, ModelOutput]:
    """Ask both models; raises ``UsageError`` for a tracked text that is one token in neither."""
    a, b = ask_each(
        options,
        lambda model, which: _output(model, which, given, top_k=top_k, track=track, form=form),
    )
    for text in track:
        if a.tracked(text) is None and b.tracked(text) is None:
            pieces = ", ".join(map(repr, a.vocabulary.pieces(text)))
            message = f"`{text}` is one token in neither model; the first splits it into {pieces}"
            hint = "track one of these tokens; a space before a word counts"
            raise UsageError("several-tokens", message, hint=hint, text=text)
    return a, b


def _output(
    model: "LoadedModel",
    options: ModelOptions,
    given: PromptInput,
    *,
    top_k: int,
    track: Sequence[str],
    form: PromptFormat,
) -> ModelOutput:
    encoded = encode(model, given.texts, form)
    vocabulary = Vocabulary(model.tokenizer)
    own = [text for text in track if len(vocabulary.pieces(text)) == 1]
    config = AnalysisConfig(LayerStrategy.ALL, top_k=top_k, track_tokens=own)
    return ModelOutput(
        about=compared(model, options),
        vocabulary=vocabulary,
        ids=[prompt.ids.tolist() for prompt in encoded],
        log_p=next_log_probs(model, encoded),
        analyses=analyze(model, given.texts, config, form=form),
    )


def compare_prompt(
    a: ModelOutput, b: ModelOutput, row: int, *, track: Sequence[str], same: bool
) -> PromptComparison:
    """Compare the outputs for one prompt; ``same`` says that the vocabularies are the same."""
    p, q = a.log_p[row].astype(np.float64), b.log_p[row].astype(np.float64)
    comparable = same and len(p) == len(q)
    views = (
        _prediction(a, b, row, track=track, same=same),
        _prediction(b, a, row, track=track, same=same),
    )
    if same:  # answers are tokens, else texts
        equal = a.answer(row) == b.answer(row)
    else:
        equal = views[0].answer == views[1].answer and is_whole(views[0].answer)
    return PromptComparison(
        prompt=a.analyses[row].prompt,
        views=views,
        same_answer=equal,
        js=_rounded(divergences.js(p, q)) if comparable else None,
        kl_1_2=_rounded(divergences.kl(p, q)) if comparable else None,
        kl_2_1=_rounded(divergences.kl(q, p)) if comparable else None,
    )


def _rounded(value: Array) -> float:
    return round(max(0.0, float(value)), 8)


def _prediction(
    own: ModelOutput, other: ModelOutput, row: int, *, track: Sequence[str], same: bool
) -> ModelPrediction:
    analysis, ids = own.analyses[row], own.ids[row]
    answer, theirs = own.answer(row), other.answer(row)
    layer = emergence(analysis, answer)
    text = other.vocabulary.added(other.ids[row], theirs)
    return ModelPrediction(
        n_tokens=len(ids),
        answer=own.vocabulary.added(ids, answer),
        probability=float(np.exp(own.log_p[row][answer])),
        predictions=[
            (own.vocabulary.added(ids, each.token_id), each.probability)
            for each in analysis.final_prediction
        ],
        emergence_layer=layer,
        depth=None if layer is None else (layer + 1) / analysis.num_layers,
        others_answer=_rank(own, row, text, theirs if same else own.vocabulary.find(text, ids)),
        tracked=[_tracked_rank(own, row, text) for text in track],
    )


def emergence(analysis: AnalysisResult, token: int) -> int | None:
    """Return the first layer from which ``token`` is top-1 up to the last; None if not there."""
    first = None
    for layer in reversed(analysis.layer_predictions):
        if layer.predictions[0].token_id != token:
            break
        first = layer.layer_idx
    return first


def _rank(
    own: ModelOutput, row: int, text: str, token: int | None, layer: int | None = None
) -> TokenRank:
    if token is None:
        pieces = own.vocabulary.pieces(text)
        return TokenRank(text=text, rank=None, probability=None, pieces=pieces)
    log_p = own.log_p[row]
    return TokenRank(
        text=text,
        rank=int(divergences.rank(log_p, token)),
        probability=float(np.exp(log_p[token])),
        emergence_layer=layer,
    )


def _tracked_rank(own: ModelOutput, row: int, text: str) -> TokenRank:
    number = own.tracked(text)
    if number is None:
        return _rank(own, row, text, None)
    evolution = own.analyses[row].token_evolutions[number]
    return _rank(own, row, text, evolution.token_id, evolution.emergence_layer)


def mean_depth(
    prompts: Sequence[PromptComparison], model: int, groups: Sequence[str]
) -> list[float | None] | None:
    """Return the mean depth of emergence of model 0 or 1; None where nothing emerges."""
    known = [
        (depth, group)
        for each, group in zip(prompts, groups, strict=True)
        if (depth := each.views[model].depth) is not None
    ]
    if not known:
        return None
    return mean_interval([d for d, _ in known], [g for _, g in known], bounds=(0, 1))
