"""``circuit verify``: recompute every digest in a chain of manifests."""

import os
from pathlib import Path
from typing import Annotated

import typer

from circuit.cli import console


def verify(
    paths: Annotated[
        list[Path], typer.Argument(help="Artifacts, their stems, or folders of them.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Say which files of a chain are ok, changed, missing or stale.

    Follows the inputs and outputs of every manifest. Exits with 1 unless all are ok.

    \b
    Examples:
      circuit verify directions.json
      circuit verify activations.safetensors analysis.json --json
    """
    from circuit.stages.checks.verify import verify as run

    findings = run(paths)
    data = [{"path": _shown(f.path), "status": f.status, "why": f.why} for f in findings]
    lines = [f"{f.status:8} {_shown(f.path)}{f'  ({f.why})' if f.why else ''}" for f in findings]
    bad = sum(f.status != "ok" for f in findings)
    verdict = f"{len(findings)} files, {f'{bad} not ok' if bad else 'all ok'}"
    console.result(
        {"ok": not bad, "files": data}, "\n".join([*lines, "", verdict]), as_json=as_json
    )
    if bad:
        raise typer.Exit(1)


def _shown(path: Path) -> str:
    """Return a path without ``a/../``; symbolic links are left alone."""
    return Path(os.path.normpath(path)).as_posix()
