"""A model of which every part is known: one head carries whether a word was read, one MLP says so, nothing else does anything."""

import json

import mlx.core as mx
import numpy as np
import pytest
from checkpoints import VOCABULARY, write_checkpoint

HEAD, MLP = (
    (0, 1),
    1,
)  # head 1 of block 0 moves the sign to the last token, the MLP of block 1 turns it into an answer


@pytest.fixture(scope="session")
def chain_folder(tmp_path_factory):
    """After a text with ``a`` it says ``Q``, after one with ``b`` it does not."""
    folder = write_checkpoint(tmp_path_factory.mktemp("chain"), identity_blocks=True)
    weights = mx.load(str(folder / "model.safetensors"))
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    rng = np.random.default_rng(0)
    embedding = 0.3 * rng.standard_normal((VOCABULARY, 32)).astype(np.float32)
    embedding[:, :3] = 0
    embedding[vocabulary["b"]] = embedding[vocabulary["a"]]
    embedding[vocabulary["a"], 0], embedding[vocabulary["b"], 0] = 3.0, -3.0
    head = 0.1 * rng.standard_normal((VOCABULARY, 32)).astype(np.float32)
    head[:, :3] = 0
    head[vocabulary["Q"], 1], head[vocabulary["Z"], 1] = 3.0, -3.0
    q, v, o = (np.zeros(s, np.float32) for s in ((32, 32), (16, 32), (32, 32)))
    v[0, 0] = 1.0  # of key-value head 0, which answers heads 0 and 1
    o[2, 8 * HEAD[1]] = 4.0
    gate, up, down = (np.zeros(s, np.float32) for s in ((64, 32), (64, 32), (32, 64)))
    gate[5, 2] = up[5, 2] = 2.0
    down[1, 5] = 1.0
    attention, mlp = f"model.layers.{HEAD[0]}.self_attn", f"model.layers.{MLP}.mlp"
    new = {
        "model.embed_tokens.weight": embedding,
        "lm_head.weight": head,
        f"{attention}.q_proj.weight": q,  # every token attends to all before it alike
        f"{attention}.v_proj.weight": v,
        f"{attention}.o_proj.weight": o,
        f"{mlp}.gate_proj.weight": gate,
        f"{mlp}.up_proj.weight": up,
        f"{mlp}.down_proj.weight": down,
    }
    weights |= {name: mx.array(value) for name, value in new.items()}
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    return folder


@pytest.fixture(scope="session")
def chain(chain_folder):
    """The loaded checkpoint."""
    from circuit.model.checkpoint.loading import load_model

    return load_model(str(chain_folder))
