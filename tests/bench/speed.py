"""Matrix products, steered generation, and the start of the program.

python tests/bench/speed.py
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from common import checkpoint, make_prompts, quietly, report

from circuit.model import runtime
from circuit.model.generate import generate
from circuit.model.intervene import Steering, steered
from circuit.model.loading import LoadedModel, load_model

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
    """Generate with a direction added, and with coefficient 0."""
    prompts = make_prompts(32)
    vector = np.zeros(model.d_model, np.float32)
    vector[0] = 1

    def run(coefficient: float) -> None:
        with steered(model, [Steering(3, vector, coefficient)]):
            generate(model, prompts, max_tokens=32)

    report("steered / unsteered generation", lambda: run(0.1), lambda: run(0.0))


if __name__ == "__main__":
    main()
