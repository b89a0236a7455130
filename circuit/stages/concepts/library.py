"""The concept library: directions of all built-in concepts at three depths, and of single concepts at any layer.

Archives of ``circuit.directions/1`` lie in the cache, in a folder for each model's weights, named after what was fitted and a digest of
every choice, so that a second build finds the first. The depths are a quarter, a half and three quarters of the blocks:
layers 8, 16 and 24 of 32. What was fitted from other texts, by another version, or of another checkpoint is another archive.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from circuit.artifacts.files.differences import fingerprint
from circuit.artifacts.files.documents import as_object, plain, read_json, schema_of
from circuit.artifacts.manifest.manifest import (
    Manifest,
    Run,
    digest,
    manifest_path,
    read_manifest,
    reusable,
)
from circuit.artifacts.prompts.builtin import builtin_concepts
from circuit.artifacts.prompts.concept_files import (
    concepts,
    find_concept,
    make_concept,
    read_concept,
    remove_concept,
    save_concept,
    user_concepts,
)
from circuit.artifacts.prompts.read import read_prompts
from circuit.artifacts.steering_files.files import Direction, read_directions, write_directions
from circuit.errors import UsageError
from circuit.stages.concepts import fit as concept_fit
from circuit.stages.concepts.fit import fit_concepts
from circuit.stages.run import Track, untracked
from circuit.values import schemas
from circuit.values.layers import parse_layers
from circuit.values.prompt_format import RAW
from circuit.values.version import VERSION

DEPTHS = {"early": 0.25, "middle": 0.5, "late": 0.75}


@dataclass(frozen=True)
class Wanted:
    """Concepts and layers of one archive."""

    files: Mapping[str, Path]
    layers: tuple[int, ...]

    def parameters(self, model: Any) -> dict[str, Any]:
        """Return every choice that the directions depend on."""
        return {
            "concepts": {name: digest(path) for name, path in self.files.items()},
            "layers": list(self.layers),
            "method": concept_fit.METHOD,
            "site": "resid_post",
            "position": concept_fit.POSITION,
            "left_out": concept_fit.MINIMAL,
            "held_out": 1 / concept_fit.HELD_OUT,
            "format": RAW.name,
            "n_boot": concept_fit.N_BOOT,
            "tokenizer_sha256": model.tokenizer_identity.files_sha256,
        }


def depths(n_layers: int) -> dict[str, int]:
    """Return the layers of the three depths."""
    return {name: int(share * n_layers) for name, share in DEPTHS.items()}


def layers_of(text: str | None, n_layers: int) -> tuple[int, ...]:
    """Read ``early``, ``middle``, ``late`` or layers as they are written elsewhere; None is all three depths."""
    at = depths(n_layers)
    if text is None:
        return tuple(dict.fromkeys(at.values()))
    if text in at:
        return (at[text],)
    return tuple(parse_layers(text, range(n_layers), n_layers))


def build(
    model: Any,
    names: Sequence[str] = (),
    layers: str | None = None,
    out: Path | None = None,
    *,
    force: bool = False,
    track: Track = untracked,
) -> tuple[dict[str, Any], bool]:
    """Fit the built-in concepts, or ``names``, at the three depths, or ``layers``, into the cache and ``out``.

    Returns the results, and whether they were there already.
    """
    files = {name: find_concept(name) for name in names} if names else builtin_concepts()
    wanted = Wanted(files, layers_of(layers, model.n_layers))
    archive, reused = _made(model, wanted, _place(model, wanted), force=force, track=track)
    if out is not None:
        _write(model, wanted, out, read_directions(archive), force=force)
    described = _described(read_directions(archive), model.n_layers)
    return {"archive": str(out or archive), "model": model.id, **described}, reused


def concept_directions(
    model: Any, name: str, layers: Sequence[int], *, track: Track = untracked
) -> list[Direction]:
    """Return the directions of one concept at ``layers``: from the library, or fitted now and kept."""
    wanted = Wanted({name: find_concept(name)}, tuple(sorted(layers)))
    held = _held(model, name, wanted)
    if not held.keys() >= set(layers):
        archive, _ = _made(model, wanted, _place(model, wanted), force=False, track=track)
        held = {direction.layer: direction for direction in read_directions(archive)}
    return [held[layer] for layer in layers]


def _held(model: Any, name: str, wanted: Wanted) -> dict[int, Direction]:
    """Return the directions of a concept, by layer, that lie in any archive of this very model and these texts."""
    asked = plain(wanted.parameters(model))
    identity = model.identity
    held: dict[int, Direction] = {}
    for path, manifest in _archives(_folder_of(model)):
        theirs = {**manifest.parameters, "layers": asked["layers"], "concepts": asked["concepts"]}
        known = manifest.parameters["concepts"].get(name)
        same = theirs == asked and known == asked["concepts"][name] and manifest.model == identity
        if same and manifest.run.version == VERSION:
            held |= {each.layer: each for each in read_directions(path) if each.name == name}
    return held


def listed(model_id: str | None = None) -> list[dict[str, Any]]:
    """Describe every concept, with its layers and held-out scores in the cache of ``model_id``; no model is loaded."""
    own = user_concepts()
    built: dict[str, dict[int, Any]] = {}
    for _, manifest in _archives(_folder()) if model_id is not None else ():
        if manifest.model is not None and manifest.model.id == model_id:
            for entry in manifest.results["directions"]:
                known = manifest.parameters["concepts"].get(entry["name"])
                if entry["name"] in concepts() and known == digest(concepts()[entry["name"]]):
                    built.setdefault(entry["name"], {})[entry["layer"]] = entry["quality"]
    return [
        {
            "name": name,
            "category": "own" if name in own else _stratum(path),
            "layers": [
                {"layer": layer, "auroc": quality.get("auroc")}
                for layer, quality in sorted(built.get(name, {}).items())
            ],
        }
        for name, path in concepts().items()
    ]


def check_names(names: Sequence[str]) -> None:
    """Raise for a concept that there is not."""
    for name in names:
        find_concept(name)


def create(
    name: str,
    texts: Path | None,
    positive: Sequence[str],
    neutral: Sequence[str],
    *,
    force: bool = False,
) -> dict[str, Any]:
    """Keep a concept of one's own, made of a file or of texts."""
    if (texts is None) == (not positive and not neutral):
        what = "no texts are given" if texts is None else "texts are given twice"
        raise UsageError(
            "texts-missing", what, hint="use --texts FILE, or --positive TEXT with --neutral TEXT"
        )
    prompts = make_concept(name, positive, neutral) if texts is None else read_concept(texts, name)
    path = save_concept(name, prompts, force=force)
    return {"name": name, "n": len(prompts.prompts), "file": str(path)}


