"""Steering equals a forward hook that adds the same vector in PyTorch: logits, and greedy text."""

import warnings

import mlx.core as mx
import numpy as np
import pytest
from checkpoints import unit_vector

from circuit.model.forward.generate import generate
from circuit.model.interventions.steering import Steering, steered
from circuit.model.prompts.tokens import EncodedPrompt
from circuit.values.sampling import Sampling
from circuit.values.sites import Site

torch = pytest.importorskip("torch")
torch_pairs = pytest.importorskip("torch_pairs")
pytestmark = [pytest.mark.parity, pytest.mark.slow]
LAYER, N = 1, 8


@pytest.fixture(scope="module", params=["llama", "qwen2", "gemma2", "gpt2"])
def pair(request, tmp_path_factory):
    return torch_pairs.make_pair(request.param, tmp_path_factory.mktemp(request.param))


def blocks(theirs):
    return theirs.transformer.h if hasattr(theirs, "transformer") else theirs.model.layers


def hook(v, c, unit, operator):
    """Written out in PyTorch, by the formulas and not by our code."""
    v = torch.tensor(v)

    def change(_module, _inputs, output):
        h = output[0] if isinstance(output, tuple) else output
        length = h.norm(dim=-1, keepdim=True) if unit is None else unit
        along = (h @ v).unsqueeze(-1)
        moved = h + c * length * v if operator == "add" else h - c * along * v
        return (moved, *output[1:]) if isinstance(output, tuple) else moved

    return change


@pytest.mark.parametrize(
    ("c", "unit", "operator"),
    [(0.7, None, "add"), (-0.4, None, "add"), (1.5, 2.0, "add"), (1.0, None, "ablate")],
)
def test_logits_and_greedy_text(pair, c, unit, operator):
    theirs, ours = pair
    v = unit_vector(ours.d_model)
    rng = np.random.default_rng(1)
    prompts = [rng.integers(1, 250, size=n).tolist() for n in (5, 17, 11)]
    encoded = [EncodedPrompt(np.array(p, np.int32)) for p in prompts]
    handle = blocks(theirs)[LAYER].register_forward_hook(hook(v, c, unit, operator))
    with steered(ours, [Steering(Site("resid_post", LAYER), v, c, unit=unit, operator=operator)]):
        logits = [np.array(ours.network(mx.array([p])))[0] for p in prompts]
        written = [one.ids for one in generate(ours, encoded, Sampling(N))]
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for prompt, own, text in zip(prompts, logits, written, strict=True):
                expected = theirs(torch.tensor([prompt])).logits[0].numpy()
                assert np.abs(own - expected).max() / np.abs(expected).max() < 1e-5
                assert text == greedy(theirs, prompt)[: len(text)]
                assert len(text) == N or greedy(theirs, prompt)[len(text)] in stops(ours)
    finally:
        handle.remove()


def greedy(theirs, ids):
    """Token by token, without a cache."""
    start = len(ids)
    for _ in range(N):
        ids = [*ids, int(theirs(torch.tensor([ids])).logits[0, -1].argmax())]
    return ids[start:]


def stops(ours):
    return set(ours.tokenizer.eos_token_ids)
