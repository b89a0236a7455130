"""How much the form of a prompt matters: a blank at its end, and raw text against a user's turn.

Every prompt is read without a blank at its end and with one (raw), and, where the model has a chat template, as raw text and as a turn. For
each of these contrasts, from form a to form b:

    per layer    cosine of h_a and h_b, ‖h_b − h_a‖ / ‖h_a‖, of ``resid_post`` at the last token: means over prompts with bootstrap
                 intervals over groups; beside them the same between *different* prompts in form a, which says what is much
    output       the likeliest next token in both forms, KL(p_b‖p_a) in nats, and what is written

With another last token (a blank that is a token of its own) the states differ by that alone, so the last tokens are given.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import permutations
from typing import Any

import numpy as np

from circuit.introspect.inputs.choices import token_text
from circuit.introspect.lens.distributions import next_log_probs
from circuit.introspect.questions.generate import ways
from circuit.methods.arrays import Array
from circuit.methods.geometry.similarity import paired_cosines, relative_distances
from circuit.methods.steering import divergences
from circuit.methods.uncertainty.means import mean_interval
from circuit.stages.rows.prompt_input import PromptInput
from circuit.stages.rows.prompting import encode
from circuit.values.layers import parse_layers
from circuit.values.sampling import Sampling

Mean = list[float | None]


@dataclass(frozen=True)
class LayerGap:
    """How far two forms are apart after a block, and how far different prompts are (None with one prompt)."""

    layer: int
    cosine: Mean
    distance: Mean
    between_cosine: float | None
    between_distance: float | None


@dataclass(frozen=True)
class Output:
    """What one prompt gives in both forms."""

    prompts: tuple[str, str]
    last_tokens: tuple[str, str]
    next_tokens: tuple[str, str]
    probabilities: tuple[float, float]
    kl: float
    texts: tuple[str, str]


@dataclass(frozen=True)
class Contrast:
    """Two forms of all prompts."""

    forms: tuple[str, str]
    layers: list[LayerGap]
    outputs: list[Output]
    kl: Mean
    n_same_next_token: int
    n_same_text: int
    n_same_ids: int


@dataclass(frozen=True)
class Sensitivity:
    """Every contrast that the model has."""

    contrasts: list[Contrast]
    has_template: bool
    n: int
    n_groups: int

    def as_dict(self) -> dict[str, Any]:
        """Return everything, as JSON holds it."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class _Form:
    """All prompts in one form, and what the model makes of them."""

    name: str
    texts: list[str]
    ids: list[list[int]]
    states: dict[int, Array]
    log_p: Array
    written: list[str]


def format_sensitivity(
    model: Any, given: PromptInput, *, layers: str = "all", max_tokens: int = 12
) -> Sensitivity:
    """Compare the forms of every prompt; raises ``UsageError`` for layers that there are not."""
    at = sorted(set(parse_layers(layers, range(model.n_layers), model.n_layers)))
    template = bool(model.tokenizer.has_chat_template)
    own = given.form(None)
    every = {
        name: (texts, form)
        for name, texts, form in ways(given.texts, own, template, compare_format=True)
    }
    pairs = [("raw, no blank", "raw, blank")]
    if template:
        pairs.append(("raw, no blank", "chat, no blank"))
    names = dict.fromkeys(name for pair in pairs for name in pair)
    forms = {name: _form(model, name, *every[name], at, max_tokens) for name in names}
    return Sensitivity(
        [_contrast(model, forms[a], forms[b], at, given.groups) for a, b in pairs],
        template,
        len(given.texts),
        given.n_groups,
    )


def _form(
    model: Any, name: str, texts: list[str], form: Any, layers: Sequence[int], max_tokens: int
) -> _Form:
    from circuit.model.forward.generate import generate
    from circuit.model.forward.last_token import last_residuals

    encoded = encode(model, texts, form)
    return _Form(
        name,
        texts,
        [prompt.ids.tolist() for prompt in encoded],
        last_residuals(model, encoded, layers),
        next_log_probs(model, encoded),
        [answer.text for answer in generate(model, encoded, Sampling(max_tokens))],
    )


def _contrast(
    model: Any, a: _Form, b: _Form, layers: Sequence[int], groups: Sequence[str]
) -> Contrast:
    outputs = [_output(model, a, b, row) for row in range(len(a.texts))]
    likeliest = a.log_p.argmax(axis=1) == b.log_p.argmax(axis=1)
    return Contrast(
        (a.name, b.name),
        [_gap(k, a.states[k], b.states[k], groups) for k in layers],
        outputs,
        mean_interval([each.kl for each in outputs], groups, bounds=(0, np.inf)),
        int(likeliest.sum()),
        sum(x == y for x, y in zip(a.written, b.written, strict=True)),
        sum(x == y for x, y in zip(a.ids, b.ids, strict=True)),
    )


def _gap(layer: int, A: Array, B: Array, groups: Sequence[str]) -> LayerGap:  # noqa: N803
    others = [(i, j) for i, j in permutations(range(len(A)), 2) if groups[i] != groups[j]]
    first, second = (A[[pair[k] for pair in others]] for k in (0, 1))
    return LayerGap(
        layer,
        mean_interval(paired_cosines(A, B), groups, bounds=(-1, 1)),
        mean_interval(relative_distances(A, B), groups, bounds=(0, np.inf)),
        round(float(paired_cosines(first, second).mean()), 6) if others else None,
        round(float(relative_distances(first, second).mean()), 6) if others else None,
    )


def _output(model: Any, a: _Form, b: _Form, row: int) -> Output:
    log_p = [form.log_p[row].astype(np.float64) for form in (a, b)]
    tokens = [int(np.argmax(each)) for each in log_p]
    return Output(
        (a.texts[row], b.texts[row]),
        (token_text(model, a.ids[row][-1]), token_text(model, b.ids[row][-1])),
        (token_text(model, tokens[0]), token_text(model, tokens[1])),
        (float(np.exp(log_p[0][tokens[0]])), float(np.exp(log_p[1][tokens[1]]))),
        round(max(0.0, float(divergences.kl(log_p[1], log_p[0]))), 6),
        (a.written[row], b.written[row]),
    )
