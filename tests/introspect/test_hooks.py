"""What is said of a site is what it holds."""

import mlx.core as mx
import numpy as np
import pytest

from circuit.errors import UsageError
from circuit.introspect.inputs.choices import LayerStrategy
from circuit.introspect.questions.analyze import AnalysisConfig, analyze
from circuit.introspect.questions.hooks import hook
from circuit.model.sites.sites import hidden_states
from circuit.stages.rows.prompt_input import PromptInput
from circuit.stages.rows.prompting import encode
from circuit.values.prompt_format import RAW
from circuit.values.sites import Site

GIVEN = PromptInput(["Hello"])


def test_shapes_and_norms(llama):
    (found,) = hook(llama, GIVEN, layers="0,2", sites="resid_post,z", logit_lens=False)
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
    (found,) = hook(llama, GIVEN, layers="1", last_only=True, logit_lens=False)
    assert found.held[0].shape == (1, 32)
    assert found.held[0].mean_norm is None


def test_attention_and_lens(llama):
    (found,) = hook(llama, GIVEN, layers="0,1", capture_attention=True, top_k=2)
    assert [each.layer for each in found.attention] == [0, 1]
    assert found.attention[0].n_heads == 4
    config = AnalysisConfig(LayerStrategy.CUSTOM, custom_layers=[0, 1], top_k=2)
    (plain,) = analyze(llama, ["Hello"], config)
    assert [each.predictions for each in found.lens] == [
        each.predictions for each in plain.layer_predictions
    ]


def test_what_there_is_not(llama):
    with pytest.raises(UsageError, match="out of range"):
        hook(llama, GIVEN, layers="3")
    with pytest.raises(UsageError, match="unknown site"):
        hook(llama, GIVEN, sites="residual")
