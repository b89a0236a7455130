"""``directions show``: the directions of a steering file, their quality, and their provenance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from circuit.artifacts.directions.direction import Direction
from circuit.artifacts.files.documents import plain
from circuit.artifacts.manifest.manifest import Manifest, manifest_path, read_manifest
from circuit.artifacts.steering_files.files import format_of, read_steering_file
from circuit.errors import UsageError
from circuit.present.document import Cell, Document, Estimate, Facts, Number, Part, Table, Text
from circuit.present.numbers import counted
from circuit.stages.directions.request import ShowRequest
from circuit.stages.directions.tokens import (
    PromotedTokens,
    present_tokens,
    promoted_tokens,
    the_one,
    token_prompts,
)
from circuit.stages.run import Command, Job, Plan, Result, Session
from circuit.values import schemas
from circuit.values.layers import parse_layers

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel


@dataclass(frozen=True, kw_only=True)
class ShownDirection:
    """One direction of a file; ``quality`` is what its maker recorded, empty in most formats."""

    name: str
    site: str
    layer: int
    method: str | None
    positive_label: str | None
    negative_label: str | None
    norm: float
    d: int
    format: str | None
    recommended: bool
    quality: Mapping[str, object]
    extra: Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class ShowResult(Result):
    """The directions of a file, where they came from, and the tokens of one of them."""

    file: str
    directions: list[ShownDirection]
    provenance: dict[str, str]
    tokens: PromotedTokens | None = None


def plan(request: ShowRequest) -> Plan[ShowResult]:
    """Read the file, and choose the direction whose tokens are shown."""
    if request.tokens != bool(request.model.model):
        message = "`--tokens` and `--model` go together"
        hint = "circuit directions show FILE --tokens -m MODEL"
        raise UsageError("options-go-together", message, hint=hint, options=("tokens", "model"))
    result, chosen = show_directions(request.file, name=request.name, layers=request.layers)
    direction = the_one(chosen) if request.tokens else None
    prompts = token_prompts(request.prompt)

    def begin(model: "LoadedModel") -> Job[ShowResult]:
        def compute(session: Session) -> ShowResult:  # noqa: ARG001
            if direction is None:
                return result
            tokens = promoted_tokens(
                model,
                direction,
                prompts=prompts,
                top=request.top,
                seed=request.seed.seed,
                allow_other_model=request.allow_other_model,
            )
            return replace(result, tokens=tokens)

        return Job(compute=compute)

    return Plan(
        result=ShowResult,
        model=request.model if request.tokens else None,
        begin=begin,
    )


def show_directions(
    path: Path, *, name: str | None = None, layers: str = "all"
) -> tuple[ShowResult, list[Direction]]:
    """Describe the directions of ``path``, or some of them; return the directions, too."""
    chosen = chosen_directions(path, read_steering_file(path), name, layers)
    result = ShowResult(
        file=str(path),
        directions=[_described(each) for each in chosen],
        provenance=_provenance(manifest_of(path), chosen[0]),
    )
    return result, chosen


def chosen_directions(
    path: Path, held: Sequence[Direction], name: str | None, layers: str
) -> list[Direction]:
    """Return those of one name and at some layers; ``UsageError`` where there is none."""
    names = list(dict.fromkeys(each.name for each in held))
    if name is not None and name not in names:
        message = f"`{path}` holds no direction `{name}`"
        hint = f"it holds {', '.join(names)}"
        raise UsageError("unknown-direction", message, hint=hint, name=name)
    named = [each for each in held if name in (None, each.name)]
    available = sorted({each.layer for each in named})
    model = named[0].model
    depth = model.n_layers if model is not None and model.n_layers else available[-1] + 1
    numbers = parse_layers(layers, available, depth)
    return [each for each in named if each.layer in numbers]


def manifest_of(path: Path) -> Manifest | None:
    """Return the manifest of an archive of directions; files of other formats have none."""
    if format_of(path) is not None:
        return None
    return read_manifest(manifest_path(path), schemas.DIRECTIONS)


def _described(each: Direction) -> ShownDirection:
    return ShownDirection(
        name=each.name,
        site=each.site,
        layer=each.layer,
        method=each.method,
        positive_label=each.positive_label,
        negative_label=each.negative_label,
        norm=each.norm,
        d=each.vector.size,
        format=each.format,
        recommended=bool(each.extra.get("recommended")),
        quality=plain(dict(each.quality)),
        extra=plain(dict(each.extra)),
    )


def _provenance(manifest: Manifest | None, first: Direction) -> dict[str, str]:
    """Say in one line each what the directions were made with and from."""
    model, extra = first.model, first.extra
    facts = {"width": str(first.vector.size)}
    if model is not None:
        weights = f", weights {model.weights_sha256[:12]}" if model.weights_sha256 else ""
        revision = f" at {model.revision}" if model.revision else ""
        facts["model"] = f"{model.id}{revision}{weights}"
    if first.format is not None:
        facts["prompts given as"] = first.format
    if manifest is None:
        keys = ("positive_prompt", "negative_prompt")
        return facts | {key: repr(extra[key]) for key in keys if key in extra}
    sources = ", ".join(f"{each.path} ({each.sha256[:12]})" for each in manifest.inputs)
    chosen = {k: v for k, v in manifest.parameters.items() if v not in (None, False)}
    return facts | {
        "made from": sources or "prompts",
        "choices": ", ".join(f"{key} {value}" for key, value in chosen.items()),
        "made by": f"circuit {manifest.run.version}, {manifest.run.created}",
    }


def present(result: ShowResult) -> Document:
    """Show a row for each direction, the provenance, and the tokens of one direction."""
    lines = []
    if not any(each.quality for each in result.directions):
        lines.append("How well it separates anything is not recorded.")
    elif any(each.recommended for each in result.directions):
        lines.append("* what `circuit steer` takes by default")
    parts: list[Part] = [
        _table(result.directions),
        Text(lines),
        Facts(list(result.provenance.items())),
    ]
    if result.tokens is not None:
        parts += present_tokens(result.tokens)
    return Document(f"{result.file}: {counted(len(result.directions), 'direction')}", parts)


def _table(found: Sequence[ShownDirection]) -> Table:
    header = ["direction", "site", "layer", "method", "from -> to", "norm"]
    header += ["AUROC", "shuffled", "n (groups)"]
    return Table(header=header, rows=[_row(each) for each in found])


def _row(each: ShownDirection) -> list[Cell]:
    quality, shuffled = each.quality, _numbers(each.quality.get("shuffled"))
    return [
        each.name + (" *" if each.recommended else ""),
        each.site,
        str(each.layer),
        each.method,
        f"{each.negative_label or '?'} -> {each.positive_label or '?'}",
        Number(each.norm, ".3g"),
        Estimate.of(_numbers(quality.get("auroc")), ".3f"),
        Number(shuffled[0] if shuffled else None, ".2f"),
        f"{quality['n']} ({quality['n_groups']})" if "n_groups" in quality else None,
    ]


def _numbers(value: object) -> list[float]:
    """Return a recorded estimate, empty where there is none."""
    return [float(each) for each in value] if isinstance(value, list) else []


COMMAND = Command(request=ShowRequest, plan=plan, present=present)
