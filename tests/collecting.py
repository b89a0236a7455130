"""Collections in tests: made of the request of ``circuit collect``, as the command makes them."""

from pathlib import Path

from circuit.stages.collect.collection import Collection
from circuit.stages.collect.recording import Recording
from circuit.stages.collect.request import CollectRequest
from circuit.stages.collect.run import prepare
from circuit.stages.options import ArchiveOutputOptions, FormatOptions, ModelOptions


def prepared(
    folder: Path | str,
    dataset: Path,
    out: Path,
    *,
    recording: Recording = Recording(),
    dtype: str = "auto",
    limit: int | None = None,
    **prompt_format,
) -> Collection:
    """Check a request, load its model, and return the collection."""
    answers = recording.answers
    positions = recording.positions
    request = CollectRequest(
        model=ModelOptions(model=str(folder), dtype=dtype),
        dataset=dataset,
        output=ArchiveOutputOptions(output=out),
        prompt_format=FormatOptions(**prompt_format),
        layers=recording.layers,
        sites=recording.sites,
        positions=(positions,) if isinstance(positions, str) else tuple(positions),
        store=recording.dtype,
        max_length=recording.max_length,
        truncate=recording.truncate,
        batch_tokens=recording.batch_tokens,
        share_prefix=recording.share_prefix,
        limit=limit,
        generate=answers and answers.max_tokens,
        criterion=answers and list(answers.criteria),
    )
    made = prepare(request)
    return made(request.model.load())
