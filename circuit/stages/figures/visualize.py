"""``visualize``: pictures of an archive or of a report, each with its numbers in a JSON file.

Reads the archive and, where they are given or lie beside it, ``analysis.json`` and
``directions.json``; what they do not hold is computed, which is noted. Writes

    pca_layer<L>.png                    principal components and spectrum
    umap_layer<L>.png                   UMAP by label and by category
    probe_accuracy.png                  held-out scores of the probes along the layers
    layer_similarity.png                CKA between the layers
    directions_auroc.png                cross-fitted quality of the direction along the layers
    directions_projection_layer<L>.png  held-out projections by class
    directions_cosines.png              cosines between directions
    directions_transfer.png             the direction of one category's prompts scored on another's

and last ``plots.json`` (``circuit.plots/1``), which lists them with captions. With ``--report``,
the pictures are the figures of its document (``stages.documents``). All figures are drawn before
the first file is written.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from circuit.artifacts.activations.activations import Activations
from circuit.artifacts.files.documents import plain, read_json, restored, schema_of
from circuit.artifacts.manifest.manifest import (
    Manifest,
    missing_outputs,
    read_manifest,
)
from circuit.errors import ArtifactError, DataError, UsageError
from circuit.methods.uncertainty.emergence import check_threshold
from circuit.present.document import Document, Text
from circuit.stages.analyze.results import AnalysisResult
from circuit.stages.directions.results import DirectionsResult
from circuit.stages.documents import document_of
from circuit.stages.figures.of_archive import (
    FoundResults,
    archive_figures,
    found_results,
    sources_of,
)
from circuit.stages.figures.pictures import (
    PLOTS,
    FigureFiles,
    Picture,
    described_picture,
    write_pictures,
)
from circuit.stages.figures.request import VisualizeRequest
from circuit.stages.run import Command, Job, Plan, Record, Result, Session, without_model
from circuit.values import schemas

T = TypeVar("T")
DRAWN = (schemas.PROBES, schemas.STEERING, schemas.SWEEP)


@dataclass(frozen=True, kw_only=True)
class PicturesResult(Result):
    """A folder of pictures, and the pictures themselves where they were drawn by this run."""

    folder: Path
    figures: list[FigureFiles]
    drawn: Sequence[Picture] = ()


def plan(request: VisualizeRequest) -> Plan[PicturesResult]:
    """Draw either an archive or a report."""
    if (request.activations is None) == (request.report is None):
        message = "visualize draws either an archive or a report"
        hint = "give -a ACTIVATIONS or --report REPORT"
        raise UsageError("one-of-options", message, hint=hint, options=("activations", "report"))
    if request.report is not None:
        return _plan_of_report(request, request.report)
    assert request.activations is not None
    return _plan_of_archive(request, request.activations)


def _plan_of_report(request: VisualizeRequest, report: Path) -> Plan[PicturesResult]:
    schema = schema_of(read_json(report))
    if schema not in DRAWN:
        found = f"`{schema}`" if schema else "no circuit document"
        message = f"`{report}` holds {found}, which is not drawn"
        hint = f"give a document of {' or '.join(DRAWN)}"
        raise ArtifactError("not-drawable", message, hint=hint, schema=schema)
    manifest = read_manifest(report, schema)
    missing_outputs(report, manifest)  # what is drawn is in the manifest
    return _plan_of(
        request,
        lambda _: _report_pictures(manifest, report),
        parameters={"report": True},
        inputs=[report],
        source=manifest,
    )


def _report_pictures(manifest: Manifest, report: Path) -> list[Picture]:
    figures = document_of(manifest, report).figures()
    if not figures:
        message = f"`{report}` has nothing to draw: its answers were not judged by a criterion"
        hint = "circuit steer --compare … --criterion … counts them"
        raise DataError("nothing-to-draw", message, hint=hint, path=str(report))
    return [Picture.of(figure) for figure in figures]


def _plan_of_archive(request: VisualizeRequest, archive: Path) -> Plan[PicturesResult]:
    check_threshold(request.threshold)
    activations = Activations.open(archive)
    notes: list[str] = []

    def beside(kind: type[T], given: Path | None, name: str, schema: str) -> FoundResults[T] | None:
        try:
            return found_results(kind, activations, given, name, schema)
        except ArtifactError as error:
            if given is not None:
                raise
            notes.append(f"not used: {error.message}")
            return None

    analysed = beside(AnalysisResult, request.analysis, "analysis.json", schemas.ANALYSIS)
    fitted = beside(DirectionsResult, request.direction_file, "directions.json", schemas.DIRECTIONS)
    sources = sources_of(request, activations, analysed, fitted)
    results = [found.path for found in (analysed, fitted) if found is not None]
    parameters = {
        "kinds": sources.kinds,
        "layers": sources.layers,
        "site": sources.place.site,
        "position": sources.place.position,
        "folds": request.folds,
        "seed": request.seed.seed,
        "threshold": request.threshold,
    }

    def draw(session: Session) -> list[Picture]:
        return [Picture.of(figure) for figure in archive_figures(sources, session)]

    return _plan_of(
        request,
        draw,
        parameters=parameters,
        inputs=[activations.path, *results],
        source=activations.manifest,
        notes=notes,
    )


def _plan_of(
    request: VisualizeRequest,
    draw: Callable[[Session], Sequence[Picture]],
    *,
    parameters: dict[str, object],
    inputs: Sequence[Path],
    source: Manifest,
    notes: Sequence[str] = (),
) -> Plan[PicturesResult]:
    folder = request.output

    def compute(session: Session) -> PicturesResult:
        drawn = draw(session)
        figures = [described_picture(picture) for picture in drawn]
        return PicturesResult(folder=folder, figures=figures, drawn=drawn)

    def write(result: PicturesResult, record: Record) -> None:
        write_pictures(result.drawn, folder, record)

    def read(manifest: Manifest) -> PicturesResult:
        figures = restored(list[FigureFiles], manifest.results.get("figures"))
        return PicturesResult(folder=folder, figures=figures)

    job = Job(
        parameters=parameters,
        compute=compute,
        write=write,
        about_model=source.model,
        about_tokenizer=source.tokenizer,
    )
    return Plan(
        result=PicturesResult,
        schema=schemas.PLOTS,
        inputs=inputs,
        output=folder / PLOTS,
        saved_as=folder,
        force=request.force,
        known=parameters,
        begin=without_model(job),
        read=read,
        notes=notes,
    )


def present(result: PicturesResult) -> Document:
    """List the pictures."""
    return Document("", [Text([f"  {figure.file}" for figure in result.figures])])


COMMAND = Command(
    request=VisualizeRequest,
    plan=plan,
    present=present,
    data=lambda result: {"output": str(result.folder), "figures": plain(result.figures)},
)
