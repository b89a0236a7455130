"""Spellings of a site: circuit's own name, TransformerLens's, or the path of a module.

TransformerLens's ``hook_pre`` is what the activation function reads: the gate of a gated MLP, whose
other branch is ``hook_pre_linear``, and the up projection of a plain one. Its ``hook_q`` is taken
before queries are normalised, as ``q_proj`` is, and its ``hook_attn_out`` after a norm that follows
attention, as ``attn_out`` is. Names are those of a model loaded without weight processing.

A path names what a module returns. Only what follows the number of the block counts, so the path
may be that of the transformers class: ``transformer.h.3.attn``, ``model.layers.3.mlp.down_proj``.
"""

import re
from collections.abc import Iterator
from difflib import get_close_matches

from circuit.errors import ModelError, UsageError
from circuit.model.checkpoint.families import find_family
from circuit.model.checkpoint.loading import LoadedModel
from circuit.model.sites.table import SITES
from circuit.model.sites.tap_points import tap_point

_LENS = {entry.lens: entry.name for entry in SITES.values() if entry.lens is not None}
_PRE = "mlp.hook_pre"
_OWN = re.compile(r"(?P<name>[a-z_]+)(?:\.(?P<layer>\d+))?")
_BLOCK = re.compile(r"blocks\.(?P<layer>\d+)\.(?P<name>[a-z_.]+)")
_PATH = re.compile(r"(?:\w+\.)*(?:layers|h|blocks)\.(?P<layer>\d+)(?:\.(?P<part>[\w.]+))?")


def name_and_layer(model: LoadedModel, spelling: str) -> tuple[str, int | None]:
    """Return the site's name and the layer, None when the spelling names no layer.

    Raises ``UsageError`` with the nearest spelling that this model knows.
    """
    if (own := _OWN.fullmatch(spelling)) and own["name"] in SITES:
        return own["name"], None if own["layer"] is None else int(own["layer"])
    block = _BLOCK.fullmatch(spelling)
    if name := _lens(model, block["name"] if block else spelling):
        return name, int(block["layer"]) if block else None
    path = _PATH.fullmatch(spelling)
    if path and int(path["layer"]) >= model.n_layers:
        return "resid_post", int(path["layer"])  # out of range, which parse_sites says
    if path and (name := _returned_by(model, int(path["layer"]), path["part"] or "")):
        return name, int(path["layer"])
    raise _unknown(model, spelling, int(path["layer"]) if path else 0)


def lens_name(model: LoadedModel, name: str) -> str | None:
    """Return TransformerLens's name for a site of this model, below its block, or None."""
    if name == "up_proj" and not _has_gate(model):
        return _PRE
    known = SITES[name].lens
    return None if known in _lacks(model) else known


def _lens(model: LoadedModel, name: str) -> str | None:
    if name in (lacks := _lacks(model)):
        raise ModelError(
            "site-missing",
            f"family `{model.family}` has no `{name}`: {lacks[name]}",
            hint="use embed, the sum of both",
            site=name,
            family=model.family,
        )
    if name == _PRE and not _has_gate(model):
        return "up_proj"
    return _LENS.get(name)


def _lacks(model: LoadedModel) -> dict[str, str]:
    row = find_family(model.family)
    return {} if row is None else dict(row.lacks)


def _has_gate(model: LoadedModel) -> bool:
    return "gate_proj" not in _lacks(model)


def _returned_by(model: LoadedModel, layer: int, part: str) -> str | None:
    """Return the site that is the output of a module of a block."""
    paths = {path: name for name, path in _outputs(model, layer)}
    row = find_family(model.family)
    # What a block multiplies before adding it is not what the module returns.
    whole = {} if row is None else {row.attn: "o_proj", row.mlp: "down_proj"}
    return paths.get(part) or whole.get(part)


def _outputs(model: LoadedModel, layer: int) -> Iterator[tuple[str, str]]:
    """Yield the sites that are a module's whole output, with the module's path in the block."""
    for name in SITES:
        try:
            point = tap_point(model, name, layer)
        except ModelError:
            continue
        if point.side == "output" and point.finish is None:
            yield name, point.part


def _unknown(model: LoadedModel, spelling: str, layer: int) -> UsageError:
    lens = [f"blocks.{layer}.{name}" for name in _LENS if name != "hook_embed"]
    paths = [f"{blocks_path(model, layer)}.{part}" for _, part in _outputs(model, layer) if part]
    near = get_close_matches(spelling, [*SITES, *lens, *paths, "hook_embed"], n=1)
    meant = f"did you mean `{near[0]}`? " if near else ""
    return UsageError(
        "unknown-site",
        f"unknown site `{spelling}`",
        hint=f"{meant}`circuit sites -m MODEL` lists the sites of a model",
        site=spelling,
    )


def blocks_path(model: LoadedModel, layer: int | str) -> str:
    """Return the path of a block in the network, such as ``model.layers.3``."""
    first = model.blocks[0]
    paths = (path for path, module in model.network.named_modules() if module is first)
    return f"{next(paths).rpartition('.')[0]}.{layer}"
