"""``circuit steer table``: several sweeps as one table and one figure."""

from pathlib import Path
from typing import Annotated, Any

import typer

from circuit.cli import console
from circuit.cli.options import Force, Json
from circuit.errors import UsageError

HEADER = [
    "",
    "read-out",
    "n (groups)",
    "layer",
    "c*",
    "KL at c*",
    "slope [95% interval]",
    "anti-steerable",
    "random: band",
    "p",
    "shuffled: band",
    "p",
    "dNLL at -1, +1",
    "verdict",
]


def table(
    sweeps: Annotated[
        list[str], typer.Argument(help="What `steer sweep -o` wrote, or NAME=FILE for each.")
    ],
    plots: Annotated[
        Path | None, typer.Option("--plots", help="Draw them as small multiples here.")
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Put several sweeps into one table: strength, held-out slope, controls, cost, and the verdict.

    A band is the range of the slopes of all control directions of a kind.

    \b
    Examples:
      circuit steer table sweep.json
      circuit steer table sums=sweep.json --plots sweep_pictures
    """
    from circuit.stages.figures.sweep import visualize_sweeps
    from circuit.stages.sweep.results import read_sweep

    files = named_sweeps(sweeps)
    found = {name: read_sweep(path).results for name, path in files.items()}
    if plots is not None:
        visualize_sweeps(files, plots, force=force)
        console.note(f"Picture: {plots / 'steering.png'}")
    data = {name: {k: v for k, v in each.items() if k != "m"} for name, each in found.items()}
    console.result(data, table_text(found), as_json=as_json)


def named_sweeps(sweeps: list[str]) -> dict[str, Path]:
    """Read FILE or NAME=FILE; a file without a name is called after its folder or itself."""
    files: dict[str, Path] = {}
    for each in sweeps:
        name, is_named, file = each.partition("=")
        path = Path(file if is_named else each)
        key = (
            name if is_named else path.stem if path.stem != "sweep" else path.parent.name or "sweep"
        )
        if key in files:
            raise UsageError(f"two sweeps are called `{key}`", hint="name them: NAME=FILE")
        files[key] = path
    return files


def table_text(found: dict[str, dict[str, Any]]) -> str:
    """Lay out one row for each sweep, and the notes below."""
    rows = [_row(name, results) for name, results in found.items()]
    first = next(iter(found.values()))
    lines = [
        "Held-out dose-response in units of c*, at which neutral text changes by the same KL divergence",
        "",
        console.table(HEADER, rows),
        "",
        f"Dose 1: {first['dose_unit']}. anti-steerable: share of prompts that move the wrong way. dNLL: nats a token by which the",
        "steered text is less likely to the model without steering. p: directions of a kind whose slope is as steep, of either sign.",
    ]
    lines += [
        f"{name}: {results['verdict']['text']}"
        for name, results in found.items()
        if results["verdict"]["word"] != "steers"
    ]
    lines += [f"{name}: {text}" for name, results in found.items() for text in results["warnings"]]
    return "\n".join(lines)


def _row(name: str, results: dict[str, Any]) -> list[str]:
    low, high = results["slope_ci"]
    doses, nll = results["doses"], results["nll_delta"]
    ends = [nll[doses.index(dose)] if dose in doses else None for dose in (-1.0, 1.0)]
    calibration = results["calibration"]
    return [
        name,
        "share" if results["readout"]["kind"] == "criterion" else "log-odds",
        f"{results['n_test']} ({results['n_groups']})",
        "+".join(str(each["layer"]) for each in results["directions"]),
        f"{results['c_star']:.3f}",
        "" if calibration is None else f"{calibration['kl']:.2f}",
        f"{results['slope']:+.2f} [{low:+.2f}, {high:+.2f}]",
        f"{results['anti_steerable_frac']:.0%}",
        *_band(results["random"]),
        *_band(results["shuffled"]),
        ", ".join("n/a" if value is None else f"{value:.2f}" for value in ends),
        results["verdict"]["word"],
    ]


def _band(control: dict[str, Any]) -> list[str]:
    if not control["n"]:
        return ["none", ""]
    slopes = control["slopes"]
    return [f"{min(slopes):+.2f} to {max(slopes):+.2f}", f"{control['perm_p']:.2f}"]
