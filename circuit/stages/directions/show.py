"""``directions show``: what a steering file holds, with the quality of each direction and where it came from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from circuit.artifacts.files.documents import plain
from circuit.artifacts.manifest.manifest import Manifest, manifest_path, read_manifest
from circuit.artifacts.steering_files.files import Direction, format_of, read_steering_file
from circuit.errors import UsageError
from circuit.values import schemas
from circuit.values.layers import parse_layers


def show_directions(
    path: Path, *, name: str | None = None, layers: str = "all"
) -> tuple[dict[str, Any], list[Direction]]:
    """Return the description of the directions of ``path``, or of some of them, and the directions."""
    chosen = chosen_directions(path, read_steering_file(path), name, layers)
    manifest = manifest_of(path)
    results = {
        "file": str(path),
        "directions": [_described(each) for each in chosen],
        "provenance": _provenance(manifest, chosen),
    }
    return results, chosen


def chosen_directions(
    path: Path, held: Sequence[Direction], name: str | None, layers: str
) -> list[Direction]:
    """Return those of one name and at some layers; ``UsageError`` where there is none."""
    names = list(dict.fromkeys(each.name for each in held))
    if name is not None and name not in names:
        message = f"`{path}` holds no direction `{name}`"
        raise UsageError(message, hint=f"it holds {', '.join(names)}")
    named = [each for each in held if name in (None, each.name)]
    available = sorted({each.layer for each in named})
    model = named[0].model
    depth = model.n_layers if model is not None and model.n_layers else available[-1] + 1
    wanted = parse_layers(layers, available, depth)
    return [each for each in named if each.layer in wanted]


def manifest_of(path: Path) -> Manifest | None:
    """Return the manifest of an archive of directions; files of other formats have none."""
    if format_of(path) is not None:
        return None
    return read_manifest(manifest_path(path), schemas.DIRECTIONS)


def _described(each: Direction) -> dict[str, Any]:
    fields = ("name", "site", "layer", "method", "positive_label", "negative_label", "norm")
    return {
        **{field: getattr(each, field) for field in fields},
        "d": each.vector.size,
        "format": each.format,
        "recommended": bool(each.extra.get("recommended")),
        "quality": plain(dict(each.quality)),
        "extra": plain(dict(each.extra)),
    }


def _provenance(manifest: Manifest | None, chosen: Sequence[Direction]) -> dict[str, str]:
    """Say in one line each what the directions were made with and from."""
    model, extra = chosen[0].model, chosen[0].extra
    said = {"width": str(chosen[0].vector.size)}
    if model is not None:
        weights = f", weights {model.weights_sha256[:12]}" if model.weights_sha256 else ""
        revision = f" at {model.revision}" if model.revision else ""
        said["model"] = f"{model.id}{revision}{weights}"
    if chosen[0].format is not None:
        said["prompts given as"] = chosen[0].format
    if manifest is None:
        said |= {
            key: repr(extra[key]) for key in ("positive_prompt", "negative_prompt") if key in extra
        }
        return said
    said["made from"] = (
        ", ".join(f"{i.path} ({i.sha256[:12]})" for i in manifest.inputs) or "prompts"
    )
    chose = {k: v for k, v in manifest.parameters.items() if v not in (None, False)}
    said["choices"] = ", ".join(f"{key} {value}" for key, value in chose.items())
    said["made by"] = f"circuit {manifest.run.version}, {manifest.run.created}"
    return said
