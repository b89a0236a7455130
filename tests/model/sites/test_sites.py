"""What a site holds is what the model computes with, exactly where that can be known."""

import threading
from dataclasses import replace

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from architectures import CONFIGS
from checkpoints import write_checkpoint
from errors import raises

from circuit.errors import ModelError
from circuit.model.checkpoint import families
from circuit.model.checkpoint.loading import load_model
from circuit.model.sites.sites import (
    available_sites,
    check_family,
    hidden_states,
    is_linear,
    parse_sites,
    recording,
    site_shape,
    sites_at,
    why_absent,
)
from circuit.model.sites.table import MEASURED, SITES, SiteEntry
from circuit.values.sites import EMBED, RESIDUAL, Site

IDS = mx.array([[3, 1, 4, 1, 5, 9, 2, 6]])


def load(tmp_path, family, **overrides):
    return load_model(str(write_checkpoint(tmp_path, family, **CONFIGS[family], **overrides)))


def values(model, names, ids=IDS, layers=None):
    sites = sites_at(names, range(model.n_layers) if layers is None else layers)
    seen = hidden_states(model, ids, sites)
    return {(s.name, s.layer): np.array(v.astype(mx.float32)) for s, v in seen.items()}


def assert_close(ours, expected, tolerance=1e-5):
    assert ours.shape == expected.shape
    assert np.abs(ours - expected).max() <= tolerance * np.abs(expected).max()


def randomise(model, *endings):
    """Give parameters that a new network has at zero, biases and sinks, random values."""
    from mlx.utils import tree_map_with_path

    def value(path, array):
        return mx.random.normal(array.shape) if path.endswith(endings) else array

    mx.random.seed(0)
    model.network.update(tree_map_with_path(value, model.network.parameters()))


# --- identities -------------------------------------------------------------------------------


def check_identities(model, tolerance=1e-5):
    names = ["o_proj", "z", "head_out", "v_proj", "attn_pattern", "mlp_act", "down_proj"]
    seen = values(model, names)
    for layer, block in enumerate(model.blocks):
        at = {name: seen[name, layer][0] for name in names}
        nothing = np.array(block.self_attn.o_proj(mx.zeros_like(mx.array(at["z"][:1]))))
        n_heads, head_dim = site_shape(model, Site("z", layer))
        by_head = at["head_out"].reshape(len(at["z"]), n_heads, -1)
        assert_close(by_head.sum(axis=1) + nothing, at["o_proj"], tolerance)
        one = at["z"].reshape(-1, n_heads, head_dim) * (np.arange(n_heads) == 1)[:, None]
        alone = np.array(block.self_attn.o_proj(mx.array(one.reshape(at["z"].shape)))) - nothing
        assert_close(by_head[:, 1], alone, tolerance)
        shared = n_heads // site_shape(model, Site("v_proj", layer))[0]
        heads = at["v_proj"].reshape(len(at["z"]), -1, head_dim).repeat(shared, axis=1)
        mixed = np.einsum("ths,shd->thd", at["attn_pattern"], heads)
        assert_close(mixed.reshape(at["z"].shape), at["z"], tolerance)
        neurons = np.array(block.mlp.down_proj(mx.array(at["mlp_act"])))
        assert_close(neurons, at["down_proj"], tolerance)


def test_heads_sum_to_what_attention_adds(tmp_path):
    model = load(tmp_path, "llama", attention_bias=True, mlp_bias=True)
    randomise(model, "bias")
    check_identities(model)


@pytest.mark.parametrize("quantised", [False, True])
def test_the_identities_hold_for_quantised_weights_and_adapters(tmp_path, quantised):
    from mlx_lm.tuner.utils import linear_to_lora_layers

    model = load(tmp_path, "llama", attention_bias=True)
    randomise(model, "bias")
    if quantised:
        nn.quantize(model.network, group_size=32, bits=4)
    keys = ["self_attn.o_proj", "self_attn.v_proj", "mlp.down_proj"]
    lora = {"rank": 4, "scale": 2.0, "dropout": 0.0, "keys": keys}
    linear_to_lora_layers(model.network, 3, lora)
    randomise(model, "lora_b")
    model.network.eval()
    check_family(model, list(SITES))
    check_identities(model)


def test_fused_maps_are_sliced_when_quantised_too(tmp_path):
    model = load(tmp_path, "phi3")
    nn.quantize(model.network, group_size=32, bits=8)
    check_family(model, list(SITES))
    seen = values(model, ["q_proj", "k_proj", "v_proj"], layers=[1])
    block = model.blocks[1]
    whole = np.array(block.self_attn.qkv_proj(block.input_layernorm(block_input(model, 1))))
    assert np.array_equal(np.concatenate(list(seen.values()), axis=-1), whole)


