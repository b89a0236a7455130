"""The same GGUF file through transformers' own reader: hidden states to 1e-5, tokens to the letter."""

import mlx.core as mx
import numpy as np
import pytest
from gguf_files import FAMILIES, NASTY, TRAINING, pre_tokenizers, write_gguf

from circuit.model.checkpoint.loading import load_model
from circuit.model.sites.sites import hidden_states
from circuit.values.sites import Site

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate", reason="transformers reads GGUF files with accelerate")
pytestmark = [pytest.mark.parity, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

# What transformers does not read from a file: it takes the defaults of the family instead.
UNREAD = {
    "qwen3": {"head_dim": 16},
    "gemma2": {
        "query_pre_attn_scalar": 8,
        "attn_logit_softcapping": 40.0,
        "final_logit_softcapping": 20.0,
    },
    "gemma3": {"query_pre_attn_scalar": 8},
}
TEXTS = (
    *NASTY,
    *TRAINING,
    "<|im_start|>user\nHi <|im_end|>\n",
    "<start_of_turn>user\nhi<end_of_turn>\n",
    "<bos>x<eos>",
)


def theirs(path, **unread):
    model = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32, attn_implementation="eager", **unread
    )
    return model.eval()


def largest_error(ours, reference, n_tokens):
    """Return the largest relative error of a block's output or of the logits, over random tokens."""
    ids = np.random.default_rng(0).integers(0, reference.config.vocab_size, (1, n_tokens))
    with torch.no_grad():
        out = reference(torch.tensor(ids), output_hidden_states=True)
    sites = [Site("resid_post", layer) for layer in range(ours.n_layers - 1)]
    found = hidden_states(ours, mx.array(ids), sites)
    pairs = [(np.array(found[site]), out.hidden_states[site.layer + 1].numpy()) for site in sites]
    pairs.append((np.array(ours.network(mx.array(ids))), out.logits.numpy()))
    return max(np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in pairs)


@pytest.mark.parametrize(
    "family", sorted(set(FAMILIES) - {"gemma"})
)  # transformers does not read Gemma 1
def test_states_of_each_family(tmp_path, family):
    whole = {"partial_rotary_factor": 1.0} if family == "phi3" else {}
    changes = {"phi3.rope.dimension_count": 8} if family == "phi3" else {}
    write_gguf(tmp_path / "m.gguf", family, changes=changes, **whole)
    ours = load_model(str(tmp_path / "m.gguf"))
    assert largest_error(ours, theirs(tmp_path / "m.gguf", **UNREAD.get(family, {})), 24) < 1e-5


@pytest.mark.parametrize("name", ["gpt-2", "llama-bpe", "qwen2"])
def test_tokens_of_each_split(tmp_path, name):
    write_gguf(tmp_path / "m.gguf", changes={"tokenizer.ggml.pre": name})
    ours = load_model(str(tmp_path / "m.gguf")).tokenizer
    reference = transformers.AutoTokenizer.from_pretrained(tmp_path, gguf_file="m.gguf")
    for text in TEXTS:
        assert ours.encode(text, add_special_tokens=False) == reference.encode(
            text, add_special_tokens=False
        ), text


@pytest.mark.real
def test_smollm2(smollm2):
    """transformers cuts its numbers off as GPT-2 does, the model's tokenizer.json digit by digit: that is set right here."""
    ours = load_model(str(smollm2))
    reference = transformers.AutoTokenizer.from_pretrained(smollm2.parent, gguf_file=smollm2.name)
    for text in TEXTS:
        if "  3" not in text and "²" not in text:
            assert ours.tokenizer.encode(text) == reference.encode(text), text
    reference.backend_tokenizer.pre_tokenizer = pre_tokenizers("smollm")
    for text in TEXTS:
        assert ours.tokenizer.encode(text) == reference.encode(text), text
        assert ours.tokenizer.decode(reference.encode(text)) == reference.decode(
            reference.encode(text)
        )
    talk = [{"role": "system", "content": "Be  nice.\n"}, {"role": "user", "content": " hi 12 "}]
    for said in (talk, talk[1:]):
        rendered = reference.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
        assert (
            ours.tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
            == rendered
        )
    assert largest_error(ours, theirs(smollm2), 60) < 1e-5


@pytest.mark.real
def test_gemma_3(gemma3):
    """Longer than its window of 512 tokens."""
    ours = load_model(str(gemma3))
    reference = transformers.AutoTokenizer.from_pretrained(gemma3.parent, gguf_file=gemma3.name)
    for text in TEXTS:
        for special in (True, False):
            ids = reference.encode(text, add_special_tokens=special)
            assert ours.tokenizer.encode(text, add_special_tokens=special) == ids, text
        assert ours.tokenizer.decode(ids) == reference.decode(ids)
    assert largest_error(ours, theirs(gemma3), 530) < 1e-5
