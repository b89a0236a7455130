"""Pictures of attention: the patterns of chosen heads, or the scores of all, of which each is a quantity with a scale of its own."""

from pathlib import Path

import numpy as np

from circuit.introspect.output.pictures import shown
from circuit.introspect.questions.attention import AttentionResult
from circuit.methods.geometry.head_patterns import SCORES
from circuit.plots.cells import Cells, Scale, cells
from circuit.stages.figures.picture_files import write_picture


def draw_attention(found: AttentionResult, out: Path, *, force: bool = False) -> None:
    """Draw the patterns of the chosen heads for the first prompt, or the scores of all heads where none was chosen."""
    if found.patterns[0]:
        tokens = [shown(token) for token in found.tokens[0]]
        drawings = [
            Cells(
                f"Layer {p.layer}, head {p.head}",
                np.array(p.weights),
                tokens,
                tokens,
                xlabel="Key",
                ylabel="Query",
                upwards=False,
            )
            for p in found.patterns[0]
        ]
        n = len(found.prompts)
        title = f"Prompt 1 of {n}" if n > 1 else ""
        scale = Scale("attention", signed=False)
        figure = cells(drawings, scale, across=min(3, len(drawings)), title=title)
    else:
        drawings = [_scores(found, name) for name in SCORES if name in found.uniform]
        figure = cells(drawings, Scale("", signed=False, least=0, own=True), across=3)
    write_picture(out, figure, force=force)


def _scores(found: AttentionResult, name: str) -> Cells:
    own = [score for score in found.scores if score.score == name]
    layers = sorted({score.layer for score in own})
    matrix = np.full((len(layers), 1 + max(score.head for score in own)), np.nan)
    for score in own:
        matrix[layers.index(score.layer), score.head] = score.value
    heads = [str(h) for h in range(matrix.shape[1])]
    title = f"{name} / largest" if name == "entropy" else name
    return Cells(title, matrix, [str(layer) for layer in layers], heads, xlabel="Head")
