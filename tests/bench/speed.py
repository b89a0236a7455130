"""Matrix products, steered generation, and the start of the program.

python tests/bench/speed.py
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from common import checkpoint, make_prompts, quietly, report

from circuit.model.checkpoint.loading import LoadedModel, load_model
from circuit.model.forward.generate import generate
from circuit.model.forward.scopes import parse_scope
from circuit.model.interventions.steering import Steering, is_scoped, steered
from circuit.model.machine import runtime
from circuit.values.sampling import Sampling
from circuit.values.sites import Site

TOKENS = 32

SHAPE = {
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "head_dim": 32,
    "vocab_size": 32000,
}


def main() -> None:
    ours, numpys = runtime.matmul_speed()
    print(f"float32 product 2048^3: MLX {ours:.0f} GFLOP/s, numpy {numpys:.0f}")
    with tempfile.TemporaryDirectory() as folder:
        model = load_model(str(checkpoint(Path(folder) / "bench", SHAPE)))
        steering(model)
    command = [sys.executable, "-m", "circuit", "--help"]
    bare = [sys.executable, "-c", "import typer"]
    report("circuit --help / python -c 'import typer'", quietly(command), quietly(bare))


def steering(model: LoadedModel) -> None:
    """Steered decoding beside mlx-lm's own call, unsteered; and a batch of 32 beside one prompt at a time."""
    from mlx_lm.generate import batch_generate

    prompts = make_prompts(32)
    ids = [prompt.ids.tolist() for prompt in prompts]
    vector = np.zeros(model.d_model, np.float32)
    vector[0] = 1

    def run(coefficient: float, batch: int, scope: str = "all") -> int:
        steerings = [Steering(Site("resid_post", 3), vector, coefficient, scope=parse_scope(scope))]
        with steered(model, steerings):
            written = generate(
                model, prompts[:batch], Sampling(TOKENS), ragged=True, in_step=is_scoped(steerings)
            )
        return sum(len(one.ids) for one in written)

    def stock() -> None:
        batch_generate(
            model.network,
            model.tokenizer,
            ids,
            max_tokens=TOKENS,
            completion_batch_size=32,
            prefill_batch_size=32,
        )

    report("steered decoding, batch of 32 / mlx-lm's batch_generate", lambda: run(0.1, 32), stock)
    report("the same, generated tokens alone", lambda: run(0.1, 32, "generated"), stock)
    tokens = run(0.1, 1) / run(0.1, 32)
    report(
        "a token in a batch of 32 / alone", lambda: run(0.1, 32), lambda: run(0.1, 1), scale=tokens
    )


if __name__ == "__main__":
    main()