def block_input(model, layer):
    site = Site("resid_pre", layer)
    return hidden_states(model, IDS, [site])[site]


def test_heads_that_write_nothing_hold_zeros_exactly(identity_llama):
    seen = values(identity_llama, ["head_out", "o_proj", "down_proj"])
    assert not any(array.any() for array in seen.values())


def test_queries_of_zero_attend_to_all_that_they_may(tmp_path):
    model = load(tmp_path, "gemma3_text")  # a window of 8, every other layer sees everything
    for block in model.blocks:
        block.self_attn.q_proj.weight = mx.zeros_like(block.self_attn.q_proj.weight)
    ids = mx.arange(1, 21)[None]
    seen = values(model, ["attn_pattern"], ids)
    t, s = np.arange(20)[:, None], np.arange(20)[None]
    causal, window = s <= t, (s <= t) & (s > t - 8)
    for layer, allowed in enumerate([window, causal, window]):
        expected = allowed / allowed.sum(axis=1, keepdims=True)
        found = seen["attn_pattern", layer][0]
        np.testing.assert_allclose(found, np.repeat(expected[:, None], 4, axis=1), rtol=1e-6)


def test_a_sink_takes_its_share_of_a_row(tmp_path):
    model = load(tmp_path, "gpt_oss")
    sinks = mx.array([0.0, 1.0, -2.0, 3.0])
    for block in model.blocks:
        block.self_attn.sinks = sinks
        block.self_attn.q_proj.weight = mx.zeros_like(block.self_attn.q_proj.weight)
        block.self_attn.q_proj.bias = mx.zeros_like(block.self_attn.q_proj.bias)
    check_family(model, list(SITES))
    found = values(model, ["attn_pattern"], layers=[1])["attn_pattern", 1][0]
    n = np.arange(1, 9)[:, None]
    np.testing.assert_allclose(found.sum(axis=-1), n / (n + np.exp(np.array(sinks))), rtol=1e-5)


def test_additive_masks_of_every_shape_are_honoured(llama):
    from mlx_lm.models import llama as file

    allowed = np.tril(np.ones((8, 8), bool)) & (np.arange(8) != 2)[None, :]
    allowed[2, 2] = True
    added = mx.array(np.where(allowed, 0, -1e9).astype(np.float32))
    assert why_absent(llama, "attn_pattern", 0) is None
    for mask in (mx.array(allowed), added, added[None, None], mx.broadcast_to(added, (1, 4, 8, 8))):
        seen = {}

        def record(site, read, seen=seen):
            seen[site.name] = np.array(read(mx.stop_gradient))[0]

        sites = sites_at(["attn_pattern", "z", "v_proj"], [0])
        original = file.create_attention_mask
        file.create_attention_mask = lambda *_, mask=mask: mask
        try:
            with recording(llama, sites, record):
                llama.network(IDS)
        finally:
            file.create_attention_mask = original
        pattern = seen["attn_pattern"]
        assert not pattern[:, :, 2][np.arange(8) != 2].any()
        heads = seen["v_proj"].reshape(8, 2, 8).repeat(2, axis=1)
        assert_close(np.einsum("ths,shd->thd", pattern, heads).reshape(8, 32), seen["z"])


# --- a cache ----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["llama", "gemma2", "gemma3_text", "gpt2", "gpt_oss", "glm4"])
@pytest.mark.parametrize("shared", [5, 19, 27])
def test_rows_after_a_shared_prefix_are_those_of_the_whole_prompt(of, family, shared):
    from mlx_lm.models.cache import make_prompt_cache

    model, ids = of(family), mx.arange(1, 29)[None]  # longer than the windows of 8
    names = [name for name in available_sites(model) if name != "embed"]
    sites = sites_at(names, range(model.n_layers))
    cache, seen = make_prompt_cache(model.network), {}
    model.network(ids[:, :shared], cache=cache)
    with recording(model, sites, lambda site, read: seen.update({site: read(mx.stop_gradient)})):
        model.network(ids[:, shared:], cache=cache)
    whole = hidden_states(model, ids, sites)
    for site in sites:
        assert_close(np.array(seen[site]), np.array(whole[site][:, shared:]), 1e-4)


def test_a_full_sliding_cache_that_is_written_in_a_circle_is_put_in_order(of):
    from mlx_lm.models.cache import make_prompt_cache

    model, ids = of("gemma3_text"), mx.arange(1, 29)[None]
    sites = sites_at(["attn_pattern", "k_rope"], range(3))
    whole, cache = hidden_states(model, ids, sites), make_prompt_cache(model.network)
    for token in range(28):
        seen = {}
        with recording(
            model, sites, lambda s, read, seen=seen: seen.update({s: read(lambda h: h)})
        ):
            model.network(ids[:, token : token + 1], cache=cache)
        for site in sites:
            expected = np.array(whole[site][:, token])
            if site.name == "attn_pattern":
                expected = expected[..., : token + 1]
            assert_close(np.array(seen[site][:, 0]), expected, 1e-4)


