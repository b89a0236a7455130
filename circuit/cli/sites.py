"""``circuit sites``."""

from typing import Any

from circuit.cli import console
from circuit.cli.options import Adapter, Dtype, Json, Model, RemoteCode, Revision


def sites(
    model: Model,
    revision: Revision = None,
    adapter: Adapter = None,
    dtype: Dtype = "auto",
    trust_remote_code: RemoteCode = False,
    as_json: Json = False,
) -> None:
    """List what can be collected from a model: each site, its shape for one token, and its module.

    \b
    Examples:
      circuit sites -m tiny
      circuit sites -m tiny --json
    """
    from circuit.stages.checks.sites import list_sites
    from circuit.stages.legacy import ModelOptions

    report = list_sites(ModelOptions(model, revision, adapter, dtype, trust_remote_code))
    console.result(report, _text(report), as_json=as_json)


def _text(report: dict[str, Any]) -> str:
    shape = f"{report['family']}, {report['n_layers']} layers of {report['d_model']}"
    rows = [_row(entry, report["n_layers"]) for entry in report["sites"]]
    lines = [f"Model: {report['model']} ({shape}, {report['dtype']})", ""]
    lines += _columns([["site", "shape", "layers", "what is read", "TransformerLens"], *rows])
    if report["missing"]:
        lines += ["", "Not there:"]
    for entry in report["missing"]:
        layers = _ranges(entry["layers"], report["n_layers"])
        where = "" if layers == "all" else f" at layers {layers}"
        lines.append(f"  {entry['site']}{where}: {entry['reason']}")
    return "\n".join(lines)


def _row(entry: dict[str, Any], n_layers: int) -> list[str]:
    return [
        entry["site"],
        " x ".join(map(str, entry["shape"])),
        "" if entry["layers"] is None else _ranges(entry["layers"], n_layers),
        f"{entry['side']} of {entry['module']}",
        entry["transformer_lens"] or "",
    ]


def _ranges(layers: list[int], n_layers: int) -> str:
    """Write layers as ``collect --layers`` reads them: ``all``, or ``0-3,5``."""
    if len(layers) == n_layers:
        return "all"
    starts = [layer for layer in layers if layer - 1 not in layers]
    ends = [layer for layer in layers if layer + 1 not in layers]
    pairs = zip(starts, ends, strict=True)
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in pairs)


def _columns(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = ([c.ljust(w) for c, w in zip(row, widths, strict=True)] for row in rows)
    return ["  ".join(cells).rstrip() for cells in padded]
