"""The concept library: directions of built-in concepts at three depths, of others at any layer.

Archives of ``circuit.directions/1`` are kept in the cache, in a folder for each model's weights.
Their names hold what was fitted and a digest of every choice, so that a second build finds the
first. Other texts, another version of circuit, another checkpoint or tokenizer give another
archive. The depths are a quarter, a half and three quarters of the blocks: layers 8, 16 and 24 of
32.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from circuit.artifacts.directions.direction import Direction
from circuit.artifacts.files.differences import fingerprint
from circuit.artifacts.files.documents import plain, read_json, schema_of
from circuit.artifacts.files.paths import manifest_path
from circuit.artifacts.manifest.manifest import Manifest, digest, read_manifest
from circuit.artifacts.prompts.concept_files import find_concept
from circuit.artifacts.prompts.read import read_prompts
from circuit.artifacts.steering_files.files import read_directions, write_directions
from circuit.errors import ArtifactError, UsageError
from circuit.stages.concepts.fit import (
    HELD_OUT,
    MINIMAL,
    OTHER,
    POSITION,
    SETTINGS,
    SITE,
    fit_concepts,
)
from circuit.stages.run import Job, Outcome, Plan, Record, Session, execute, silent, without_model
from circuit.values import schemas
from circuit.values.layers import parse_layers
from circuit.values.prompt_format import RAW
from circuit.values.version import VERSION

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel

DEPTHS = {"early": 0.25, "middle": 0.5, "late": 0.75}
Directions = list[Direction]


def depths(n_layers: int) -> dict[str, int]:
    """Return the layers of the three depths."""
    return {name: int(share * n_layers) for name, share in DEPTHS.items()}


def layers_of(text: str | None, n_layers: int) -> tuple[int, ...]:
    """Read ``early``, ``middle``, ``late`` or layers in the usual form; None: all three depths."""
    at = depths(n_layers)
    if text is None:
        return tuple(dict.fromkeys(at.values()))
    if text in at:
        return (at[text],)
    return tuple(parse_layers(text, range(n_layers), n_layers))


def one_layer(text: str, n_layers: int) -> int:
    """Read one layer; raise where several are named."""
    found = layers_of(text, n_layers)
    if len(found) != 1:
        message = f"`{text}` names {len(found)} layers, and one is needed"
        hint = "name one layer with --layer"
        raise UsageError("one-layer-expected", message, hint=hint, n_layers=len(found))
    return found[0]


@dataclass(frozen=True)
class Contents:
    """What one archive of the library holds: concepts, by name and file, and layers."""

    files: Mapping[str, Path]
    layers: tuple[int, ...] = ()

    def parameters(self) -> dict[str, object]:
        """Return every choice that the directions depend on."""
        return {
            "concepts": {name: digest(path) for name, path in self.files.items()},
            "layers": list(self.layers),
            "method": SETTINGS.method,
            "site": SITE,
            "position": POSITION,
            "left_out": MINIMAL,
            "held_out": 1 / HELD_OUT,
            "format": RAW.name,
            "n_boot": SETTINGS.n_boot,
        }

    def fit(self, model: "LoadedModel", session: Session) -> Directions:
        """Fit every concept at every layer."""
        sets = {name: read_prompts(path) for name, path in self.files.items()}
        return fit_concepts(model, sets, self.layers, session)

    def stem(self, model: "LoadedModel") -> Path:
        """Return the stem of the archive in the library."""
        label = next(iter(self.files)) if len(self.files) == 1 else f"{len(self.files)}-concepts"
        covers = {
            **self.parameters(),
            "model": model.identity,
            "tokenizer": model.tokenizer_identity,
            "version": VERSION,
        }
        return _model_folder(model) / f"{label}-{fingerprint(covers)[:12]}"


def library_archive(
    model: "LoadedModel", contents: Contents, session: Session, *, force: bool = False
) -> Outcome[Directions]:
    """Return the directions of an archive of the library; it is fitted where it is missing."""
    stem = contents.stem(model)
    job = Job(
        parameters=contents.parameters(),
        compute=lambda session: contents.fit(model, session),
        write=writer(stem),
        about_model=model.identity,
        about_tokenizer=model.tokenizer_identity,
    )
    plan = Plan(
        result=list,
        schema=schemas.DIRECTIONS,
        output=manifest_path(stem),
        saved_as=stem,
        force=force,
        begin=without_model(job),
        read=lambda _: read_directions(stem),
    )
    return execute(plan, session)


def writer(stem: Path) -> Callable[[Directions, Record], None]:
    """Return what writes directions of concepts as an archive."""

    def write(directions: Directions, record: Record) -> None:
        described = {key: value for key, value in vars(record).items() if key != "schema"}
        results = {"positions": mean_aurocs(directions)}
        write_directions(stem, directions, **described, results=results)

    return write


def mean_aurocs(directions: Sequence[Direction]) -> dict[str, float | None]:
    """Return the mean held-out AUROC at the position that is used and at the other."""
    scored = [d.quality for d in directions if d.quality]
    found = {
        POSITION: [quality["auroc"][0] for quality in scored],
        OTHER: [quality["auroc_last"] for quality in scored],
    }
    return {name: float(np.mean(values)) if values else None for name, values in found.items()}


def concept_directions(
    model: "LoadedModel", name: str, layers: Sequence[int], session: Session
) -> Directions:
    """Return the directions of one concept at ``layers``: from the library, or fitted and kept."""
    contents = Contents({name: find_concept(name)}, tuple(sorted(layers)))
    held = _held(model, name, contents)
    if not held.keys() >= set(layers):
        made = library_archive(model, contents, replace(session, note=silent))
        held = {direction.layer: direction for direction in made.result}
    return [held[layer] for layer in layers]


def _held(model: "LoadedModel", name: str, contents: Contents) -> dict[int, Direction]:
    """Return the directions of a concept, by layer, that any archive of this model holds."""
    asked = plain(contents.parameters())
    identities = (model.identity, model.tokenizer_identity, VERSION)
    held: dict[int, Direction] = {}
    for path, manifest in archives(_model_folder(model)):
        theirs = {**manifest.parameters, "layers": asked["layers"], "concepts": asked["concepts"]}
        same = theirs == asked and _digest_in(manifest, name) == asked["concepts"][name]
        if same and (manifest.model, manifest.tokenizer, manifest.run.version) == identities:
            held |= {each.layer: each for each in read_directions(path) if each.name == name}
    return held


def built_for(model_id: str, concepts: Mapping[str, Path]) -> dict[str, dict[int, object]]:
    """Return the AUROCs in the library of ``model_id``, by concept and layer."""
    found: dict[str, dict[int, object]] = {}
    for _, manifest in archives(library_folder()):
        if manifest.model is not None and manifest.model.id == model_id:
            for entry in manifest.results["directions"]:
                name = entry["name"]
                if name in concepts and _digest_in(manifest, name) == digest(concepts[name]):
                    found.setdefault(name, {})[entry["layer"]] = entry["quality"].get("auroc")
    return found


def _digest_in(manifest: Manifest, name: str) -> object:
    return manifest.parameters["concepts"].get(name)


def library_folder() -> Path:
    """Return the folder of the library in the cache."""
    from circuit.model.machine.runtime import cache_folder

    return cache_folder() / "concepts"


def _model_folder(model: "LoadedModel") -> Path:
    return library_folder() / str(model.identity.weights_sha256)[:16]


def archives(folder: Path) -> Iterator[tuple[Path, Manifest]]:
    """Yield every archive in ``folder``: the path of its manifest, and the manifest.

    What is damaged there is left out: the library is a cache, and is built again where it is used.
    """
    for path in sorted(folder.rglob("*.json")):
        try:
            if schema_of(read_json(path)) != schemas.DIRECTIONS:
                continue
            manifest = read_manifest(path, schemas.DIRECTIONS)
        except ArtifactError:
            continue
        yield path, manifest
