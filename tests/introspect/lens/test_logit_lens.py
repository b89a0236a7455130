"""The logit lens: the last layer is the model, and blocks that do nothing change nothing."""

import mlx.core as mx
import numpy as np
import pytest
from checkpoints import write_checkpoint
from errors import raises

from circuit.errors import ModelError, UsageError
from circuit.introspect.inputs.choices import LayerStrategy, choose_layers, strategy_of
from circuit.introspect.lens.logit_lens import AnalysisConfig, analyze
from circuit.introspect.lens.pictures import lens_figure, track_name
from circuit.methods.steering import divergences
from circuit.model.checkpoint.loading import load_model
from circuit.model.interventions.embedding import embedding_scale
from circuit.plots.style import render
from circuit.stages.rows.prompting import encode
from circuit.values.prompt_format import RAW
from circuit.values.sites import Site

ALL = AnalysisConfig(LayerStrategy.ALL, track_tokens=["a", "\n"])


def model_log_p(model, text):
    (prompt,) = encode(model, [text], RAW)
    logits = np.array(model.network(mx.array(prompt.ids[None])))[0, -1]
    return divergences.log_softmax(logits)


def test_the_last_layer_is_the_model(llama):
    for text, found in zip(
        ["Hello", "1 + 1 = "], analyze(llama, ["Hello", "1 + 1 = "], ALL), strict=True
    ):
        p = np.exp(model_log_p(llama, text))
        last = found.layer_predictions[-1]
        assert found.final_prediction == last.predictions
        assert last.predictions[0].token_id == int(p.argmax())
        assert found.predicted_probability == pytest.approx(p.max(), rel=1e-4)
        assert last.entropy == pytest.approx(-(p * np.log(p)).sum(), rel=1e-4)
        (a, newline) = found.token_evolutions
        assert a.layer_probabilities[2] == pytest.approx(p[a.token_id], rel=1e-4)
        assert newline.layer_ranks[2] == 1 + int((p > p[newline.token_id]).sum())


def test_blocks_that_do_nothing_change_nothing(identity_llama):
    (found,) = analyze(identity_llama, ["Hello"], ALL)
    assert all(
        abs(t.kl_divergence) < 1e-9 and abs(t.js_divergence) < 1e-9 for t in found.layer_transitions
    )
    assert len({each.top_token for each in found.layer_predictions}) == 1


def test_every_layer_is_what_the_tail_makes_of_its_residual(llama):
    """With the blocks after layer k ablated, the model's own prediction is the lens at k."""
    from circuit.model.interventions.edits import Edit, edited

    (found,) = analyze(llama, ["Hello"], ALL)
    for k in range(2):
        off = [
            Edit(Site(s, j), mx.zeros_like)
            for j in range(k + 1, 3)
            for s in ("attn_out", "mlp_out")
        ]
        with edited(llama, off):
            p = np.exp(model_log_p(llama, "Hello"))
        assert found.layer_predictions[k].top_probability == pytest.approx(p.max(), rel=1e-4)


def test_layers_are_chosen_as_they_are_named():
    assert choose_layers(22, LayerStrategy.EVENLY_SPACED) == [0, 4, 8, 12, 16, 20, 21]
    assert choose_layers(6, LayerStrategy.EVENLY_SPACED, step=9) == [0, 5]
    assert choose_layers(6, LayerStrategy.FIRST_LAST) == [0, 5]
    assert choose_layers(1, LayerStrategy.FIRST_LAST) == [0]
    assert choose_layers(6, LayerStrategy.CUSTOM, custom=[4, 0, 4]) == [0, 4]
    assert choose_layers(6, LayerStrategy.CUSTOM, custom="2-3,-1") == [2, 3, 5]
    assert strategy_of(None, all_layers=False, layers="0") is LayerStrategy.CUSTOM
    assert strategy_of("first_last", all_layers=False, layers=None) is LayerStrategy.FIRST_LAST
    for bad in (("odd", False, None), ("all", False, "0"), (None, True, "0")):
        with pytest.raises(UsageError):
            strategy_of(bad[0], all_layers=bad[1], layers=bad[2])
    for also in ({"all_layers": True, "layers": None}, {"all_layers": False, "layers": "0"}):
        with raises(UsageError, "layers-chosen-twice"):
            strategy_of(None, **also, step=2)
    spaced = strategy_of("evenly_spaced", all_layers=False, layers=None, step=2)
    assert spaced is LayerStrategy.EVENLY_SPACED
    with pytest.raises(UsageError, match="out of range"):
        choose_layers(6, LayerStrategy.CUSTOM, custom="7")


def test_a_tracked_text_of_several_tokens_is_followed_by_its_first(llama):
    (whole, first), *_ = [
        each.token_evolutions
        for each in analyze(llama, ["x"], AnalysisConfig(track_tokens=["ab", "a"]))
    ]
    assert whole.pieces == ["a", "b"]
    assert whole.layer_probabilities == first.layer_probabilities
    with raises(UsageError, "no-token", text=""):
        analyze(llama, ["x"], AnalysisConfig(track_tokens=[""]))


def test_the_embedding_scale_is_the_models_own_unless_it_is_given(llama, tmp_path):
    assert embedding_scale(llama) == pytest.approx(1, abs=1e-5)
    folder = write_checkpoint(tmp_path / "g", "gemma", head_dim=8)
    gemma = load_model(str(folder))
    assert embedding_scale(gemma) == pytest.approx(32**0.5, rel=1e-4)
    own = analyze(gemma, ["Hello"], ALL)[0]
    same = analyze(gemma, ["Hello"], ALL, embedding_scale=32**0.5)[0]
    other = analyze(gemma, ["Hello"], ALL, embedding_scale=1.0)[0]
    assert same.predicted_probability == pytest.approx(own.predicted_probability, rel=1e-4)
    assert other.predicted_probability != pytest.approx(own.predicted_probability, rel=1e-3)
    gpt2 = load_model(
        str(
            write_checkpoint(
                tmp_path / "gpt2",
                "gpt2",
                n_embd=32,
                n_layer=3,
                n_head=4,
                n_positions=64,
                n_ctx=64,
                layer_norm_epsilon=1e-5,
            )
        )
    )
    with pytest.raises(ModelError, match="does not read its token embedding times a number"):
        analyze(gpt2, ["Hello"], ALL, embedding_scale=2.0)


def test_a_picture_of_several_prompts(llama):
    found = analyze(llama, ["Hello", "x"], AnalysisConfig(LayerStrategy.ALL))
    assert render(lens_figure(found), "png")[:4] == b"\x89PNG"


def test_a_line_is_named_by_the_token_that_it_follows(llama):
    whole, one = analyze(llama, ["x"], AnalysisConfig(track_tokens=["ab", "a"]))[0].token_evolutions
    assert (track_name(whole), track_name(one)) == ("'a' of 'ab'", "'a'")


def test_divergences_are_scipys():
    from scipy.spatial.distance import jensenshannon
    from scipy.special import softmax
    from scipy.stats import entropy

    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 5, 30)) * 3
    p, q = softmax(a, axis=-1), softmax(b, axis=-1)
    log_p, log_q = divergences.log_softmax(a), divergences.log_softmax(b)
    np.testing.assert_allclose(divergences.entropy(log_p), entropy(p, axis=-1))
    np.testing.assert_allclose(divergences.kl(log_p, log_q), entropy(p, q, axis=-1))
    np.testing.assert_allclose(divergences.js(log_p, log_q), jensenshannon(p, q, axis=-1) ** 2)
    assert divergences.entropy(np.array([0.0, -np.inf])) == 0
