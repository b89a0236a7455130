"""``circuit concepts build``: the concepts' vectors in the library, with held-out scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from circuit.artifacts.directions.direction import Direction
from circuit.artifacts.files.paths import manifest_path
from circuit.artifacts.manifest.manifest import Manifest
from circuit.artifacts.prompts.builtin import builtin_concepts
from circuit.artifacts.prompts.concept_files import find_concept
from circuit.artifacts.steering_files.files import read_directions
from circuit.present.document import Cell, Document, Estimate, Facts, Part, Table, Text
from circuit.present.numbers import formatted
from circuit.stages.concepts.library import (
    Contents,
    depths,
    layers_of,
    library_archive,
    mean_aurocs,
    writer,
)
from circuit.stages.concepts.request import BuildRequest
from circuit.stages.run import Command, Job, Plan, Record, Session
from circuit.values import schemas

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel

EXPLANATION = (
    "Held-out AUROC with its 95 % interval: how well texts with the concept are separated from",
    "neutral ones about the same thing. The words separate them as well; whether the model uses",
    "the direction, `concepts scan` measures.",
)


@dataclass(frozen=True, kw_only=True)
class BuildResult:
    """The directions of an archive, and the model that they are of."""

    archive: Path
    model: str
    n_layers: int
    directions: list[Direction]

    def data(self) -> dict[str, object]:
        """Return what ``--json`` prints."""
        return {
            "archive": str(self.archive),
            "model": self.model,
            "depths": depths(self.n_layers),
            "n_layers": self.n_layers,
            "positions": mean_aurocs(self.directions),
            "directions": [
                {"name": d.name, "layer": d.layer, "norm": d.norm, **d.quality}
                for d in self.directions
            ],
        }


def plan(request: BuildRequest) -> Plan[BuildResult]:
    """Find the concepts; the library's archive is copied where an output is named."""
    names = [] if request.concepts is None else request.concepts.split(",")
    files = {name: find_concept(name) for name in names} if names else builtin_concepts()
    output, force = request.output.output, request.output.force
    known = Contents(files).parameters()
    del known["layers"]

    def begin(model: "LoadedModel") -> Job[BuildResult]:
        contents = Contents(files, layers_of(request.layers, model.n_layers))

        def write(result: BuildResult, record: Record) -> None:
            writer(result.archive)(result.directions, record)

        return Job(
            parameters=contents.parameters(),
            compute=lambda session: build(model, contents, session, copy=output, force=force),
            write=write,
        )

    def read(manifest: Manifest) -> BuildResult:
        assert output is not None
        assert manifest.model is not None
        return BuildResult(
            archive=output,
            model=manifest.model.id,
            n_layers=manifest.model.n_layers or 0,
            directions=read_directions(output),
        )

    return Plan(
        result=BuildResult,
        schema=schemas.DIRECTIONS,
        model=request.model,
        output=None if output is None else manifest_path(output),
        saved_as=output,
        force=force,
        known=known,
        begin=begin,
        read=read,
    )


def build(
    model: "LoadedModel",
    contents: Contents,
    session: Session,
    *,
    copy: Path | None = None,
    force: bool = False,
) -> BuildResult:
    """Take an archive from the library, or fit it now."""
    made = library_archive(model, contents, session, force=force)
    return BuildResult(
        archive=copy or contents.stem(model),
        model=model.id,
        n_layers=model.n_layers,
        directions=made.result,
    )


def present(result: BuildResult) -> Document:
    """Show the held-out score of every concept at every layer."""
    own: dict[str, dict[int, Direction]] = {}
    for each in result.directions:
        own.setdefault(each.name, {})[each.layer] = each
    layers = sorted({each.layer for each in result.directions})
    named = {layer: name for name, layer in depths(result.n_layers).items()}
    header = ["concept", *(f"{named.get(layer, 'layer')} ({layer})" for layer in layers), "norm"]
    rows = [[name, *_scores(found, layers)] for name, found in own.items()]
    means = ", ".join(
        f"{formatted(value)} at `{name}`"
        for name, value in mean_aurocs(result.directions).items()
        if value is not None
    )
    mean = f"Mean of all: {means} position; the vectors are of the first."
    parts: list[Part] = [
        Table(header=header, rows=rows),
        Text(["", *EXPLANATION, *([mean] if means else [])]),
        Facts([("Archive", str(result.archive))]),
    ]
    n = len(result.directions)
    return Document(f"{n} vectors of `{result.model}` ({result.n_layers} layers)", parts)


def _scores(own: Mapping[int, Direction], layers: Sequence[int]) -> list[Cell]:
    found = [own[layer].quality.get("auroc") if layer in own else None for layer in layers]
    norms = [formatted(own[layer].norm, ".1f") for layer in sorted(own)]
    return [*map(Estimate.of, found), ", ".join(norms)]


BUILD = Command(request=BuildRequest, plan=plan, present=present, data=BuildResult.data)
