"""What is said of a site is what it holds."""

import mlx.core as mx
import numpy as np
import pytest

from circuit.errors import UsageError
from circuit.introspect.inputs.choices import LayerStrategy
from circuit.introspect.lens.logit_lens import AnalysisConfig, analyze
from circuit.introspect.questions.hooks import Extras, read_sites
from circuit.model.sites.sites import hidden_states
from circuit.stages.rows.prompt_input import PromptInput
from circuit.stages.rows.prompting import encode
from circuit.values.prompt_format import RAW
from circuit.values.sites import Site

GIVEN = PromptInput(["Hello"])


def test_shapes_and_norms(llama):
    (found,) = read_sites(
        llama, GIVEN, layers="0,2", sites="resid_post,z", extras=Extras(logit_lens=False)
    )
    assert [each.site for each in found.held] == ["resid_post.0", "resid_post.2", "z.0", "z.2"]
    (prompt,) = encode(llama, ["Hello"], RAW)
    for each in found.held:
        name, layer = each.site.split(".")
        site = Site(name, int(layer))
        rows = np.array(hidden_states(llama, mx.array(prompt.ids[None]), [site])[site])[0]
        norms = np.linalg.norm(rows, axis=1)
        assert each.shape == rows.shape == (6, 32)
        assert each.last_norm == pytest.approx(norms[-1], rel=1e-5)
        assert each.mean_norm == pytest.approx(norms[1:].mean(), rel=1e-5)
    assert (found.attention, found.lens) == (None, None)


def test_the_last_token_alone(llama):
    (found,) = read_sites(llama, GIVEN, layers="1", extras=Extras(last_only=True, logit_lens=False))
    assert found.held[0].shape == (1, 32)
    assert found.held[0].mean_norm is None


def test_attention_and_lens(llama):
    (found,) = read_sites(llama, GIVEN, layers="0,1", extras=Extras(attention=True, top_k=2))
    assert [each.layer for each in found.attention] == [0, 1]
    assert found.attention[0].n_heads == 4
    config = AnalysisConfig(LayerStrategy.CUSTOM, custom_layers=[0, 1], top_k=2)
    (plain,) = analyze(llama, ["Hello"], config)
    for layer, expected in zip(found.lens, plain.layer_predictions, strict=True):
        for ours, theirs in zip(layer.predictions, expected.predictions, strict=True):
            assert ours.token_id == theirs.token_id
            assert ours.probability == pytest.approx(theirs.probability, rel=1e-5)


def test_one_forward_pass_for_each_prompt(llama, monkeypatch):
    """States, attention and the lens come from the same pass; the tail runs on one dummy token."""
    lengths = []
    forward = type(llama.network).__call__

    def counting(network, ids, *more, **named):
        lengths.append(ids.shape[1])
        return forward(network, ids, *more, **named)

    monkeypatch.setattr(type(llama.network), "__call__", counting)
    given = PromptInput(["Hello", "abc"])
    read_sites(llama, given, sites="resid_post,attn_out", extras=Extras(attention=True))
    n_tokens = [len(prompt.ids) for prompt in encode(llama, given.texts, RAW)]
    assert [length for length in lengths if length > 1] == n_tokens


def test_what_there_is_not(llama):
    with pytest.raises(UsageError, match="out of range"):
        read_sites(llama, GIVEN, layers="3")
    with pytest.raises(UsageError, match="unknown site"):
        read_sites(llama, GIVEN, sites="residual")
