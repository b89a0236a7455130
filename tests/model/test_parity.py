"""Hidden states and logits equal those of transformers, in float32, with padded batches."""

import warnings

import mlx.core as mx
import numpy as np
import pytest
from checkpoints import VOCABULARY, write_tokenizer

from circuit.model.capture import capture, plan
from circuit.model.loading import load_model
from circuit.model.sites import Site
from circuit.model.tail import tail_logits
from circuit.model.tokens import Encoded

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = [pytest.mark.parity, pytest.mark.slow]

SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": None,
}
ROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 5000.0}}
GEMMA = {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 16}
FAMILIES = {
    "llama": ROPE,
    "mistral": {**ROPE, "head_dim": 16, "sliding_window": None},
    "qwen2": ROPE,
    "qwen3": {**ROPE, "head_dim": 16},
    "gemma2": {**GEMMA, **ROPE, "sliding_window": 256},
    "gemma3_text": {**GEMMA, "sliding_window_pattern": 2},
    "phi3": {**ROPE, "rope_parameters": {**ROPE["rope_parameters"], "partial_rotary_factor": 1.0}},
    "gpt2": {"n_embd": 64, "n_layer": 4, "n_head": 4, "n_positions": 256},
    "olmo2": ROPE,
    "mixtral": {**ROPE, "num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen3_moe": {
        **ROPE,
        "head_dim": 16,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 48,
        "norm_topk_prob": True,
    },
    "granite": {**ROPE, "residual_multiplier": 0.5, "logits_scaling": 2.0},
    "cohere": {**ROPE, "logit_scale": 0.25},
    "phi": {**ROPE, "num_key_value_heads": 4},
    "smollm3": ROPE,
    "glm4": {**ROPE, "head_dim": 16, "partial_rotary_factor": 0.5},
    "stablelm": {**ROPE, "num_key_value_heads": 4},
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


def make_pair(family, folder):
    torch.manual_seed(0)
    shape = SHAPE if family != "gpt2" else {k: v for k, v in SHAPE.items() if "hidden" not in k}
    config = transformers.AutoConfig.for_model(family, **{**shape, **FAMILIES[family]})
    config._attn_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.08 if "embed" not in name and "wte" not in name else 0.5)
            elif name.endswith("weight"):
                parameter.add_(torch.randn_like(parameter) * 0.1)
    # The hub's gpt2 holds the bare network; mlx-lm reads that layout and no other.
    (model.transformer if family == "gpt2" else model).save_pretrained(folder)
    write_tokenizer(folder)
    return model, load_model(str(folder))


def prompts():
    rng = np.random.default_rng(0)
    # Longer than Gemma's window of 16, and ragged.
    return [rng.integers(1, 250, size=n).tolist() for n in (5, 40, 23, 17, 64)]


@pytest.mark.parametrize("family", FAMILIES)
def test_hidden_states_and_logits_equal_transformers(family, pairs):
    theirs, ours = pairs(family)
    ids = prompts()
    sites = [Site("embed")] + [Site("resid_post", k) for k in range(ours.n_layers)]
    encoded = [Encoded(np.array(p, np.int32)) for p in ids]
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


def assert_close(ours, theirs, what):
    error = np.abs(ours - theirs).max() / np.abs(theirs).max()
    assert error < 1e-5, f"{what}: relative error {error:.1e}"
