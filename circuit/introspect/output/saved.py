"""What an introspection command found, as a file: a manifest of schema ``circuit.<what>/1`` like every other artifact."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from circuit.artifacts.files.atomic import refuse_overwrite
from circuit.artifacts.files.documents import plain
from circuit.artifacts.files.paths import refuse_input
from circuit.artifacts.manifest.manifest import Run, may_be_equal, write_manifest
from circuit.errors import UsageError


def refuse_existing(
    documents: Sequence[tuple[Path | None, str]],
    parameters: Mapping[str, Any],
    *,
    inputs: Sequence[Path] = (),
    others: Sequence[Path | None] = (),
    force: bool = False,
) -> None:
    """Raise for outputs that exist, before a model is loaded, unless this may be the run that wrote them.

    It may be where a document of ``documents``, each a path with what it holds, has these inputs and these ``parameters``, as many as are
    known yet: then writing decides, which keeps equal content and refuses other. ``others`` are pictures and the like, which say nothing
    of their run: they pass with such a document only. No output is an input or another output, even with ``force``.
    """
    own = [(path, what) for path, what in documents if path is not None]
    paths = [path for path, _ in own] + [path for path in others if path is not None]
    for number, path in enumerate(paths):
        refuse_input(path, inputs)
        if path.resolve() in [each.resolve() for each in paths[:number]]:
            message = f"`{path}` is named for two outputs"
            raise UsageError(message, hint="give each a name of its own")
    again = {p for p, what in own if may_be_equal(p, f"circuit.{what}/1", parameters, inputs)}
    for number, path in enumerate(paths):
        known = path in again if number < len(own) else bool(again)
        refuse_overwrite(path, force=force or known)


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
