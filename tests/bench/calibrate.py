"""Does calibration land on its target? A table over models, formats, layers and random directions.

    python tests/bench/calibrate.py
    python tests/bench/calibrate.py --directions 8

Every row is one direction: c* and KL for + and for −, the evaluations that they took, and whether each is within 5 % of the target.
`tiny` is calibrated to 1 nat; random checkpoints, whose head hardly prefers any token, to 0.05.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from checkpoints import unit_vector, write_checkpoint

from circuit.artifacts.steering_files.files import Direction
from circuit.stages.options import ModelOptions
from circuit.stages.steering.intervention import Intervention
from circuit.stages.steering.neutral import neutral_prompts
from circuit.stages.steering.rollouts import prepared
from circuit.stages.steering.strength import calibrate
from circuit.values.prompt_format import RAW, PromptFormat

FAMILIES = ("llama", "qwen2", "qwen3")
LINE = "{:<16} {:>5} {:>4}  {:>8} {:>6} {:>3}  {:>8} {:>6} {:>3}  {}"


def rows(name, model, form, target, layers, directions):
    """Print one row per direction; return for each side whether it landed, and how many steps it took."""
    neutral = prepared(model, neutral_prompts(model, form))
    found = []
    for layer in layers:
        for seed in range(directions):
            direction = Direction("r", "resid_post", layer, unit_vector(model.d_model, seed), 1.0)
            result = calibrate(model, Intervention.of(direction), neutral, target=target)
            cells = [
                cell
                for side in result.sides.values()
                for cell in (
                    f"{side.coefficient:.4f}",
                    f"{side.kl / target:.3f}",
                    len(side.history),
                )
            ]
            print(LINE.format(name, layer, seed, *cells, result.status), flush=True)
            found += [
                (side.status == "converged", len(side.history)) for side in result.sides.values()
            ]
    return found


def main():
    """Print the table and its sum."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directions", type=int, default=3)
    directions = parser.parse_args().directions
    print(LINE.format("model", "layer", "dir", "+c", "KL/X", "n", "-c", "KL/X", "n", "status"))
    tiny = ModelOptions(model="tiny").load()
    found = rows("tiny, raw", tiny, RAW, 1.0, (0, 3, 5), directions)
    found += rows("tiny, chat", tiny, PromptFormat(chat=True), 1.0, (0, 3, 5), directions)
    for family in FAMILIES:
        with tempfile.TemporaryDirectory() as folder:
            model = ModelOptions(str(write_checkpoint(Path(folder) / "m", family))).load()
            found += rows(f"random {family}", model, RAW, 0.05, (0, 2), directions)
    landed = [n for ok, n in found if ok]
    print(
        f"\n{len(landed)} of {len(found)} sides within 5 %, in {np.mean(landed):.1f} evaluations (at most {max(landed)})"
    )


if __name__ == "__main__":
    main()
