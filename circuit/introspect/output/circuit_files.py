"""A found circuit as a picture and as a DOT file.

In the picture every node but the embedding is a cell, coloured by what leaving it out costs (measured where it was verified, else estimated: a
dot), and those that were found have a frame. In the DOT file an estimate is marked "est.", and the found nodes stand in the order of the residual stream; its arrows are that order: edges
were not searched.
"""

from itertools import pairwise
from pathlib import Path

import numpy as np

from circuit.artifacts.files.atomic import write_file
from circuit.introspect.questions.circuit import Found, NodeEffect
from circuit.plots.cells import Cells, Scale, cells
from circuit.stages.figures.picture_files import write_picture


def _effect(node: NodeEffect) -> float:
    return node.estimate if node.effect is None else node.effect


def _written(node: NodeEffect) -> str:
    return f"{_effect(node):+.2f}" + (" est." if node.effect is None else "")


def draw_circuit(found: Found, out: Path, *, force: bool = False) -> None:
    """Draw all heads and MLPs by layer, the found ones framed."""
    inside = [node for node in found.nodes if node.kind != "embed"]
    n_heads = 1 + max((node.index for node in inside if node.kind == "head"), default=-1)
    layers = sorted({node.layer for node in inside})
    matrix = np.full((len(layers), n_heads + 1), np.nan)
    marked, estimated = [], []
    for node in inside:
        at = (layers.index(node.layer), n_heads if node.kind == "mlp" else node.index)
        matrix[at] = _effect(node)
        if node.effect is None:
            estimated.append(at)
        if node.is_found:
            marked.append(at)
    columns = [*(f"H{h}" for h in range(n_heads)), "MLP"]
    title = f"faithfulness {found.faithfulness[0]:.2f}, {len(found.circuit)} of {len(found.nodes)} nodes"
    if any(node.kind == "embed" and node.is_found for node in found.nodes):
        title += "\n(one is the embedding, which has no cell)"
    rows = [str(k) for k in layers]
    drawing = Cells(title, matrix, rows, columns, marked=marked, dotted=estimated)
    label = "effect of leaving it out" + (" (dot: estimated)" if estimated else "")
    figure = cells([drawing], Scale(label), across=1)
    write_picture(out, figure, force=force)


def write_dot(found: Found, out: Path, *, force: bool = False) -> None:
    """Write the found nodes as a directed graph."""
    chosen = sorted(
        (node for node in found.nodes if node.is_found),
        key=lambda node: (node.layer, node.kind == "mlp", node.index),
    )
    levels: dict[tuple[int, str], list[NodeEffect]] = {}
    for node in chosen:
        levels.setdefault((node.layer, node.kind), []).append(node)
    lines = [
        "digraph circuit {",
        "  // arrows are the order of the residual stream, not measured edges",
    ]
    lines += ["  rankdir=BT;", "  node [shape=box, fontname=Helvetica];"]
    for nodes in levels.values():
        lines += [f'  "{n.name}" [label="{n.name}\\n{_written(n)}"];' for n in nodes]
        lines.append("  {rank=same; " + " ".join(f'"{n.name}";' for n in nodes) + "}")
    lines.append('  "logits" [shape=ellipse];')
    steps = [[n.name for n in nodes] for nodes in levels.values()] + [["logits"]]
    lines += [f'  "{a}" -> "{b}";' for one, two in pairwise(steps) for a in one for b in two]
    write_file(out, ("\n".join([*lines, "}"]) + "\n").encode(), force=force)
