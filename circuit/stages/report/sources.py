"""The artifacts of a report: their files, the document of each, and warnings about them.

Of a folder, every artifact in it is meant, and the ``plots.json`` of its folders. Artifacts whose
outputs have changed since are refused, those whose outputs are gone are named in a warning, and
artifacts of several models, or made from one another's earlier versions, too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from circuit.artifacts.files.documents import read_bytes, read_json, restored, schema_of
from circuit.artifacts.manifest.manifest import (
    Manifest,
    digest,
    manifest_path,
    missing_outputs,
    read_manifest,
)
from circuit.errors import ArtifactError
from circuit.present.document import Document, Figure, Finding, Part, Section, Text
from circuit.stages.documents import ARTIFACTS, document_of
from circuit.stages.figures.pictures import FigureFiles
from circuit.values import schemas

PNG = b"\x89PNG\r\n\x1a\n"
TITLES = {
    schemas.PROBES: "Battery of probes",
    schemas.ANALYSIS: "Analysis of the layers",
    schemas.DIRECTIONS: "Directions",
    schemas.STEERING: "Steering",
    schemas.SWEEP: "Steering, measured",
    schemas.PLOTS: "Pictures",
}
ORDER = [*ARTIFACTS, schemas.PLOTS]


@dataclass(frozen=True)
class Source:
    """An artifact that is reported, and its document."""

    path: Path
    manifest: Manifest
    document: Document
    missing: Sequence[str] = ()  # files that it describes and that are gone

    @property
    def title(self) -> str:
        """What kind of artifact it is, and its file."""
        schema = self.manifest.schema_name
        return f"{TITLES.get(schema, schema)} ({self.path.name})"

    @property
    def model(self) -> str | None:
        """The model that it is about."""
        return None if self.manifest.model is None else self.manifest.model.id

    @property
    def strength(self) -> int:
        """The strength of its strongest finding; -1 without findings."""
        return max((each.strength for each in self.document.findings()), default=-1)

    def without(self, figures: Sequence[Figure], *kinds: type[Part]) -> list[Part]:
        """Return the parts of its document without some figures and some kinds of parts."""
        kept = self.document.without(*kinds)
        return _left(kept.parts, figures)


def _left(parts: Sequence[Part], figures: Sequence[Figure]) -> list[Part]:
    kept: list[Part] = []
    for part in parts:
        if isinstance(part, Section):
            kept.append(Section(part.title, _left(part.parts, figures)))
        elif not any(part is figure for figure in figures):
            kept.append(part)
    return kept


def read_sources(paths: Sequence[Path]) -> list[Source]:
    """Read the artifacts of ``paths`` (files or folders), in the order of a report."""
    found = {path.resolve(): path for given in paths for path in _artifacts(given)}
    sources = [_source(path) for path in found.values()]
    return sorted(sources, key=lambda source: ORDER.index(source.manifest.schema_name))


def _artifacts(given: Path) -> list[Path]:
    """Return the manifests that an argument means; of a folder, what a report can show."""
    if not given.is_dir():
        return [manifest_path(given) if given.suffix == ".safetensors" else given]
    documents = sorted([*given.glob("*.json"), *given.glob("*/plots.json")])
    shown = [path for path in documents if _is_shown(path)]
    if not shown:
        message = f"the folder `{given}` holds nothing to report"
        hint = "a report shows the output of probes run, analyze, directions, steer and visualize"
        raise ArtifactError("nothing-to-report", message, hint=hint, path=str(given))
    return shown


def _is_shown(path: Path) -> bool:
    """Say whether the report of a folder shows this; saved probes of a battery are not shown."""
    document = read_json(path)
    schema = schema_of(document)
    results = document.get("results") if isinstance(document, Mapping) else None
    saved = isinstance(results, Mapping) and "best_layers" in results
    return schema in ORDER and not saved


def _source(path: Path) -> Source:
    schema = schema_of(read_json(path))
    if schema not in ORDER:
        holds = f"`{schema}`" if schema else "no circuit document"
        message = f"`{path}` holds {holds}, which a report does not show"
        hint = f"give artifacts of {', '.join(ORDER)}"
        raise ArtifactError("not-reportable", message, hint=hint, schema=schema)
    manifest = read_manifest(path, schema)
    missing = missing_outputs(path, manifest)
    if schema == schemas.PLOTS:
        return Source(path, manifest, _pictures(path, manifest), missing)
    return Source(path, manifest, document_of(manifest, path), missing)


def _pictures(path: Path, manifest: Manifest) -> Document:
    """Return the document of the pictures that lie beside ``path``, drawn by ``visualize``."""
    try:
        listed = restored(list[FigureFiles], manifest.results.get("figures"))
    except ArtifactError as error:
        raise error.within(f"`{path}`") from error
    images = [(each, _png(path.parent, each.file)) for each in listed]
    figures = [
        Figure(
            name=Path(each.file).stem,
            png=lambda image=image: image,  # type: ignore[misc]
            caption=each.caption,
        )
        for each, image in images
    ]
    return Document("", [Text(["Drawn by visualize."]), *figures])


def _png(folder: Path, name: str) -> bytes:
    """Read a picture in ``folder`` itself, and nothing else."""
    image = read_bytes(folder / name) if Path(name).name == name else b""
    if not image.startswith(PNG) or len(image) < 24:
        message = f"`{name}` is not a PNG file in `{folder}`"
        hint = "draw the pictures again: circuit visualize --force"
        raise ArtifactError("not-a-picture", message, hint=hint, name=name)
    return image


def warnings_about(sources: Sequence[Source]) -> list[str]:
    """Say where the artifacts do not belong together, or to their files."""
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
        f"{name}, which {source.path.name} describes, is missing: it could not be checked."
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


def main_figure(sources: Sequence[Source]) -> Figure | None:
    """Return the first figure of the battery, else of the artifact with the strongest finding."""
    drawn = [source for source in sources if source.document.figures()]
    battery = [s for s in drawn if s.manifest.schema_name == schemas.PROBES]
    best = max(battery or drawn, key=lambda source: source.strength, default=None)
    return None if best is None else best.document.figures()[0]


def each_picture_once(sources: Sequence[Source]) -> list[Source]:
    """Leave out pictures of ``visualize`` that another document draws, too; draw each only once."""
    kept: list[Source] = []
    images: set[bytes] = set()
    for source in sources:
        drawn = replace(source, document=_cached(source.document))
        if source.manifest.schema_name == schemas.PLOTS:
            again = [figure for figure in drawn.document.figures() if figure.png() in images]
            drawn = replace(drawn, document=Document("", drawn.without(again)))
        images |= {figure.png() for figure in drawn.document.figures()}
        kept.append(drawn)
    return kept


def _cached(document: Document) -> Document:
    return Document(document.title, [_drawn_once(part) for part in document.parts])


def _drawn_once(part: Part) -> Part:
    match part:
        case Figure():
            return replace(part, png=cache(part.png))
        case Section():
            return Section(part.title, [_drawn_once(each) for each in part.parts])
        case _:
            return part


def findings_of(sources: Sequence[Source]) -> list[tuple[str, list[Finding]]]:
    """Return the findings of each artifact under its title."""
    return [(source.title, source.document.findings()) for source in sources]
