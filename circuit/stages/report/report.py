"""``report``: the artifacts of a run as one HTML file that says first what was found and how sure it is.

Reads ``probes.json``, ``analysis.json``, ``directions.json``, ``steering.json`` (any number of each, told apart by their schema) and the pictures
that a ``plots.json`` lists; of a folder, those in it and the ``plots.json`` of its folders. The page has, in this order: the findings,
each with the word that its evidence allows (*decodable*, *selective*, *used*, or less); what the words mean; figures and
tables of each artifact; what was controlled; and where every number comes from.

Nothing is estimated here. The page loads nothing (``report_page``), and equal artifacts give equal bytes. Artifacts whose outputs
have changed since are refused, those that are gone are named in a warning; artifacts of several models, or made from one another's earlier versions, are shown under a warning.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from circuit.artifacts.files.atomic import write_file
from circuit.artifacts.files.documents import as_object, read_bytes, read_json, schema_of
from circuit.artifacts.files.paths import refuse_input
from circuit.artifacts.manifest.manifest import (
    Manifest,
    check_outputs,
    digest,
    manifest_path,
    read_manifest,
)
from circuit.errors import ArtifactError, DataError, UsageError
from circuit.stages.figures.archive import Picture
from circuit.stages.report import analysis as report_analysis
from circuit.stages.report import directions as report_directions
from circuit.stages.report import probes as report_probes
from circuit.stages.report import steering as report_steering
from circuit.stages.report import sweep as report_sweep
from circuit.stages.report.layout import Source, laid_out
from circuit.stages.report.page import PNG, Section
from circuit.values import schemas

# In the order of a page; what a schema contributes is its section.
SECTIONS: dict[str, tuple[str, Callable[[Manifest], Section]]] = {
    schemas.PROBES: ("Battery of probes", report_probes.section),
    schemas.ANALYSIS: ("Analysis of the layers", report_analysis.section),
    schemas.DIRECTIONS: ("Directions", report_directions.section),
    schemas.STEERING: ("Steering", report_steering.section),
    schemas.SWEEP: ("Steering, measured", report_sweep.section),
}


def report(paths: Sequence[Path], out: Path, *, force: bool = False) -> dict[str, Any]:
    """Write the report of ``paths`` (files or folders) to ``out`` and return its findings."""
    if out.suffix not in {".html", ".htm"}:
        message = f"`{out}` is not the name of an HTML file"
        raise UsageError(message, hint="a report is one page: -o report.html")
    found = {path.resolve(): path for given in paths for path in _artifacts(given)}
    refuse_input(out, list(found.values()))
    sources = _in_order([_source(path) for path in found.values()])
    warnings = _warnings(sources)
    write_file(out, laid_out(sources, warnings), force=force)
    findings = [asdict(each) for source in sources for each in source.section.findings]
    return {
        "findings": findings,
        "warnings": warnings,
        "inputs": [str(s.path) for s in sources],
    }


def _artifacts(given: Path) -> list[Path]:
    """Return the manifests that an argument means; of a folder, what a report can show."""
    if not given.is_dir():
        return [manifest_path(given) if given.suffix == ".safetensors" else given]
    documents = sorted([*given.glob("*.json"), *given.glob("*/plots.json")])
    shown = [path for path in documents if _shown(path)]
    if not shown:
        message = f"the folder `{given}` holds nothing to report"
        hint = "a report shows the output of probes run, analyze, directions, steer and visualize"
        raise ArtifactError(message, hint=hint)
    return shown


def _shown(path: Path) -> bool:
    """Say whether a report of the folder shows this: not the probes that a battery saved, which it has told of already."""
    document = as_object(read_json(path))
    schema = schema_of(document)
    saved = schema == schemas.DIRECTIONS and "best_layers" in document.get("results", {})
    return schema in {*SECTIONS, schemas.PLOTS} and not saved


def _schema(path: Path) -> str | None:
    return schema_of(read_json(path))


def _source(path: Path) -> Source:
    """Read one artifact and say what there is to say of it."""
    schema = _schema(path)
    if schema == schemas.PLOTS:
        manifest, title, make = read_manifest(path, schemas.PLOTS), "Pictures", _plots(path.parent)
    elif schema in SECTIONS:
        manifest, (title, make) = read_manifest(path, schema), SECTIONS[schema]
    else:
        message = f"`{path}` holds {f'`{schema}`' if schema else 'no circuit document'}, which a report does not show"
        raise ArtifactError(
            message, hint=f"give artifacts of {', '.join([*SECTIONS, schemas.PLOTS])}"
        )
    missing = _missing(path, manifest)
    try:
        return Source(path, manifest, title, make(manifest), missing)
    except (AttributeError, LookupError, TypeError, ValueError, StopIteration) as error:
        message = f"`{path}` is not as this version of circuit writes it ({type(error).__name__}: {error})"
        raise DataError(
            message, hint="run the command that writes it again, with --force"
        ) from error


def _missing(path: Path, manifest: Manifest) -> list[str]:
    """Name the files beside ``path`` that are gone; those that are there must be unchanged."""
    here = [ref for ref in manifest.outputs if (path.parent / ref.path).exists()]
    check_outputs(path, manifest.model_copy(update={"outputs": here}))
    return [ref.path for ref in manifest.outputs if ref not in here]


def _plots(folder: Path) -> Callable[[Manifest], Section]:
    """Take the pictures that lie in ``folder``."""

    def section(manifest: Manifest) -> Section:
        pictures = [
            Picture(Path(each["file"]).stem, _png(folder, each["file"]), each["caption"], {})
            for each in manifest.results["figures"]
        ]
        return Section("Drawn by visualize.", [], pictures)

    return section


def _png(folder: Path, name: str) -> bytes:
    """Read a picture that lies in ``folder`` itself, and nothing else."""
    image = read_bytes(folder / name) if Path(name).name == name else b""
    if not image.startswith(PNG) or len(image) < 24:
        message = f"`{name}` is not a PNG file in `{folder}`"
        raise ArtifactError(message, hint="draw the pictures again: circuit visualize --force")
    return image


def _in_order(sources: Sequence[Source]) -> list[Source]:
    """Sort by section; a picture that a section draws itself is not shown twice."""
    order = [*SECTIONS, schemas.PLOTS]
    ordered = sorted(sources, key=lambda source: order.index(source.manifest.schema_name))
    drawn: set[bytes] = set()
    kept = []
    for source in ordered:
        pictures = source.section.pictures
        if source.manifest.schema_name == schemas.PLOTS:
            pictures = [picture for picture in pictures if picture.image not in drawn]
        drawn |= {picture.image for picture in pictures}
        kept.append(replace(source, section=replace(source.section, pictures=pictures)))
    return kept


def _warnings(sources: Sequence[Source]) -> list[str]:
    models = list(dict.fromkeys(source.model for source in sources if source.model))
    warnings = []
    if len(models) > 1:
        warnings.append(f"These artifacts are about {len(models)} models: {', '.join(models)}.")
    given = {source.path.resolve(): digest(source.path) for source in sources}
    for source in sources:
        for ref in source.manifest.inputs:
            now = given.get((source.path.parent / ref.path).resolve())
            if now is not None and now != ref.sha256:
                warnings.append(f"{source.path.name} was made from another version of {ref.path}.")
    warnings += [
        f"{name}, which {source.path.name} describes, is not there: it could not be checked."
        for source in sources
        for name in source.missing
    ]
    return [*warnings, *_versions(sources)]


def _versions(sources: Sequence[Source]) -> list[str]:
    """Name the inputs of which two artifacts read two versions."""
    read: dict[Path, set[str]] = {}
    for source in sources:
        for ref in source.manifest.inputs:
            read.setdefault((source.path.parent / ref.path).resolve(), set()).add(ref.sha256)
    return [
        f"Artifacts here were made from {len(digests)} versions of {path.name}."
        for path, digests in read.items()
        if len(digests) > 1
    ]
