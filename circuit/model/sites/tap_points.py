"""Where a site is read in a loaded model: a module, a side of it, and what is done to the rows.

The table of sites (``table``) and the family's row (``circuit.model.checkpoint.families``) name the
module. Where it does not exist, an error says why, in a sentence about the model.
"""

from dataclasses import dataclass

import mlx.nn as nn

from circuit.errors import ModelError
from circuit.model.checkpoint.families import Family, find_family
from circuit.model.checkpoint.loading import LoadedModel
from circuit.model.sites.heads import heads_at
from circuit.model.sites.table import MEASURED, SITES, Finish, Side


@dataclass(frozen=True, eq=False)
class TapPoint:
    """A module, its path below the block ("" for the block), and what ``finish`` does to its rows.

    ``input`` and ``output`` are the module's; ``attention`` is what ``attention.attending``
    reports.
    """

    module: nn.Module
    part: str
    side: Side
    finish: Finish | None = None


def tap_point(model: LoadedModel, name: str, layer: int) -> TapPoint:
    """Return where site ``name`` of block ``layer`` is read.

    Raises ``ModelError`` that says why when the model has no such site.
    """
    entry, block = MEASURED[name], model.blocks[layer]
    if not entry.needs_row:
        return TapPoint(block, "", entry.side)
    row = family_row(model, name)
    if name in row.lacks:
        raise ModelError(
            "site-missing",
            f"family `{model.family}` has no `{name}`: {row.lacks[name]}",
            hint="`circuit sites -m MODEL` lists the sites of a model",
            site=name,
            family=model.family,
        )
    part = row.path(entry.part, block)
    if part is None:
        raise ModelError(
            "site-missing",
            f"family `{model.family}` runs attention and MLP in parallel: it has no `{name}`",
            hint="use resid_pre or resid_post",
            site=name,
            family=model.family,
        )
    if entry.side == "attention":
        heads_at(model, row, layer)
    module = _find(model, row, layer, part, name)
    finish = None if entry.finish is None else entry.finish(model, row, layer, module)
    return TapPoint(module, part, entry.side, finish)


def family_row(model: LoadedModel, name: str) -> Family:
    """Return the row of the model's family, which site ``name`` needs."""
    if (row := find_family(model.family)) is None:
        known = ", ".join(entry.name for entry in SITES.values() if not entry.needs_row)
        raise ModelError(
            "unknown-family",
            f"site `{name}` is not known for family `{model.family}`",
            hint=f"use one of: {known}; or add a row to circuit/model/checkpoint/families.py",
            site=name,
            family=model.family,
        )
    return row


def _find(model: LoadedModel, row: Family, layer: int, part: str, name: str) -> nn.Module:
    """Return the module of a block in which site ``name`` is read, or say why there is none."""
    module = model.blocks[layer]
    for step in part.split("."):
        below = getattr(module, step, None)
        if not isinstance(below, nn.Module):
            raise _missing(model, row, layer, part, name)
        module = below
    return module


def _missing(model: LoadedModel, row: Family, layer: int, part: str, name: str) -> ModelError:
    where = f"block {layer} of this `{model.family}` model"
    if part.startswith(f"{row.mlp}.") and _has_experts(getattr(model.blocks[layer], row.mlp)):
        return ModelError(
            "site-missing",
            f"{where} has no `{name}`: each token uses the maps of its own experts",
            hint="`circuit sites -m MODEL` lists the sites of a model",
            site=name,
            layer=layer,
        )
    if part.startswith(f"{row.attn}."):
        heads_at(model, row, layer)
    return ModelError(
        "family-row-wrong",
        f"{where} has no part `{part}`",
        hint="correct its row in circuit/model/checkpoint/families.py",
        part=part,
        layer=layer,
        family=model.family,
    )


def _has_experts(mlp: nn.Module) -> bool:
    kinds = {type(part).__module__ for part in mlp.modules()}
    return "mlx_lm.models.switch_layers" in kinds