# --- the model is left as it was ---------------------------------------------------------------


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "mixtral"])
def test_recording_everything_changes_no_bit_of_the_logits(of, family):
    model = of(family)
    plain = np.array(model.network(IDS))
    sites = sites_at(available_sites(model), range(model.n_layers))
    with recording(model, sites, lambda _, read: mx.eval(read(lambda h: h))):
        assert np.array_equal(np.array(model.network(IDS)), plain)


@pytest.mark.parametrize(
    ("family", "name"), [("llama", "scaled_dot_product_attention"), ("gemma2", "mx")]
)
def test_what_is_intercepted_is_put_back_also_after_an_exception(of, family, name):
    import importlib

    model, file = of(family), importlib.import_module(f"mlx_lm.models.{family}")
    original, kinds = getattr(file, name), [type(block.self_attn) for block in model.blocks]
    with recording(model, [Site("resid_post", 0)], lambda *_: None):
        assert getattr(file, name) is original
        model.network(IDS)

    def fail(site, read):
        assert getattr(file, name) is not original
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), recording(model, [Site("attn_pattern", 1)], fail):
        model.network(IDS)
    assert getattr(file, name) is original
    assert [type(block.self_attn) for block in model.blocks] == kinds
    values(model, ["attn_pattern"])


def test_recordings_nest(of):
    model, inner, outer = of("llama"), {}, {}
    site = Site("attn_pattern", 1)
    with recording(model, [site], lambda s, read: outer.update({s: read(lambda h: h)})):
        with recording(model, [site], lambda s, read: inner.update({s: read(lambda h: h)})):
            model.network(IDS)
    assert np.array_equal(np.array(inner[site]), np.array(outer[site]))
    assert_close(np.array(inner[site]), values(model, ["attn_pattern"])["attn_pattern", 1])


def test_two_threads_record_two_batches_at_once(of):
    model, found, failed = of("llama"), {}, []
    sites = sites_at(["attn_pattern", "z", "head_out", "resid_post"], range(3))
    batches = [IDS, mx.array([[40, 41, 42, 43, 44]])]
    both = threading.Barrier(2)

    def work(number):
        try:
            with mx.stream(mx.new_stream(mx.cpu)):
                for _ in range(20):
                    seen = {}

                    def record(site, read, seen=seen):
                        seen[site] = read(lambda h: h)

                    both.wait()
                    with recording(model, sites, record):
                        model.network(batches[number])
                    mx.eval(list(seen.values()))
                    found.setdefault(number, []).append({s: np.array(v) for s, v in seen.items()})
        except BaseException as error:  # noqa: BLE001
            failed.append(error)
            both.abort()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed
    for number, batch in enumerate(batches):
        alone = hidden_states(model, batch, sites)
        for seen in found[number]:
            for site in sites:
                assert_close(seen[site], np.array(alone[site]))


def test_a_site_that_is_never_computed_is_an_error(of):
    model = of("llama")
    with raises(ModelError, "module-not-run", module="attention"):
        with recording(model, [Site("attn_pattern", 1)], lambda *_: None):
            pass


# --- shapes and rows ---------------------------------------------------------------------------


def test_shapes_of_one_token(of):
    model = of("llama")
    shapes = {name: site_shape(model, Site(name, 1)) for name in SITES if name != "embed"}
    assert shapes["resid_post"] == shapes["o_proj"] == shapes["down_proj"] == (32,)
    assert shapes["q_proj"] == shapes["q_rope"] == shapes["z"] == (4, 8)
    assert shapes["k_proj"] == shapes["v_proj"] == shapes["k_rope"] == (2, 8)
    assert shapes["gate_proj"] == shapes["up_proj"] == shapes["mlp_act"] == (64,)
    assert shapes["head_out"] == (4, 32)
    assert shapes["attn_pattern"] == (4, 0)
    assert site_shape(model, EMBED) == (32,)
    seen = values(model, list(shapes), layers=[1])
    for name, shape in shapes.items():
        width = (4, 8) if name == "attn_pattern" else (int(np.prod(shape)),)
        assert seen[name, 1].shape == (1, 8, *width)


