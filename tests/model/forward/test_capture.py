"""What is recorded is what the model computed, exactly where that can be known."""

import json

import mlx.core as mx
import numpy as np
import pytest
from checkpoints import write_checkpoint
from errors import raises
from hypothesis import given
from hypothesis import strategies as st

from circuit.errors import DataError, ModelError, UsageError
from circuit.model.checkpoint.loading import load_model
from circuit.model.forward.batches import plan_batches
from circuit.model.forward.capture import capture, plan
from circuit.model.forward.padding import padding_error
from circuit.model.forward.prefix import checked_prefix, common_prefix
from circuit.model.forward.selftest import self_test
from circuit.model.forward.tail import tail_logits
from circuit.model.machine import runtime
from circuit.model.prompts.positions import parse_positions
from circuit.model.prompts.tokens import EncodedPrompt, encode_prompts
from circuit.model.sites.sites import available_sites, hidden_states, site_shape, sites_at
from circuit.model.sites.table import SITES
from circuit.values.sites import EMBED, Site

STREAM = tuple(name for name, entry in SITES.items() if not entry.is_inside)


def collect(model, prompts, sites, positions=("last",), **options):
    """Return (site, position) -> all rows, prompt after prompt."""
    planned = plan(model, prompts, sites=sites, positions=parse_positions(positions), **options)
    parts = {}
    for batch in capture(model, planned):
        for (site, name), values in batch.values.items():
            position = next(p for p in planned.positions if p.name == name)
            counts = planned.counts(site, position)
            counts = np.ones(len(prompts), int) if counts is None else counts
            ends = np.cumsum([counts[row] for row in batch.rows])[:-1]
            for row, part in zip(batch.rows, np.split(values, ends), strict=True):
                parts.setdefault((site, name), {})[row] = part
    return {
        key: np.concatenate([found[row] for row in range(len(prompts))])
        for key, found in parts.items()
    }


def encoded(*lengths):
    rng = np.random.default_rng(1)
    return [EncodedPrompt(rng.integers(1, 250, size=n, dtype=np.int32)) for n in lengths]


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
    sites = sites_at(STREAM, range(3))
    positions = ("last", "mean", "first", "-1", "0")
    alone = collect(llama, prompts, sites, positions, batch_tokens=1)
    together = collect(llama, prompts, sites, positions, batch_tokens=batch_tokens)
    for key in alone:
        np.testing.assert_allclose(together[key], alone[key], rtol=1e-4, atol=1e-5)
    site = Site("resid_post", 1)
    assert np.array_equal(together[site, "last"], together[site, "-1"])
    assert np.array_equal(together[site, "first"], together[site, "0"])


EVERY_KIND = ("last", "first", "mean", "all", "-6:", "2:4", "-2")


def test_ragged_positions_are_the_same_tokens(llama):
    prompts, site = encoded(7, 3, 12), Site("resid_post", 1)
    rows = collect(llama, prompts, [site], ("all", "-6:", "last"))
    whole = [
        np.array(hidden_states(llama, mx.array(p.ids)[None], [site])[site])[0] for p in prompts
    ]
    np.testing.assert_allclose(rows[site, "all"], np.concatenate(whole), rtol=1e-4, atol=1e-5)
    tails = np.concatenate([states[-6:] for states in whole])
    np.testing.assert_allclose(rows[site, "-6:"], tails, rtol=1e-4, atol=1e-5)


