"""Terms add up to the logit difference in every kind of family, planted parts have all of it, and what is not linear is refused."""

import mlx.core as mx
import numpy as np
import pytest
from architectures import CONFIGS
from checkpoints import write_checkpoint
from errors import raises

from circuit.errors import ModelError, UsageError
from circuit.introspect.questions import attribute as attribution
from circuit.introspect.questions.attribute import attribute, draw_attribution, present
from circuit.model.checkpoint.loading import load_model
from circuit.model.gradients.linear_form import frozen_forms
from circuit.present.terminal import terminal
from circuit.stages.rows.prompt_input import PromptInput

FAMILIES = [
    "llama",
    "gemma2",
    "gemma3_text",
    "gpt2",
    "cohere",
    "granite",
    "olmo2",
    "phi",
    "mixtral",
    "mamba",
]


@pytest.fixture(scope="module")
def of(tmp_path_factory):
    def get(family):
        folder = tmp_path_factory.mktemp(family)
        return load_model(str(write_checkpoint(folder, family, **CONFIGS[family])))

    return get


@pytest.mark.parametrize("family", FAMILIES)
def test_terms_and_heads_add_up(of, family, tmp_path):
    model = of(family)
    found = attribute(model, PromptInput(["Hello there", "abc"]))
    values = np.array([term.values for term in found.terms])
    read = np.array([p.read for p in found.prompts])
    np.testing.assert_allclose(values.sum(axis=0), read, rtol=1e-4, atol=1e-6)
    assert found.error < 1e-4
    logits = [
        np.array(model.network(mx.array([list(model.tokenizer.encode(p.prompt))])))[0, -1]
        for p in found.prompts
    ]
    cap = found.soft_cap
    for row, p in zip(logits, found.prompts, strict=True):
        first, second = np.sort(row)[::-1][:2]
        assert p.difference == pytest.approx(first - second, abs=1e-4)
        if cap is not None:
            first, second = (cap * np.arctanh(x / cap) for x in (first, second))
        assert p.read == pytest.approx(first - second, abs=1e-3)
    assert (cap is None) == (family != "gemma2")
    attentions = {t.layer: np.array(t.values) for t in found.terms if t.kind == "attn_out"}
    for layer in {t.layer for t in found.heads}:
        parts = np.array([t.values for t in found.heads if t.layer == layer])
        np.testing.assert_allclose(parts.sum(axis=0), attentions[layer], rtol=1e-4, atol=1e-6)
        rest = np.array([t.values for t in found.heads if t.layer == layer and t.kind == "rest"])
        if family in ("llama", "gemma2", "gemma3_text", "olmo2", "granite"):  # maps without a bias
            assert np.abs(rest).max() < 1e-5
    assert (family == "mamba") == (not found.heads)
    draw_attribution(found, tmp_path / "a.png")


def test_the_form_of_a_layer_norm_is_its_own():
    rng = np.random.default_rng(0)
    w, b, a, h = (rng.standard_normal(16).astype(np.float32) for _ in range(4))

    def norm(rows):
        (x,) = rows
        centred = x - x.mean(axis=-1, keepdims=True)
        sigma = mx.sqrt((centred * centred).mean(axis=-1, keepdims=True) + 1e-5)
        return [((centred / sigma * mx.array(w) + mx.array(b)) * mx.array(a)).sum(axis=-1)]

    forms = frozen_forms(norm, [h[None]])
    sigma = np.sqrt(((h - h.mean()) ** 2).mean() + 1e-5)
    expected = (a * w - (a * w).mean()) / sigma
    np.testing.assert_allclose(forms.vectors[0][0], expected, rtol=1e-3, atol=1e-4)
    assert forms.constants[0][0] == pytest.approx(float(a @ b), rel=1e-4)


def test_planted_parts_have_all_of_it(chain):
    found = attribute(chain, PromptInput(["xay."]), answer="Q", wrong="Z")
    mean = {term.name: term.mean for term in found.terms}
    assert mean["mlp.1"] == pytest.approx(found.prompts[0].difference, rel=1e-4)
    others = [abs(value) for name, value in mean.items() if name != "mlp.1"]
    assert max(others) < 1e-4 * mean["mlp.1"]


def test_unlike_pairs_of_tokens_and_few_prompts_are_said(llama):
    own = attribute(llama, PromptInput(["Hello", "1 + 1 = ", "xyz"]))
    said = "Each prompt has its own pair of tokens"
    assert said in terminal(present(own))
    one = attribute(llama, PromptInput(["Hello", "1 + 1 = "]), answer="Q", wrong="Z")
    text = terminal(present(one))
    assert said not in text
    assert text.endswith(
        "2 independent prompts: an example, not a finding (under 10 nothing is claimed)."
    )


def test_answers_and_what_cannot_be_divided(llama, monkeypatch):
    found = attribute(llama, PromptInput(["Hello"]), wrong="Q")
    assert found.prompts[0].wrong == "Q"
    with raises(UsageError, "equal-answers"):
        attribute(llama, PromptInput(["Hello"]), answer="Q", wrong="Q")
    with raises(UsageError, "several-tokens", n_tokens=9):
        attribute(llama, PromptInput(["Hello"]), answer="two words")
    every = attribution.parts_of
    monkeypatch.setattr(attribution, "parts_of", lambda *given: list(every(*given))[:2])
    with raises(ModelError, "parts-do-not-add-up"):
        attribute(llama, PromptInput(["Hello"]))


def test_a_head_that_bends_is_refused(tmp_path, monkeypatch):
    from circuit.model.gradients import linear_form as readout

    config = {**CONFIGS["gemma2"], "final_logit_softcapping": 2.0}
    model = load_model(str(write_checkpoint(tmp_path / "bent", "gemma2", **config)))
    found = attribute(model, PromptInput(["Hello there"]))
    assert found.soft_cap == 2.0
    monkeypatch.setattr(readout, "CAPS", ())  # as where the cap has a name that is not known
    with raises(ModelError, "head-not-linear"):
        attribute(model, PromptInput(["Hello there"]))
