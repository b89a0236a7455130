"""Results that are kept in a file, if one is named, and taken from there when the same is asked for again."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from circuit.artifacts.files.documents import plain
from circuit.artifacts.manifest.manifest import Run, reusable, write_manifest


def kept(
    out: Path | None,
    schema: str,
    model: Any,
    parameters: Mapping[str, Any],
    make: Callable[[], Any],
    *,
    force: bool = False,
) -> tuple[dict[str, Any], bool]:
    """Return what ``make`` gives, as plain values, and whether it was at ``out`` already."""
    started = time.perf_counter()
    described = {
        # The same weights under another tokenizer are another run.
        "parameters": {
            **parameters,
            "tokenizer_sha256": model.tokenizer_identity.files_sha256,
        },
        "inputs": [],
        "model": model.identity,
    }
    if out is None:
        return plain(make()), False
    found = reusable(out, schema=schema, **described, force=force)
    if found is not None:
        return found.results, True
    results = plain(make())
    write_manifest(
        out,
        schema=schema,
        **described,
        results=results,
        tokenizer=model.tokenizer_identity,
        run=Run.since(started),
        force=force,
    )
    return results, False
