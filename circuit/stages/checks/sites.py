"""What a model offers: every site, where it is read, what it holds, and why others do not exist."""

from typing import Any

from circuit.stages.legacy import ModelOptions
from circuit.values.sites import Site


def list_sites(options: ModelOptions) -> dict[str, Any]:
    """Load a model, measure that its family's row fits it, and return what can be collected.

    A site appears once for each shape that it has, with the layers that have it; one that some
    layers lack appears among ``missing`` too.
    """
    from circuit.model.sites.sites import available_sites, check_family
    from circuit.model.sites.table import SITES

    model = options.load()
    check_family(model, available_sites(model))
    offered, missing = [], []
    for name in SITES:
        reasons, shapes = _asked(model, name)
        offered += [_described(model, name, shape, layers) for shape, layers in shapes.items()]
        if reasons:
            layers = [layer for layer, _ in reasons]
            missing.append({"site": name, "layers": layers, "reason": reasons[0][1]})
    return {
        "model": model.id,
        "family": model.family,
        "n_layers": model.n_layers,
        "d_model": model.d_model,
        "dtype": model.dtype,
        "sites": offered,
        "missing": missing,
    }


def _asked(model: Any, name: str) -> tuple[list[tuple[int, str]], dict[tuple[int, ...], list[int]]]:
    """Return why each layer lacks the site, and the layers that have it by its shape there."""
    from circuit.model.sites.sites import site_shape, why_absent

    reasons: list[tuple[int, str]] = []
    shapes: dict[tuple[int, ...], list[int]] = {}
    for layer in range(1 if name == "embed" else model.n_layers):
        if (reason := why_absent(model, name, layer)) is not None:
            reasons.append((layer, reason))
        else:
            site = Site(name, layer)
            shapes.setdefault(site_shape(model, site), []).append(layer)
    return reasons, shapes


def _described(model: Any, name: str, shape: tuple[int, ...], layers: list[int]) -> dict[str, Any]:
    from circuit.model.sites.spelling import blocks_path, lens_name
    from circuit.model.sites.tap_points import tap_point

    point, lens = tap_point(model, name, layers[0]), lens_name(model, name)
    path = blocks_path(model, 0 if name == "embed" else "*")
    return {
        "site": name,
        "shape": [n or "keys" for n in shape],
        "layers": None if name == "embed" else layers,
        "module": f"{path}.{point.part}" if point.part else path,
        "side": point.side,
        "transformer_lens": lens and (lens if name == "embed" else f"blocks.*.{lens}"),
    }
