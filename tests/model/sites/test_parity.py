"""Every site of every family equals what transformers computes, in float32."""

import sys
import warnings
from contextlib import ExitStack, contextmanager

import mlx.core as mx
import numpy as np
import pytest

from circuit.model.checkpoint.families import find_family
from circuit.model.forward.capture import capture, plan
from circuit.model.forward.tail import tail_logits
from circuit.model.prompts.tokens import EncodedPrompt
from circuit.model.sites.sites import available_sites, hidden_states, is_linear, recording, sites_at
from circuit.model.sites.table import SITES
from circuit.values.sites import EMBED, Site

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
torch_pairs = pytest.importorskip("torch_pairs")
FAMILIES, make_pair = torch_pairs.FAMILIES, torch_pairs.make_pair
pytestmark = [pytest.mark.parity, pytest.mark.slow]

NO_GATE = {"gate_proj"}
NO_MIDDLE = {"resid_mid"}
EXPERTS = {"gate_proj", "up_proj", "down_proj", "mlp_act"}
MISSING = {
    "cohere": NO_MIDDLE,
    "cohere2": NO_MIDDLE,
    "gpt2": NO_GATE,
    "gpt_neox": NO_GATE | NO_MIDDLE,
    "granitemoe": EXPERTS,
    "mixtral": EXPERTS,
    "nemotron": NO_GATE,
    "olmoe": EXPERTS,
    "phi": NO_GATE | NO_MIDDLE,
    "qwen2_moe": EXPERTS,
    "qwen3_moe": EXPERTS,
}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """family -> (transformers model, ours), made on first use."""
    made = {}

    def get(family):
        if family not in made:
            made[family] = make_pair(family, tmp_path_factory.mktemp(family))
        return made[family]

    return get


def prompts():
    rng = np.random.default_rng(0)
    # Longer than Gemma's window of 16, and ragged.
    return [rng.integers(1, 250, size=n).tolist() for n in (5, 40, 23, 17, 64)]


@pytest.mark.parametrize("family", FAMILIES)
def test_hidden_states_and_logits_equal_transformers(family, pairs):
    theirs, ours = pairs(family)
    ids = prompts()
    sites = [EMBED] + [Site("resid_post", k) for k in range(ours.n_layers)]
    encoded = [EncodedPrompt(np.array(p, np.int32)) for p in ids]
    values = {}
    for batch in capture(ours, plan(ours, encoded, sites=sites)):
        for key, array in batch.values.items():
            values.setdefault(key, np.zeros((len(ids), ours.d_model), np.float32))[batch.rows] = (
                array
            )
    for row, prompt in enumerate(ids):
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            out = theirs(torch.tensor([prompt]), output_hidden_states=True)
        # The last entry of hidden_states is after the final norm: compared through the logits.
        for layer, expected in enumerate(out.hidden_states[:-1]):
            site = sites[layer]
            assert_close(values[site, "last"][row], expected[0, -1].numpy(), f"{site} row {row}")
        last = mx.array(values[sites[-1], "last"][row : row + 1])
        assert_close(np.array(tail_logits(ours, last))[0], out.logits[0, -1].numpy(), "logits")


def head_of(theirs, hidden):
    """Return what transformers' own norm and head make of a residual, scales and soft-cap included."""
    network = theirs.transformer if hasattr(theirs, "transformer") else theirs.model
    norm = network.ln_f if hasattr(network, "ln_f") else network.norm
    logits = theirs.lm_head(norm(hidden))
    config = theirs.config
    logits = logits * getattr(config, "logit_scale", 1.0)
    logits = logits / getattr(config, "logits_scaling", 1.0)
    cap = getattr(config, "final_logit_softcapping", None)
    return logits if cap is None else cap * torch.tanh(logits / cap)


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma2", "gpt2", "cohere", "granite"])
def test_the_logit_lens_is_transformers_norm_and_head_at_every_layer(family, pairs):
    theirs, ours = pairs(family)
    sites = [Site("resid_post", k) for k in range(ours.n_layers - 1)]
    prompt = prompts()[1]
    states = hidden_states(ours, mx.array([prompt]), sites)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hidden = theirs(torch.tensor([prompt]), output_hidden_states=True).hidden_states
        for k, site in enumerate(sites):
            expected = head_of(theirs, hidden[k + 1][0, -1:])[0].numpy()
            assert_close(np.array(tail_logits(ours, states[site][0, -1:]))[0], expected, f"{site}")


def assert_close(ours, theirs, what):
    error = np.abs(ours - theirs).max() / np.abs(theirs).max()
    assert error < 1e-5, f"{what}: relative error {error:.1e}"


# What transformers calls a module, and the sites that are its output and its input. Fused maps are
# cut as their own code cuts them.
ATTENTION = {
    "q_proj": ("q_proj", None),
    "k_proj": ("k_proj", None),
    "v_proj": ("v_proj", None),
    "qkv_proj": ("qkv", None),
    "c_attn": ("qkv", None),
    "query_key_value": ("qkv by head", None),
    "o_proj": ("o_proj", "z"),
    "dense": ("o_proj", "z"),
    "c_proj": ("o_proj", "z"),
}
MLP = {
    "gate_proj": ("gate_proj", None),
    "up_proj": ("up_proj", None),
    "gate_up_proj": ("gate_up", None),
    "c_fc": ("up_proj", None),
    "fc1": ("up_proj", None),
    "dense_h_to_4h": ("up_proj", None),
    "down_proj": ("down_proj", "mlp_act"),
    "c_proj": ("down_proj", "mlp_act"),
    "fc2": ("down_proj", "mlp_act"),
    "dense_4h_to_h": ("down_proj", "mlp_act"),
}


