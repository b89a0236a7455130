"""``circuit concepts list``, ``create`` and ``remove``: all concepts, and one's own."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from circuit.artifacts.files.atomic import is_written
from circuit.artifacts.files.documents import as_object, document_bytes, plain, read_json, restored
from circuit.artifacts.prompts.concept_files import (
    concept_path,
    concepts,
    make_concept,
    read_concept,
    remove_concept,
    save_concept,
    user_concepts,
)
from circuit.artifacts.prompts.prompts import PromptSet
from circuit.errors import UsageError
from circuit.present.document import Cell, Document, Facts, Part, Section, Table
from circuit.present.numbers import formatted
from circuit.stages.concepts.build import BuildResult, build
from circuit.stages.concepts.build import present as present_build
from circuit.stages.concepts.library import Contents, built_for, layers_of, library_folder
from circuit.stages.concepts.request import CreateRequest, ListRequest, RemoveRequest
from circuit.stages.run import Command, Job, Plan, Session, without_model
from circuit.values.intervals import Interval

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel


@dataclass(frozen=True, kw_only=True)
class BuiltLayer:
    """A layer at which a concept's vector is in the library, and its held-out AUROC."""

    layer: int
    auroc: Interval | None


@dataclass(frozen=True, kw_only=True)
class ConceptSummary:
    """A concept, and the layers for which the library has its vector."""

    name: str
    category: str
    layers: list[BuiltLayer]


@dataclass(frozen=True, kw_only=True)
class ListResult:
    """Every concept; ``model`` is the one whose layers are listed."""

    model: str | None
    concepts: list[ConceptSummary]


@dataclass(frozen=True, kw_only=True)
class CreateResult:
    """A concept of one's own, its file, and its vectors where a model is named."""

    name: str
    n: int
    file: Path
    built: BuildResult | None = None

    def data(self) -> dict[str, object]:
        """Return what ``--json`` prints."""
        built = {} if self.built is None else self.built.data()
        return {"name": self.name, "n": self.n, "file": str(self.file), **built}


@dataclass(frozen=True, kw_only=True)
class RemoveResult:
    """The file that was removed."""

    removed: Path


def plan_list(request: ListRequest) -> Plan[ListResult]:
    """Plan to read the library; no model is loaded."""
    job = Job(compute=lambda _: listed(request.model))
    return Plan(result=ListResult, begin=without_model(job))


def listed(model: str | None = None) -> ListResult:
    """Describe every concept, with its layers and scores in the library of ``model``."""
    known, own = concepts(), user_concepts()
    built = {} if model is None else built_for(model, known)
    summaries = [
        {
            "name": name,
            "category": "own" if name in own else _stratum(path),
            "layers": [
                {"layer": layer, "auroc": auroc}
                for layer, auroc in sorted(built.get(name, {}).items())
            ],
        }
        for name, path in known.items()
    ]
    return ListResult(model=model, concepts=restored(list[ConceptSummary], summaries))


def _stratum(path: Path) -> str:
    return str(as_object(read_json(path)).get("stratum") or "")


def present_list(result: ListResult) -> Document:
    """Show what concepts there are, and where they have been fitted."""
    with_model = result.model is not None
    header = ["concept", "category", *(["layers: held-out AUROC"] if with_model else [])]
    rows: list[list[Cell]] = [
        [each.name, each.category, *([_layers(each)] if with_model else [])]
        for each in result.concepts
    ]
    return Document("", [Table(header=header, rows=rows)])


def _layers(concept: ConceptSummary) -> str:
    texts = [f"{b.layer}: {formatted(b.auroc[0] if b.auroc else None)}" for b in concept.layers]
    return ", ".join(texts) or "not built"


def plan_create(request: CreateRequest) -> Plan[CreateResult]:
    """Read the texts, and check the name."""
    prompts, path = _texts(request), concept_path(request.name)
    is_written(path, document_bytes(prompts), force=request.force)

    def begin(model: "LoadedModel") -> Job[CreateResult]:
        def compute(session: Session) -> CreateResult:
            built = None
            save_concept(request.name, prompts, force=request.force)
            if request.model.model:
                layers = layers_of(None, model.n_layers)
                built = build(model, Contents({request.name: path}, layers), session)
            return CreateResult(name=request.name, n=len(prompts.prompts), file=path, built=built)

        return Job(compute=compute)

    return Plan(
        result=CreateResult, model=request.model if request.model.model else None, begin=begin
    )


def _texts(request: CreateRequest) -> PromptSet:
    positive, neutral, hint = request.positive or [], request.neutral or [], "use --texts FILE, or"
    hint = f"{hint} --positive TEXT with --neutral TEXT"
    if request.texts is None:
        if not positive and not neutral:
            raise UsageError("no-texts", "no texts are given", hint=hint)
        return make_concept(request.name, positive, neutral)
    if positive or neutral:
        message = "texts are given by `--texts` and by `--positive` or `--neutral`"
        raise UsageError("option-given-twice", message, hint=hint)
    return read_concept(request.texts, request.name)


def present_create(result: CreateResult) -> Document:
    """Name the file, and show the scores of the vectors."""
    parts: list[Part] = [Facts([("Saved to", str(result.file))])]
    if result.built is not None:
        document = present_build(result.built)
        parts.append(Section(document.title, document.parts))
    return Document(f"Concept `{result.name}`: {result.n} texts", parts)


def plan_remove(request: RemoveRequest) -> Plan[RemoveResult]:
    """Plan to remove a concept of one's own."""
    job = Job(compute=lambda _: RemoveResult(removed=remove(request.name)))
    return Plan(result=RemoveResult, begin=without_model(job))


def remove(name: str) -> Path:
    """Remove a concept of one's own, and its archives from the library; return its file."""
    path = remove_concept(name)
    for archive in library_folder().glob(f"*/{name}-{'[0-9a-f]' * 12}.*"):
        archive.unlink()
    return path


def present_remove(result: RemoveResult) -> Document:
    """Name the file."""
    return Document("", [Facts([("Removed", str(result.removed))])])


LIST = Command(
    request=ListRequest,
    plan=plan_list,
    present=present_list,
    data=lambda result: plain(result.concepts),
)
CREATE = Command(
    request=CreateRequest, plan=plan_create, present=present_create, data=CreateResult.data
)
REMOVE = Command(request=RemoveRequest, plan=plan_remove, present=present_remove)