def test_the_mean_of_a_site_is_the_site_of_the_mean(of):
    model = of("granite")
    sites = [s for s in sites_at(available_sites(model), [0, 2]) if is_linear(s)]
    assert {site.name for site in sites} == set(SITES) - {"attn_pattern"}
    seen = {}
    weights = mx.full((1, 1, 8), 1 / 8)
    with recording(model, sites, lambda s, read: seen.update({s: read(lambda h: weights @ h)})):
        model.network(IDS)
    for site, whole in hidden_states(model, IDS, sites).items():
        assert_close(np.array(seen[site])[0, 0], np.array(whole)[0].mean(axis=0), 1e-4)


def test_a_site_that_a_family_lacks_says_why_in_one_sentence(of):
    assert why_absent(of("gpt2"), "gate_proj", 0)
    assert why_absent(of("mixtral"), "mlp_act", 1)
    assert why_absent(of("recurrent_gemma"), "attn_pattern", 0)
    assert why_absent(of("recurrent_gemma"), "attn_pattern", 2) is None
    assert why_absent(of("deepseek_v3"), "k_proj", 0)
    assert why_absent(of("deepseek_v3"), "gate_proj", 0) is None  # its first block is dense
    assert "gate_proj" not in available_sites(of("deepseek_v3"))
    with raises(ModelError, "site-missing", site="mlp_act") as caught:
        parse_sites("mlp_act", [0, 1], of("mixtral"))
    assert "circuit sites" in caught.value.hint


def test_a_family_without_a_row_has_the_sites_that_need_none(llama_folder):
    model = load_model(str(llama_folder))
    model.config["model_type"] = "unheard_of"
    assert available_sites(model) == ["embed", "resid_pre", "resid_post"]
    assert site_shape(model, Site("resid_post", 2)) == (32,)
    with raises(ModelError, "unknown-family", site="q_proj", family="unheard_of"):
        site_shape(model, Site("q_proj", 0))


def test_a_new_site_is_one_entry_of_the_table(llama_folder, monkeypatch):
    def doubled(*_):
        return lambda rows: 2 * rows

    entry = SiteEntry("mlp_in", "what the MLP reads", "mlp", "input", finish=doubled)
    monkeypatch.setitem(SITES, "mlp_in", entry)
    monkeypatch.setitem(MEASURED, "mlp_in", entry)
    model = load_model(str(llama_folder))
    assert "mlp_in" in available_sites(model)
    (site,) = parse_sites("mlp_in.1", [], model)
    assert site_shape(model, site) == (32,)
    check_family(model, ["mlp_in"])
    block, middle = model.blocks[1], Site("resid_mid", 1)
    seen = hidden_states(model, IDS, [site, middle])
    expected = block.post_attention_layernorm(seen[middle])
    assert_close(np.array(seen[site]), 2 * np.array(expected))


WRONG = [
    ("llama", {"mid_input": "input_layernorm"}, "resid_mid", "resid_pre attn_out resid_mid"),
    ("gemma2", {"attn_out": "self_attn"}, "mlp_out", "resid_pre attn_out mlp_out resid_post"),
    ("llama", {"o_proj": "q_proj"}, "o_proj", "attn o_proj"),
    ("llama", {"k_proj": "v_proj", "v_proj": "k_proj"}, "v_proj", "attn_pattern v_proj z"),
    ("llama", {"down_proj": "up_proj"}, "mlp_act", "mlp down_proj"),
    (
        "llama",
        {"gate_proj": "up_proj", "up_proj": "gate_proj"},
        "up_proj",
        "gate_proj up_proj mlp_act",
    ),
    ("starcoder2", {"up_proj": "c_proj"}, "up_proj", "up_proj mlp_act"),
    ("gpt2", {"by_head": True}, "q_proj", "q_proj q_rope"),
    ("gpt_neox", {"by_head": False}, "k_rope", "k_proj k_rope"),
    ("internlm2", {"by_head": False}, "attn_pattern", "attn_pattern v_proj z"),
    ("phi3", {"by_head": True}, "head_out", "attn_pattern v_proj z"),
]


@pytest.mark.parametrize(("family", "changes", "name", "identity"), WRONG)
def test_a_row_that_does_not_fit_is_found_by_measuring(
    tmp_path, monkeypatch, family, changes, name, identity
):
    row = replace(families.find_family(family), **changes)
    monkeypatch.setattr(families, "FAMILIES", (row, *families.FAMILIES))
    model = load(tmp_path, family)
    check_family(model, RESIDUAL)
    with raises(ModelError, "family-row-wrong", layer=0, sites=tuple(identity.split())):
        check_family(model, [name])


def test_only_what_the_wanted_sites_rest_on_is_compared(tmp_path, monkeypatch):
    row = replace(families.find_family("llama"), down_proj="up_proj")
    monkeypatch.setattr(families, "FAMILIES", (row, *families.FAMILIES))
    check_family(load(tmp_path, "llama"), ["attn_out", "z", "head_out", "attn_pattern", "q_rope"])
