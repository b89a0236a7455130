"""Batches are written by another thread while the next ones are computed."""

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from circuit.artifacts.activations.writer import ActivationsWriter


def write_behind(
    pool: ThreadPoolExecutor, writer: ActivationsWriter, batches: Iterable[Any]
) -> None:
    """Write each batch in the pool's thread; at most one waits for it."""
    writing: Future[None] | None = None
    for batch in batches:
        if writing is not None:
            writing.result()
        writing = pool.submit(_write, writer, batch)
    if writing is not None:
        writing.result()


def _write(writer: ActivationsWriter, batch: Any) -> None:
    for (site, position), values in batch.values.items():
        writer.put(site.name, site.layer, position, batch.rows, values)
    writer.done(batch.unit)