class Theirs:
    """What transformers' own modules take and return inside one block."""

    def __init__(self, model, layer, middle):
        backbone = model.base_model
        block = (backbone.h if hasattr(backbone, "h") else backbone.layers)[layer]
        names = ("self_attn", "attn", "attention")
        self.attention = next(getattr(block, name) for name in names if hasattr(block, name))
        self.mlp = getattr(block, "mlp", None) or block.block_sparse_moe
        self.block, self.middle = block, middle and getattr(block, middle)
        self.seen = {}

    @contextmanager
    def watching(self):
        with ExitStack() as stack:
            for owner, names in ((self.attention, ATTENTION), (self.mlp, MLP)):
                for name, places in names.items():
                    module = getattr(owner, name, None)
                    if isinstance(module, torch.nn.Module):
                        stack.callback(module.register_forward_hook(self._hook(*places)).remove)
            hook = self._hook("resid_post", "resid_pre")
            stack.callback(self.block.register_forward_hook(hook).remove)
            if self.middle is not None:
                hook = self.middle.register_forward_hook(self._hook("norm", "resid_mid"))
                stack.callback(hook.remove)
            file = sys.modules[type(self.attention).__module__]
            eager = file.eager_attention_forward
            file.eager_attention_forward = self._attend(eager)
            stack.callback(setattr, file, "eager_attention_forward", eager)
            yield

    def _hook(self, output, entered):
        def hook(module, args, result):
            result = result[0] if isinstance(result, tuple) else result
            self.seen[output] = result[0]
            if entered is not None:
                self.seen[entered] = args[0][0]
            if entered == "z":
                self.o_proj = module

        return hook

    def _attend(self, eager):
        def attend(module, query, key, value, *args, **kwargs):
            result = eager(module, query, key, value, *args, **kwargs)
            if module is self.attention:
                heads = [part[0].transpose(0, 1) for part in (query, key, value)]
                self.seen["q_rope"], self.seen["k_rope"] = (part.flatten(1) for part in heads[:2])
                self.seen["attn_pattern"] = result[1][0].transpose(0, 1)
                self.widths = [part[0].numel() for part in heads]
                self.n_heads = query.shape[1]
            return result

        return attend

    def sites(self):
        """Return the value of every site inside the block, (T, width)."""
        seen = dict(self.seen)
        names = ("q_proj", "k_proj", "v_proj")
        if "qkv" in seen:
            cut = seen.pop("qkv").split(self.widths, dim=-1)
            seen |= dict(zip(names, cut, strict=True))
        if "qkv by head" in seen:
            cut = seen.pop("qkv by head").unflatten(-1, (self.n_heads, -1)).chunk(3, dim=-1)
            seen |= dict(zip(names, (part.flatten(1) for part in cut), strict=True))
        if "gate_up" in seen:
            seen["gate_proj"], seen["up_proj"] = seen.pop("gate_up").chunk(2, dim=-1)
        # A Conv1D of GPT-2 keeps its weight the other way round.
        weight = self.o_proj.weight if hasattr(self.o_proj, "nf") else self.o_proj.weight.T
        by_head = seen["z"].unflatten(-1, (self.n_heads, -1))
        weights = weight.unflatten(0, (self.n_heads, -1))
        seen["head_out"] = torch.einsum("thd,hdm->thm", by_head, weights).flatten(1)
        if "resid_mid" in seen:
            seen["attn_out"] = seen["resid_mid"] - seen["resid_pre"]
            seen["mlp_out"] = seen["resid_post"] - seen["resid_mid"]
        return {name: value.detach().numpy() for name, value in seen.items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_site_of_a_block_equals_transformers(family, pairs):
    theirs, ours = pairs(family)
    names = available_sites(ours)
    assert set(SITES) - set(names) == MISSING.get(family, set())
    middle = find_family(family).mid_input if "resid_mid" in names else None
    for layer in range(ours.n_layers):
        watched = Theirs(theirs, layer, middle)
        for ids in prompts()[:2]:
            with torch.no_grad(), watched.watching():
                theirs(torch.tensor([ids]))
            expected = watched.sites()
            seen = hidden_states(ours, mx.array([ids]), sites_at(names, [layer]))
            seen = {site.name: np.array(values)[0] for site, values in seen.items()}
            if middle is None:  # attention and MLP side by side: only their sum shows
                both = seen.pop("attn_out") + seen.pop("mlp_out")
                added = expected["resid_post"] - expected["resid_pre"]
                assert_close(both, added, f"block {layer}")
            for name, values in seen.items():
                if name != "embed":
                    what = f"{name}.{layer} of {len(ids)} tokens"
                    assert_close(values, expected[name], what)


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_gathered_from_a_padded_batch_are_those_of_the_prompts_alone(family, pairs):
    ours = pairs(family)[1]
    ids = prompts()[:3]
    longest = max(map(len, ids))
    rows = mx.array([[0, len(p) - 1, len(p) // 2] for p in ids])
    sites = sites_at(available_sites(ours), range(ours.n_layers))
    padded = mx.array([p + [0] * (longest - len(p)) for p in ids])
    gathered = {}

    def record(site, read):
        # capture widens to float32 while it gathers.
        take = lambda h: mx.take_along_axis(h, rows[:, :, None], axis=1).astype(mx.float32)
        gathered[site] = np.array(read(take))

    with recording(ours, sites, record):
        ours.network(padded)
    for number, prompt in enumerate(ids):
        alone = hidden_states(ours, mx.array([prompt]), sites)
        for site, values in alone.items():
            expected = np.array(values)[0][np.array(rows[number])]
            found = gathered[site][number]
            if not is_linear(site):
                assert not found[..., len(prompt) :].any(), "a token attends to a pad"
                found = found[..., : len(prompt)]
            assert_close(found, expected, f"{site} of prompt {number}")
