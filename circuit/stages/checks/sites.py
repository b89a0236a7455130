"""``sites``: every site of a model, where it is read, its shape, and why others do not exist."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from circuit.present.document import Cell, Document, Part, Table, Text
from circuit.stages.checks.request import SitesRequest
from circuit.stages.run import Command, Job, Plan, Result
from circuit.values.sites import Site

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel

Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class OfferedSite:
    """A site with one shape: its layers (None for ``embed``), and the module that it is read at."""

    site: str
    shape: list[int | str]
    layers: list[int] | None
    module: str
    side: str
    transformer_lens: str | None


@dataclass(frozen=True, kw_only=True)
class MissingSite:
    """A site that some layers lack, and why."""

    site: str
    layers: list[int]
    reason: str


@dataclass(frozen=True, kw_only=True)
class SitesResult(Result):
    """What can be collected from a model."""

    COMMAND: ClassVar[str] = "circuit.stages.checks.sites:SITES"

    model: str
    family: str
    n_layers: int
    d_model: int
    dtype: str
    sites: list[OfferedSite]
    missing: list[MissingSite]


def list_sites(model: "LoadedModel") -> SitesResult:
    """Measure that the family's row fits a model, and return what can be collected.

    A site appears once for each shape that it has, with the layers that have it; one that some
    layers lack appears among ``missing`` too.
    """
    from circuit.model.sites.sites import available_sites, check_family
    from circuit.model.sites.table import SITES

    check_family(model, available_sites(model))
    offered: list[OfferedSite] = []
    missing: list[MissingSite] = []
    for name in SITES:
        reasons, shapes = _looked_up(model, name)
        offered += [_offered(model, name, shape, layers) for shape, layers in shapes.items()]
        if reasons:
            layers = [layer for layer, _ in reasons]
            missing.append(MissingSite(site=name, layers=layers, reason=reasons[0][1]))
    return SitesResult(
        model=model.id,
        family=model.family,
        n_layers=model.n_layers,
        d_model=model.d_model,
        dtype=model.dtype,
        sites=offered,
        missing=missing,
    )


def _looked_up(
    model: "LoadedModel", name: str
) -> tuple[list[tuple[int, str]], dict[Shape, list[int]]]:
    """Return why each layer lacks the site, and the layers that have it by its shape there."""
    from circuit.model.sites.sites import site_shape, why_absent

    reasons: list[tuple[int, str]] = []
    shapes: dict[Shape, list[int]] = {}
    for layer in range(1 if name == "embed" else model.n_layers):
        if (reason := why_absent(model, name, layer)) is not None:
            reasons.append((layer, reason))
        else:
            shapes.setdefault(site_shape(model, Site(name, layer)), []).append(layer)
    return reasons, shapes


def _offered(model: "LoadedModel", name: str, shape: Shape, layers: list[int]) -> OfferedSite:
    from circuit.model.sites.spelling import blocks_path, lens_name
    from circuit.model.sites.tap_points import tap_point

    point, lens = tap_point(model, name, layers[0]), lens_name(model, name)
    path = blocks_path(model, 0 if name == "embed" else "*")
    return OfferedSite(
        site=name,
        shape=[n or "keys" for n in shape],
        layers=None if name == "embed" else layers,
        module=f"{path}.{point.part}" if point.part else path,
        side=point.side,
        transformer_lens=lens and (lens if name == "embed" else f"blocks.*.{lens}"),
    )


def plan(request: SitesRequest) -> Plan[SitesResult]:
    """Nothing is known before the model is loaded."""
    return Plan(
        result=SitesResult,
        model=request.model,
        begin=lambda model: Job(compute=lambda _: list_sites(model)),
    )


def present(result: SitesResult) -> Document:
    """Show a row for each site, then what is missing and why."""
    shape = f"{result.family}, {result.n_layers} layers of {result.d_model}"
    rows: list[list[Cell]] = [_row(each, result.n_layers) for each in result.sites]
    header = ["site", "shape", "layers", "what is read", "TransformerLens"]
    parts: list[Part] = [Table(header=header, rows=rows, prose=True)]
    if result.missing:
        lines = [_missing(each, result.n_layers) for each in result.missing]
        parts.append(Text(["", "Missing:", *lines]))
    return Document(f"Model: {result.model} ({shape}, {result.dtype})", parts)


def _missing(missing: MissingSite, n_layers: int) -> str:
    layers = ranges(missing.layers, n_layers)
    where = "" if layers == "all" else f" at layers {layers}"
    return f"  {missing.site}{where}: {missing.reason}"


def _row(offered: OfferedSite, n_layers: int) -> list[Cell]:
    return [
        offered.site,
        " x ".join(map(str, offered.shape)),
        "" if offered.layers is None else ranges(offered.layers, n_layers),
        f"{offered.side} of {offered.module}",
        offered.transformer_lens or "",
    ]


def ranges(layers: Sequence[int], n_layers: int) -> str:
    """Write layers as ``collect --layers`` reads them: ``all``, or ``0-3,5``."""
    if len(layers) == n_layers:
        return "all"
    starts = [layer for layer in layers if layer - 1 not in layers]
    ends = [layer for layer in layers if layer + 1 not in layers]
    pairs = zip(starts, ends, strict=True)
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in pairs)


SITES = Command(request=SitesRequest, plan=plan, present=present)
