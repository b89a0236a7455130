"""What is recorded is what the model computed, exactly where that can be known."""

import json

import mlx.core as mx
import numpy as np
import pytest
from checkpoints import write_checkpoint
from hypothesis import given
from hypothesis import strategies as st

from circuit.errors import DataError, ModelError, UsageError
from circuit.model.capture import capture, plan, plan_batches
from circuit.model.loading import load_model
from circuit.model.padding import padding_error
from circuit.model.positions import parse_positions
from circuit.model.selftest import self_test
from circuit.model.sites import Site, available_sites, parse_sites, sites_at
from circuit.model.tail import tail_logits
from circuit.model.tokens import Encoded, encode_prompts


def collect(model, prompts, sites, positions=("last",), batch_tokens=2048):
    rows = {}
    batches = plan(model, prompts, batch_tokens=batch_tokens)
    for batch in capture(
        model, prompts, sites=sites, positions=parse_positions(positions), batches=batches
    ):
        for key, values in batch.values.items():
            table = rows.setdefault(key, np.full((len(prompts), model.d_model), np.nan, np.float32))
            table[batch.rows] = values
    return rows


def encoded(*lengths):
    rng = np.random.default_rng(1)
    return [Encoded(rng.integers(1, 250, size=n, dtype=np.int32)) for n in lengths]


def test_identity_blocks_return_the_embedding_bit_for_bit(identity_llama):
    model, prompts = identity_llama, encoded(4, 9, 2)
    rows = collect(model, prompts, sites_at(["embed", "resid_post"], range(3)))
    table = np.array(model.network.model.embed_tokens.weight)
    expected = table[[p.ids[-1] for p in prompts]]
    for values in rows.values():
        assert np.array_equal(values, expected)


@pytest.mark.parametrize("batch_tokens", [1, 20, 10_000])
def test_batches_of_any_size_give_the_same_rows(llama, batch_tokens):
    prompts = encoded(3, 17, 8, 8, 1, 30)
    sites = sites_at(available_sites(llama), range(3))
    positions = ("last", "mean", "first", "-1", "0")
    alone = collect(llama, prompts, sites, positions, batch_tokens=1)
    together = collect(llama, prompts, sites, positions, batch_tokens=batch_tokens)
    for key in alone:
        np.testing.assert_allclose(together[key], alone[key], rtol=1e-4, atol=1e-5)
    site = Site("resid_post", 1)
    assert np.array_equal(together[site, "last"], together[site, "-1"])
    assert np.array_equal(together[site, "first"], together[site, "0"])


def test_mean_leaves_the_first_token_out(llama):
    prompt = encoded(6)[0]
    site = Site("resid_post", 2)
    every = [collect(llama, [prompt], [site], (str(i),))[site, str(i)][0] for i in range(6)]
    mean = collect(llama, [prompt], [site], ("mean",))[site, "mean"][0]
    np.testing.assert_allclose(mean, np.mean(every[1:], axis=0), rtol=1e-5, atol=1e-6)


def test_sites_add_up(llama):
    rows = collect(llama, encoded(7, 3), sites_at(available_sites(llama), range(3)))
    at = {(site.name, site.layer): values for (site, _), values in rows.items()}
    for k in range(3):
        middle = at["resid_pre", k] + at["attn_out", k]
        np.testing.assert_allclose(middle, at["resid_mid", k], rtol=1e-5, atol=1e-6)
        post = at["resid_mid", k] + at["mlp_out", k]
        np.testing.assert_allclose(post, at["resid_post", k], rtol=1e-5, atol=1e-6)
    assert np.array_equal(at["embed", None], at["resid_pre", 0])
    assert np.array_equal(at["resid_post", 0], at["resid_pre", 1])


def test_tail_gives_the_models_own_logits(llama):
    prompt = encoded(5)[0]
    last = collect(llama, [prompt], [Site("resid_post", 2)])[Site("resid_post", 2), "last"]
    expected = np.array(llama.network(mx.array(prompt.ids[None])))[0, -1]
    np.testing.assert_allclose(
        np.array(tail_logits(llama, mx.array(last)))[0], expected, rtol=1e-5, atol=1e-6
    )


