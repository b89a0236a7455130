"""``circuit doctor``."""

from typing import Annotated, Any

import typer

from circuit.cli import console
from circuit.cli.options import Dtype, Json, Revision
from circuit.errors import UsageError


def doctor(
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Also test this model: id, folder or tiny.")
    ] = None,
    revision: Revision = None,
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Say what this machine offers, how fast it is, and whether a model is measured as it is.

    \b
    Examples:
      circuit doctor
      circuit doctor -m tiny
    """
    from circuit.stages.checks.doctor import examine_machine, examine_model

    if model is None and (revision is not None or dtype != "auto"):
        raise UsageError("--revision and --dtype are those of a model", hint="name it with -m")
    report = examine_machine()
    if model is not None:
        report["self_test"] = examine_model(model, revision=revision, dtype=dtype)
    console.result(report, _text(report), as_json=as_json)
    if model is not None and not report["self_test"]["passed"]:
        raise typer.Exit(1)


def _text(report: dict[str, Any]) -> str:
    speed, blas = report["float32_gflops"], report["blas"]
    lines = [
        f"circuit {report['circuit']}, Python {report['python']}, {report['platform']}",
        f"Device: {report['device']} (weights held in {report['weights_dtype']} dtype)",
        f"BLAS: {blas['name']}" + (f" ({blas['path']})" if blas["path"] else ""),
        f"float32 product of 2048 x 2048: {speed['mlx']:.0f} GFLOP/s, numpy {speed['numpy']:.0f}",
        "Versions: " + ", ".join(f"{k} {v}" for k, v in report["versions"].items()),
        f"Cache: {report['folders']['circuit']}",
        f"Models: {report['folders']['models']}",
        *(f"Advice: {advice}" for advice in report["advice"]),
    ]
    return "\n".join(lines + _model_lines(report.get("self_test")))


def _model_lines(test: dict[str, Any] | None) -> list[str]:
    if test is None:
        return []
    model = test["model"]
    shape = f"{model['family']}, {model['n_layers']} layers of {model['d_model']}"
    lines = [
        "",
        f"Model: {model['id']} ({shape}, {model['dtype']})",
        f"Sites: {', '.join(test['sites'])}",
    ]
    marks = {True: "ok  ", False: "FAIL"}
    return lines + [f"{marks[c['passed']]} {c['name']} ({c['detail']})" for c in test["checks"]]