def remove(name: str) -> Path:
    """Remove a concept of one's own, and its archives from the cache."""
    path = remove_concept(name)
    for archive in _folder().glob(f"*/{name}-{'[0-9a-f]' * 12}.*"):
        archive.unlink()
    return path


def _folder() -> Path:
    from circuit.model.machine.runtime import cache_folder

    return cache_folder() / "concepts"


def _place(model: Any, wanted: Wanted) -> Path:
    """Return the stem of an archive; its name says which concepts, for people, and has a digest of all choices."""
    label = next(iter(wanted.files)) if len(wanted.files) == 1 else f"{len(wanted.files)}-concepts"
    covers = {**wanted.parameters(model), "model": model.identity, "version": VERSION}
    return _folder_of(model) / f"{label}-{fingerprint(covers)[:12]}"


def _folder_of(model: Any) -> Path:
    return _folder() / str(model.identity.weights_sha256)[:16]


def _made(
    model: Any, wanted: Wanted, place: Path, *, force: bool, track: Track
) -> tuple[Path, bool]:
    parameters = wanted.parameters(model)
    found = reusable(
        manifest_path(place),
        schema=schemas.DIRECTIONS,
        parameters=parameters,
        inputs=[],
        model=model.identity,
        force=force,
    )
    if found is None:
        sets = {name: read_prompts(path) for name, path in wanted.files.items()}
        _write(model, wanted, place, fit_concepts(model, sets, wanted.layers, track), force=True)
    return place, found is not None


def _write(
    model: Any, wanted: Wanted, out: Path, directions: Sequence[Direction], *, force: bool
) -> None:
    started = time.perf_counter()
    write_directions(
        out,
        directions,
        parameters=wanted.parameters(model),
        inputs=[],
        results={"positions": _positions(directions)},
        model=model.identity,
        tokenizer=model.tokenizer_identity,
        run=Run.since(started),
        force=force,
    )


def _positions(directions: Sequence[Direction]) -> dict[str, float | None]:
    """Return the mean held-out AUROC at the position that is used and at the other."""
    scored = [d.quality for d in directions if d.quality]
    here = [quality["auroc"][0] for quality in scored]
    other = [quality["auroc_last"] for quality in scored]
    return {
        name: float(np.mean(values)) if values else None
        for name, values in ((concept_fit.POSITION, here), (concept_fit.OTHER, other))
    }


def _described(directions: Sequence[Direction], n_layers: int) -> dict[str, Any]:
    return {
        "depths": depths(n_layers),
        "n_layers": n_layers,
        "positions": _positions(directions),
        "directions": [
            {"name": d.name, "layer": d.layer, "norm": d.norm, **d.quality} for d in directions
        ],
    }


def _archives(folder: Path) -> Iterator[tuple[Path, Manifest]]:
    for path in sorted(folder.rglob("*.json")):
        if schema_of(read_json(path)) == schemas.DIRECTIONS:
            yield path, read_manifest(path, schemas.DIRECTIONS)


def _stratum(path: Path) -> str:
    return str(as_object(read_json(path)).get("stratum") or "")


def one_layer(text: str, n_layers: int) -> int:
    """Read one layer; raise where several are named."""
    found = layers_of(text, n_layers)
    if len(found) != 1:
        raise UsageError(
            "one-layer-expected",
            f"`{text}` names {len(found)} layers",
            hint="name one with --layer",
        )
    return found[0]
