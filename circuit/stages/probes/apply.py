"""``probes apply``: read a saved probe at every token of a prompt, and of the model's continuation.

The probe was trained and scored at the last token of a prompt: elsewhere its probability is an
extrapolation, and its course along the tokens is what is meaningful. Alongside the score stand the
verdict of its run, among how many layers its layer is the best (then the score is optimistic), and
``notes``: other weights or another prompt format than the probe was made with, and a probe that was
not shown to read anything.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from circuit.methods.probes.verdict import FEW_GROUPS, NOT_DECODABLE
from circuit.present.document import Document, Estimate, Facts, Notice, Section, Share, Table
from circuit.present.numbers import written
from circuit.stages.probes.request import ApplyRequest
from circuit.stages.probes.saved import SITE, SavedProbe, read_probe
from circuit.stages.rows.prompting import encode, prompt_texts
from circuit.stages.rows.same_weights import check_shape, other_weights
from circuit.stages.run import Command, Job, Plan, Result
from circuit.values.identity import ModelIdentity
from circuit.values.prompt_format import PromptFormat
from circuit.values.sampling import Sampling
from circuit.values.sites import Site

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel
    from circuit.model.prompts.tokens import EncodedPrompt


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The probability of each class at every token; from ``generated_from`` on the model wrote."""

    prompt: str
    tokens: list[str]
    generated_from: int
    probabilities: list[list[float]]


@dataclass(frozen=True, kw_only=True)
class ApplyResult(Result):
    """The readings of one probe, and what it is worth."""

    COMMAND: ClassVar[str] = "circuit.stages.probes.apply:APPLY"

    probe: str
    layer: int
    classes: list[str]
    quality: dict[str, object]
    verdict: str | None
    best_of_layers: int | None
    trained_at: str
    format: str
    notes: list[str]
    readings: list[Reading]


def plan(request: ApplyRequest) -> Plan[ApplyResult]:
    """Read the probe and the prompts."""
    probe, identity = read_probe(request.probes, request.probe, request.layer)
    texts = prompt_texts(request.prompt)

    def begin(model: "LoadedModel") -> Job[ApplyResult]:
        check_shape(identity, model, request.probes)  # other weights are noted
        return Job(compute=lambda _: _apply(model, probe, identity, texts, request))

    return Plan(result=ApplyResult, model=request.model, begin=begin)


def _apply(
    model: "LoadedModel",
    probe: SavedProbe,
    identity: ModelIdentity | None,
    texts: Sequence[str],
    request: ApplyRequest,
) -> ApplyResult:
    """Read the probe at every token of the prompts and of what the model generates."""
    own = probe.parts[0]
    form = PromptFormat(chat=own.format == "chat" if request.chat is None else request.chat)
    encoded = encode(model, texts, form)
    generated = _generated(model, encoded, request.generate)
    return ApplyResult(
        probe=probe.name,
        layer=probe.layer,
        classes=probe.classes,
        quality=dict(own.quality),
        verdict=probe.verdict,
        best_of_layers=probe.best_of,
        trained_at="the last token of a prompt",
        format=form.name,
        notes=list(_notes(probe, model, identity, form.name)),
        readings=[
            _reading(model, probe, text, prompt, answer)
            for text, prompt, answer in zip(texts, encoded, generated, strict=True)
        ],
    )


def _reading(
    model: "LoadedModel",
    probe: SavedProbe,
    text: str,
    prompt: "EncodedPrompt",
    answer: Sequence[int],
) -> Reading:
    from circuit.model.forward.token_states import token_states, token_texts

    ids = [*map(int, prompt.ids), *answer]
    at = Site(SITE, probe.layer)
    p = probe.probabilities(token_states(model, ids, [at])[at])
    return Reading(
        prompt=text,
        tokens=token_texts(model, ids),
        generated_from=len(prompt.ids),
        probabilities=np.round(p, 6).tolist(),
    )


def _generated(
    model: "LoadedModel", encoded: Sequence["EncodedPrompt"], n_tokens: int
) -> list[list[int]]:
    if not n_tokens:
        return [[] for _ in encoded]
    from circuit.model.forward.generate import generate

    return [answer.ids for answer in generate(model, encoded, Sampling(n_tokens))]


def _notes(
    probe: SavedProbe, model: "LoadedModel", identity: ModelIdentity | None, form: str
) -> Iterator[str]:
    """Say why the score is not that of these readings, or why the readings mean nothing."""
    if identity is not None and other_weights(identity, model.identity):
        yield (
            f"the probe was made with `{identity.id}`, this model has other weights "
            f"(`{model.identity.id}`): the score is not of this model"
        )
    trained_on = probe.parts[0].format
    if trained_on is not None and trained_on != form:
        yield (
            f"the probe was made from prompts in the format {trained_on}, these are {form}: "
            "the score is not of such prompts"
        )
    significant = probe.parts[0].quality.get("significant")
    if probe.verdict in (FEW_GROUPS, NOT_DECODABLE):
        yield f"the verdict of the probe is `{probe.verdict}`: its readings mean nothing"
    elif significant is False:
        yield f"the probe was not shown to read anything at L{probe.layer}: do not rely on it here"


def present(result: ApplyResult) -> Document:
    """Show what the probe is worth, then its probabilities along the tokens."""
    along = [Section(f"Prompt: {each.prompt}", [_along(result, each)]) for each in result.readings]
    return Document("", [Facts(_facts(result)), *map(Notice, result.notes), *along])


def _facts(result: ApplyResult) -> list[tuple[str, str]]:
    score = result.quality.get("auroc")
    at = f"{result.probe} at L{result.layer}"
    if isinstance(score, Sequence):
        at += f", held-out AUROC {written(Estimate.of(score, '.3f'))}"
        if result.best_of_layers:
            at += f" (best of {result.best_of_layers} layers, optimistic)"
    verdict = [("Verdict", result.verdict)] if result.verdict else []
    return [
        ("Probe", at),
        *verdict,
        ("Trained and scored at", f"{result.trained_at}; at other tokens it extrapolates"),
        ("Shown", f"p({result.classes[1]})" if len(result.classes) == 2 else "the top-1 class"),
        ("Tokens", "+ are generated by the model"),
    ]


def _along(result: ApplyResult, reading: Reading) -> Table:
    """Return the probability of the second class, or of the top-1 of several, at every token."""
    binary = len(result.classes) == 2
    rows: list[list[str | Share]] = []
    for k, (token, p) in enumerate(zip(reading.tokens, reading.probabilities, strict=True)):
        at = 1 if binary else p.index(max(p))
        mark = "+" if k >= reading.generated_from else ""
        named = [] if binary else [result.classes[at]]
        rows.append([mark, Share(p[at]), repr(token), *named])
    return Table(header=["", "p", "token", *([] if binary else ["class"])], rows=rows, prose=True)


APPLY = Command(request=ApplyRequest, plan=plan, present=present)
