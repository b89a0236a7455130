"""A found circuit as a picture and as a DOT file."""

from itertools import pairwise
from pathlib import Path

import numpy as np

from circuit.artifacts.files.atomic import write_file
from circuit.introspect.circuits.faithfulness import CircuitResult, NodeEffect
from circuit.stages.figures.picture_files import write_picture


def _effect(node: NodeEffect) -> float:
    return node.estimate if node.effect is None else node.effect


def draw_circuit(result: CircuitResult, path: Path, *, force: bool = False) -> None:
    """Draw all heads and MLPs by layer: the set is framed, a dot marks estimates.

    A cell has the colour of what leaving the node out costs.
    """
    from circuit.plots.cells import Cells, Scale, cells

    inside = [node for node in result.nodes if node.kind != "embed"]
    n_heads = 1 + max((node.index for node in inside if node.kind == "head"), default=-1)
    layers = sorted({node.layer for node in inside})
    matrix = np.full((len(layers), n_heads + 1), np.nan)
    at = {
        node.name: (layers.index(node.layer), n_heads if node.kind == "mlp" else node.index)
        for node in inside
    }
    for node in inside:
        matrix[at[node.name]] = _effect(node)
    estimated = [at[node.name] for node in inside if node.effect is None]
    n, value = len(result.circuit), result.faithfulness[0]
    title = f"faithfulness {value:.2f}, {n} of {len(result.nodes)} nodes"
    if any(node.kind == "embed" and node.is_found for node in result.nodes):
        title += "\n(one is the embedding, which has no cell)"
    drawing = Cells(
        title,
        matrix,
        [str(k) for k in layers],
        [*(f"H{h}" for h in range(n_heads)), "MLP"],
        marked=[at[node.name] for node in inside if node.is_found],
        dotted=estimated,
    )
    label = "effect of leaving it out" + (" (dot: estimated)" if estimated else "")
    write_picture(path, cells([drawing], Scale(label), across=1), force=force)


def write_dot(result: CircuitResult, path: Path, *, force: bool = False) -> None:
    """Write the set as a directed graph in the order of the residual stream."""
    levels: dict[tuple[int, bool], list[NodeEffect]] = {}
    found = [node for node in result.nodes if node.is_found]
    for node in sorted(found, key=lambda node: (node.layer, node.kind == "mlp", node.index)):
        levels.setdefault((node.layer, node.kind == "mlp"), []).append(node)
    lines = [
        "digraph circuit {",
        "  // arrows are the order of the residual stream, not measured edges",
        "  rankdir=BT;",
        "  node [shape=box, fontname=Helvetica];",
    ]
    for nodes in levels.values():
        for n in nodes:
            estimated = " est." if n.effect is None else ""
            lines.append(f'  "{n.name}" [label="{n.name}\\n{_effect(n):+.2f}{estimated}"];')
        lines.append("  {rank=same; " + " ".join(f'"{n.name}";' for n in nodes) + "}")
    lines.append('  "logits" [shape=ellipse];')
    steps = [[n.name for n in nodes] for nodes in levels.values()] + [["logits"]]
    lines += [f'  "{a}" -> "{b}";' for one, two in pairwise(steps) for a in one for b in two]
    write_file(path, ("\n".join([*lines, "}"]) + "\n").encode(), force=force)