def test_patterns_are_rows_of_keys(llama):
    prompts, site = encoded(7, 3), Site("attn_pattern", 1)
    rows = collect(llama, prompts, [site], ("last", "all"))
    assert rows[site, "last"].shape == (10, site_shape(llama, site)[0])
    assert rows[site, "all"].shape == (49 + 9, 4)
    np.testing.assert_allclose(rows[site, "all"][:49].reshape(7, 7, 4).sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(rows[site, "all"][42:49], rows[site, "last"][:7], atol=1e-6)
    future = np.triu(np.ones((7, 7), bool), 1)
    assert not rows[site, "all"][:49].reshape(7, 7, 4)[future].any()
    with raises(UsageError, "site-without-mean", site="attn_pattern"):
        collect(llama, prompts, [site], ("mean",))


def with_prefix(n, *lengths):
    shared = np.arange(3, 3 + n, dtype=np.int32)
    return [EncodedPrompt(np.concatenate([shared, p.ids])) for p in encoded(*lengths)]


@pytest.mark.parametrize("sites", [STREAM, ("z", "k_proj", "q_rope", "k_rope", "attn_pattern")])
def test_a_shared_prefix_changes_no_row(llama, sites):
    prompts = with_prefix(40, 5, 1, 9, 3, 3, 17, 2)
    wanted = sites_at(sites, range(3))
    positions = [
        p for p in (*EVERY_KIND, "20", "35:") if "attn_pattern" not in sites or p != "mean"
    ]
    planned = plan(llama, prompts, sites=wanted)
    assert planned.prefix == 40
    shared = collect(llama, prompts, wanted, positions)
    whole = collect(llama, prompts, wanted, positions, share_prefix=False)
    assert shared.keys() == whole.keys()
    for key in whole:
        np.testing.assert_allclose(shared[key], whole[key], rtol=1e-4, atol=1e-5, err_msg=str(key))


@pytest.mark.parametrize("family", ["gemma3_text", "mamba2", "qwen3", "gpt2"])
def test_what_is_shared_is_measured_for_every_kind_of_cache(tmp_path, family):
    model = load_model(str(write_checkpoint(tmp_path, family, **CACHES[family])))
    prompts, site = with_prefix(40, 5, 1, 9, 3, 3, 17, 2), Site("resid_post", model.n_layers - 1)
    assert checked_prefix(model, prompts[0].ids, 40, up_to=model.n_layers - 1) is not None
    assert plan(model, prompts, sites=[site]).prefix == 40
    rows = [collect(model, prompts, [site], share_prefix=share)[site, "last"] for share in (1, 0)]
    np.testing.assert_allclose(rows[0], rows[1], rtol=1e-4, atol=1e-5)


CACHES = {
    "qwen3": {},
    "gpt2": {
        "n_embd": 32,
        "n_layer": 3,
        "n_head": 4,
        "n_positions": 256,
        "n_ctx": 256,
        "layer_norm_epsilon": 1e-5,
    },
    "gemma3_text": {"sliding_window": 16, "sliding_window_pattern": 2, "query_pre_attn_scalar": 8},
    "mamba2": {
        "num_heads": 4,
        "head_dim": 16,
        "hidden_size": 32,
        "state_size": 8,
        "conv_kernel": 4,
        "n_groups": 1,
        "expand": 2,
        "use_bias": False,
        "use_conv_bias": True,
        "chunk_size": 8,
        "layer_norm_epsilon": 1e-5,
        "time_step_limit": [0.0, 1e9],
        "time_step_rank": 4,
        "residual_in_fp32": False,
        "rms_norm": True,
    },
}


@given(st.lists(st.lists(st.integers(1, 2), min_size=1, max_size=6), min_size=1, max_size=5))
def test_the_common_prefix_is_the_longest_that_leaves_each_prompt_a_token(lists):
    n = common_prefix([np.array(each, np.int32) for each in lists])
    assert all(each[:n] == lists[0][:n] and len(each) > n for each in lists)
    longer = [each[: n + 1] for each in lists]
    assert any(each != longer[0] for each in longer) or min(map(len, lists)) == n + 1


def test_batches_side_by_side_give_the_same_rows(llama, monkeypatch):
    prompts, sites = encoded(*range(1, 40)), sites_at(["resid_post"], range(3))
    alone = collect(llama, prompts, sites, batch_tokens=64)
    for n in (1, 2, 3):
        monkeypatch.setattr(runtime, "n_streams", lambda n=n: n)
        together = collect(llama, prompts, sites, batch_tokens=64)
        assert all(np.array_equal(together[key], alone[key]) for key in alone)


def test_what_is_done_already_does_not_run_again(llama):
    planned = plan(llama, encoded(*range(1, 30)), sites=[EMBED], batch_tokens=32)
    units = [batch.unit for batch in capture(llama, planned, without={0, 2})]
    assert units == [unit for unit in range(len(planned.batches)) if unit not in (0, 2)]
    assert list(capture(llama, planned, without=range(len(planned.batches)))) == []


def test_mean_leaves_the_first_token_out(llama):
    prompt = encoded(6)[0]
    site = Site("resid_post", 2)
    every = [collect(llama, [prompt], [site], (str(i),))[site, str(i)][0] for i in range(6)]
    mean = collect(llama, [prompt], [site], ("mean",))[site, "mean"][0]
    np.testing.assert_allclose(mean, np.mean(every[1:], axis=0), rtol=1e-5, atol=1e-6)


def test_sites_add_up(llama):
    rows = collect(llama, encoded(7, 3), sites_at(STREAM, range(3)))
    at = {(site.name, site.layer): values for (site, _), values in rows.items()}
    for k in range(3):
        middle = at["resid_pre", k] + at["attn_out", k]
        np.testing.assert_allclose(middle, at["resid_mid", k], rtol=1e-5, atol=1e-6)
        post = at["resid_mid", k] + at["mlp_out", k]
        np.testing.assert_allclose(post, at["resid_post", k], rtol=1e-5, atol=1e-6)
    assert np.array_equal(at["embed", 0], at["resid_pre", 0])
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
    with raises(ModelError, "unknown-family", site="attn_out"):
        collect(model, encoded(3), [Site("attn_out", 0)])


def test_states_that_are_not_finite_are_refused(llama_folder):
    model = load_model(str(llama_folder))
    weight = model.network.model.embed_tokens.weight
    weight[7] = float("inf")
    with raises(DataError, "not-finite", site="embed", prompt=1):
        collect(
            model, [EncodedPrompt(np.array(ids, np.int32)) for ids in ([1, 2], [1, 7])], [EMBED]
        )


def test_a_position_that_a_prompt_lacks_names_the_prompt(llama):
    prompts = encode_prompts(llama, ["abcdef", "a"])
    with raises(DataError, "position-out-of-range", prompt=1, n_tokens=2):
        collect(llama, prompts, [EMBED], ("4",))


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
    batches = plan(model, prompts, sites=[site]).batches
    assert [batch.tolist() for batch in batches] == [[1], [3], [0, 2]]
    together = collect(model, prompts, [site])[site, "last"]
    alone = [collect(model, [prompt], [site])[site, "last"][0] for prompt in prompts]
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)