@given(st.lists(st.integers(1, 300), min_size=1, max_size=80), st.integers(1, 900))
def test_batches_partition_the_prompts_within_budget(lengths, budget):
    batches = plan_batches(lengths, batch_tokens=budget)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[row] for row in batch)
        assert len(batch) == 1 or longest * len(batch) <= budget


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "phi3", "olmo2"])
def test_self_test_passes(family, tmp_path):
    model = load_model(str(write_checkpoint(tmp_path, family, num_key_value_heads=4)))
    assert [check for check in self_test(model) if not check.passed] == []


def test_self_test_names_a_row_that_does_not_fit(tmp_path, monkeypatch):
    model = load_model(str(write_checkpoint(tmp_path, "olmo2", num_key_value_heads=4)))
    model.config["model_type"] = "llama"  # read an OLMo block by the row of another family
    failed = [check for check in self_test(model) if not check.passed]
    assert len(failed) == 1
    assert "does not add up" in failed[0].detail


def test_a_family_without_a_row_offers_the_residual_stream_only(llama_folder):
    model = load_model(str(llama_folder))
    model.config["model_type"] = "unheard_of"
    assert available_sites(model) == ["embed", "resid_pre", "resid_post"]
    with pytest.raises(ModelError, match="`attn_out` is not known for family `unheard_of`"):
        collect(model, encoded(3), [Site("attn_out", 0)])


def test_states_that_are_not_finite_are_refused(llama_folder):
    model = load_model(str(llama_folder))
    weight = model.network.model.embed_tokens.weight
    weight[7] = float("inf")
    with pytest.raises(DataError, match=r"`embed` of prompt 1 is not finite"):
        collect(
            model, [Encoded(np.array(ids, np.int32)) for ids in ([1, 2], [1, 7])], [Site("embed")]
        )


def test_spellings_of_sites():
    named = parse_sites("resid_post, blocks.3.hook_mlp_out,hook_embed,resid_post.2", [0, 1], 4)
    assert list(map(str, named)) == [
        "embed",
        "resid_post.0",
        "resid_post.1",
        "mlp_out.3",
        "resid_post.2",
    ]
    with pytest.raises(UsageError, match="unknown site `residue`"):
        parse_sites("residue", [0], 4)
    with pytest.raises(UsageError, match="out of range: the model has layers 0 to 3"):
        parse_sites("blocks.4.hook_resid_post", [0], 4)


def test_a_position_that_a_prompt_lacks_names_the_prompt(llama):
    prompts = encode_prompts(llama, ["abcdef", "a"])
    with pytest.raises(DataError, match="prompt 1 has 2 tokens"):
        collect(llama, prompts, [Site("embed")], ("4",))


BIDIRECTIONAL = """
from mlx_lm.models import llama
ModelArgs = llama.ModelArgs
llama_attention = llama.Attention.__call__

class Attention(llama.Attention):
    def __call__(self, x, mask=None, cache=None):
        return llama_attention(self, x, None, cache)

class Model(llama.Model):
    def __init__(self, args):
        super().__init__(args)
        for layer in self.layers:
            layer.self_attn = Attention(args)
"""


def test_a_model_that_looks_at_pads_gets_batches_of_equal_length(tmp_path):
    folder = write_checkpoint(tmp_path)
    (folder / "both_ways.py").write_text(BIDIRECTIONAL)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_file": "both_ways.py"}))
    model = load_model(str(folder), trust_remote_code=True)
    assert padding_error(model) > 1e-2
    failed = [check.name for check in self_test(model) if not check.passed]
    assert "a right-padded batch equals single prompts" in failed
    prompts, site = encoded(3, 9, 3, 5), Site("resid_post", 2)
    assert [batch.tolist() for batch in plan(model, prompts)] == [[1], [3], [0, 2]]
    together = collect(model, prompts, [site])[site, "last"]
    alone = [collect(model, [prompt], [site])[site, "last"][0] for prompt in prompts]
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)
