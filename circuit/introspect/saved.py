"""What an introspection command found, as a file: a manifest of schema ``circuit.<what>/1`` like every other artifact."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from circuit.artifacts.documents import plain
from circuit.artifacts.manifest import Run, write_manifest


def save(
    out: Path,
    what: str,
    results: Mapping[str, Any],
    *,
    parameters: Mapping[str, Any],
    model: Any = None,
    inputs: Sequence[Path] = (),
    started: float | None = None,
    force: bool = False,
) -> None:
    """Write ``results`` to ``out``; a file with the same inputs and parameters stays, another needs ``force``."""
    write_manifest(
        out,
        schema=f"circuit.{what}/1",
        parameters=parameters,
        inputs=list(inputs),
        results=plain(dict(results)),
        model=None if model is None else model.identity,
        tokenizer=None if model is None else model.tokenizer_identity,
        run=Run.since(time.perf_counter() if started is None else started),
        force=force,
    )
