"""A site may be written as circuit, TransformerLens or the model's own modules call it."""

import pytest
from errors import raises

from circuit.errors import ModelError, UsageError
from circuit.model.sites.sites import parse_sites


def named(text, model, layers=(0, 1)):
    return [str(site) for site in parse_sites(text, layers, model)]


def test_own_names_and_layers(of):
    text = "resid_post, blocks.2.hook_mlp_out,hook_embed,resid_post.2,z.1"
    assert named(text, of("llama")) == [
        "embed", "resid_post.0", "resid_post.1", "mlp_out.2", "resid_post.2", "z.1",
    ]  # fmt: skip


LENS = {
    "blocks.1.hook_resid_pre": "resid_pre.1",
    "blocks.1.hook_resid_mid": "resid_mid.1",
    "blocks.1.hook_attn_out": "attn_out.1",
    "blocks.1.attn.hook_q": "q_proj.1",
    "blocks.1.attn.hook_rot_k": "k_rope.1",
    "blocks.1.attn.hook_z": "z.1",
    "blocks.1.attn.hook_result": "head_out.1",
    "blocks.1.attn.hook_pattern": "attn_pattern.1",
    "blocks.1.mlp.hook_pre": "gate_proj.1",
    "blocks.1.mlp.hook_pre_linear": "up_proj.1",
    "blocks.1.mlp.hook_post": "mlp_act.1",
    "model.layers.1": "resid_post.1",
    "model.layers.1.self_attn": "attn_out.1",
    "model.layers.1.self_attn.q_proj": "q_proj.1",
    "model.layers.1.mlp": "mlp_out.1",
    "model.layers.1.mlp.down_proj": "down_proj.1",
}


@pytest.mark.parametrize("spelling", LENS)
def test_names_of_transformer_lens_and_paths_of_modules(of, spelling):
    assert named(spelling, of("llama")) == [LENS[spelling]]


def test_a_spelling_means_what_the_family_makes_of_it(of):
    gpt2 = of("gpt2")
    assert named("blocks.1.mlp.hook_pre,transformer.h.1.attn", gpt2) == ["up_proj.1", "attn_out.1"]
    assert named("transformer.h.2.mlp.c_proj,model.h.0", gpt2) == ["down_proj.2", "resid_post.0"]
    with raises(ModelError, "site-missing", site="hook_embed"):
        named("hook_embed", gpt2)
    # What granite multiplies and Gemma normalises before adding it is not what the module returns.
    assert named("model.layers.1.self_attn,model.layers.1.mlp", of("granite")) == [
        "o_proj.1", "down_proj.1",
    ]  # fmt: skip
    assert named("model.layers.1.self_attn", of("gemma2")) == ["o_proj.1"]
    assert named("model.layers.1.post_attention_layernorm", of("gemma2")) == ["attn_out.1"]
    assert named("model.layers.1.block_sparse_moe", of("mixtral")) == ["mlp_out.1"]


@pytest.mark.parametrize(
    ("family", "spelling", "near"),
    [
        ("llama", "residue", "resid_"),
        ("llama", "attn_patern", "attn_pattern"),
        ("llama", "blocks.1.hook_resid_pst", "blocks.1.hook_resid_post"),
        ("llama", "blocks.1.attn.hook_attn_scores", "blocks.1.attn.hook_"),
        ("llama", "model.layers.1.mlp.downproj", "model.layers.1.mlp.down_proj"),
        ("phi3", "model.layers.1.self_attn.qkv_proj", "model.layers.1.self_attn.o_proj"),
        ("gpt2", "transformer.h.0.atn", "model.h.0.attn"),
    ],
)
def test_an_unknown_spelling_names_the_nearest(of, family, spelling, near):
    with raises(UsageError, "unknown-site", site=spelling) as caught:
        named(spelling, of(family))
    assert f"did you mean `{near}" in caught.value.hint


@pytest.mark.parametrize("spelling", ["blocks.3.hook_resid_post", "z.3", "model.layers.9.mlp"])
def test_a_layer_that_the_model_lacks(of, spelling):
    with raises(UsageError, "layer-out-of-range", n_layers=3):
        named(spelling, of("llama"))
