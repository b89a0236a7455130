"""``verify``: is every file what its manifest says, and made from the inputs of today?

Starting from the given files, every manifest's outputs and inputs are followed, and every digest is
computed again.

    ok        nothing has changed since it was written
    changed   an output whose digest is not the recorded one, or a document that cannot be read any
              more
    missing   a file that is named but not there
    stale     made from an input that has changed since, or from one that is stale, changed or
              missing

A sharded archive is what its joint manifest names: the index and every shard. Shards that are not
joined have manifests of their own. A prompt set has no inputs; the files named in its parameters
(template, tools, source) count as such where they can be found.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from circuit.artifacts.archive.archive import is_archive
from circuit.artifacts.files.documents import as_object, read_json, schema_of
from circuit.artifacts.files.paths import index_path, manifest_path
from circuit.artifacts.manifest.manifest import digest
from circuit.artifacts.manifest.own_digest import check_own_digest
from circuit.artifacts.prompts.builtin import datasets_folder, resolved_path
from circuit.errors import ArtifactError
from circuit.present.document import Document, Text
from circuit.stages.checks.request import VerifyRequest
from circuit.stages.run import Command, Job, Plan, Result, Session, without_model
from circuit.values import schemas

DEEPEST = 50_000  # frames of Python, a few for each manifest


@dataclass(frozen=True)
class Finding:
    """The state of one file, and why it is not ``ok``."""

    path: Path
    status: str
    why: str = ""


class Ref(NamedTuple):
    """A file that a document names, and the digest that it had."""

    path: Path
    sha256: str
    optional: bool


class Seen(NamedTuple):
    """What has been judged, and digests, each of which is computed once: archives are large."""

    found: dict[Path, Finding]
    digest: Callable[[Path], str]


def verify(paths: Sequence[Path]) -> list[Finding]:
    """Check ``paths`` (artifacts, stems or folders) and all that they were made from."""
    seen = Seen({}, cache(digest))
    with _deep_recursion():
        for path in paths:
            for start in _starts(path):
                _inspect(start, seen)
    return list(seen.found.values())


@contextmanager
def _deep_recursion() -> Iterator[None]:
    """Follow chains of some ten thousand manifests: by default Python stops at about 300."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, DEEPEST))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def _starts(path: Path) -> list[Path]:
    """Return the documents that a command-line argument means."""
    if path.is_dir():
        documents = [file for file in sorted(path.glob("*.json")) if _concerns(file)]
        archives = sorted(path.glob("*.safetensors"))
        lone = [file for file in archives if not manifest_path(file).is_file()]
        # A safetensors file of another program has no manifest, and misses none.
        alone = [manifest_path(file) for file in lone if is_archive(file)]
        if not documents and not alone:
            message = f"the folder `{path}` holds no artifacts"
            hint = "give a manifest, an archive, or a folder with some"
            raise ArtifactError("no-artifacts", message, hint=hint, folder=str(path))
        return documents + alone
    named = path.suffix in {".safetensors", ""} or path == index_path(path)
    if named and manifest_path(path).is_file():
        return [manifest_path(path)]
    if path.is_file() and not _concerns(path):
        message = f"`{path}` has no manifest"
        hint = "give a file that circuit wrote, with its manifest in the same folder"
        raise ArtifactError("no-manifest", message, hint=hint, path=str(path))
    return [path]


def _concerns(file: Path) -> bool:
    """Say whether a file is circuit's, or so damaged that nobody can tell."""
    try:
        return _document(file) is not None
    except ArtifactError:
        return True


def _inspect(path: Path, seen: Seen) -> Finding:
    """Judge one file after everything that it was made from; each is judged once."""
    key = path.resolve()
    if key in seen.found:
        return seen.found[key]
    if not path.is_file():
        return seen.found.setdefault(key, Finding(path, "missing"))
    try:
        document = _document(path) if path.suffix == ".json" else None
    except ArtifactError as error:
        return seen.found.setdefault(key, Finding(path, "changed", error.message))
    # The entry comes before those of its inputs, so that a file that names itself cannot recurse.
    seen.found[key] = Finding(path, "ok")
    reasons = [_inspect_input(ref, seen) for ref in _inputs(path, document or {})]
    for ref in _refs(path, (document or {}).get("outputs")):
        _inspect_output(ref, path, seen)
    if stale := [reason for reason in reasons if reason]:
        seen.found[key] = Finding(path, "stale", "; ".join(stale))
    return seen.found[key]


def _inspect_input(ref: Ref, seen: Seen) -> str:
    """Return why what was made from this input is stale, or nothing."""
    if ref.optional and not ref.path.is_file():
        return ""
    manifest = manifest_path(ref.path)
    followed = [manifest] if ref.path.suffix == ".safetensors" and manifest.is_file() else []
    for path in (*followed, ref.path):
        if (status := _inspect(path, seen).status) != "ok":
            return f"`{path.name}` is {status}"
        for output in _refs(path, (_document(path) or {}).get("outputs")):
            if (status := seen.found[output.path.resolve()].status) != "ok":
                return f"`{output.path.name}` is {status}"
    return "" if seen.digest(ref.path) == ref.sha256 else f"`{ref.path.name}` has changed since"


def _inspect_output(ref: Ref, maker: Path, seen: Seen) -> None:
    """Judge an output; one that is a manifest (of an archive of a battery) is followed itself."""
    if not ref.path.is_file():
        seen.found[ref.path.resolve()] = Finding(ref.path, "missing", f"`{maker.name}` names it")
    elif seen.digest(ref.path) != ref.sha256:
        why = f"it is not the file that `{maker.name}` describes"
        seen.found[ref.path.resolve()] = Finding(ref.path, "changed", why)
    else:
        _inspect(ref.path, seen)


def _inputs(path: Path, document: dict[str, Any]) -> Iterator[Ref]:
    yield from _refs(path, document.get("inputs"))
    if document.get("schema") == schemas.PROMPTS:
        named = list((document.get("parameters") or {}).values())
        yield from _refs(path, [ref for ref in named if _is_ref(ref)], optional=True)


def _refs(path: Path, entries: Any, *, optional: bool = False) -> Iterator[Ref]:
    """Yield the files that a document names; a document of other types was refused before."""
    for entry in entries or ():
        yield Ref(resolved_path(entry["path"], path.parent), entry["sha256"], optional)


def _is_ref(value: Any) -> bool:
    keys = ("path", "sha256")
    return isinstance(value, dict) and all(isinstance(value.get(key), str) for key in keys)


def _are_refs(entries: Any) -> bool:
    """Say whether a list names files, or is left out."""
    return entries is None or (isinstance(entries, list) and all(map(_is_ref, entries)))


def _document(path: Path) -> dict[str, Any] | None:
    """Return a circuit document, ``None`` for other JSON."""
    if path.suffix != ".json":
        return None
    document = read_json(path)
    if not (schema_of(document) or "").startswith("circuit."):
        return None
    check_own_digest(as_object(document), path)
    for key in ("inputs", "outputs"):
        if not _are_refs(as_object(document).get(key)):
            message = f"`{path}` names its {key} in another form than circuit writes"
            hint = "write it again with the command that made it"
            raise ArtifactError("bad-document", message, hint=hint, path=str(path))
    return as_object(document)


@dataclass(frozen=True, kw_only=True)
class FileState:
    """A file as it is shown, its state, and why it is not ``ok``."""

    path: str
    status: str
    why: str


@dataclass(frozen=True, kw_only=True)
class VerifyResult(Result):
    """The state of every file of a chain."""

    COMMAND: ClassVar[str] = "circuit.stages.checks.verify:VERIFY"

    ok: bool
    files: list[FileState]


def plan(request: VerifyRequest) -> Plan[VerifyResult]:
    """Nothing is refused before the files are read."""

    def compute(_: Session) -> VerifyResult:
        found = verify(request.paths)
        return VerifyResult(
            ok=all(each.status == "ok" for each in found),
            files=[FileState(path=shown(f.path), status=f.status, why=f.why) for f in found],
        )

    return Plan(result=VerifyResult, begin=without_model(Job(compute=compute)))


def present(result: VerifyResult) -> Document:
    """Show a line for each file, then the verdict."""
    lines = [f"{f.status:8} {f.path}{f'  ({f.why})' if f.why else ''}" for f in result.files]
    bad = sum(f.status != "ok" for f in result.files)
    verdict = f"{len(result.files)} files, {f'{bad} not ok' if bad else 'all ok'}"
    return Document("", [Text([*lines, "", verdict])])


def shown(path: Path) -> str:
    """Return a path relative to the working folder; a built-in file is ``circuit:datasets/…``."""
    builtin = datasets_folder().resolve()
    if path.resolve().is_relative_to(builtin):
        return f"circuit:datasets/{path.resolve().relative_to(builtin).as_posix()}"
    return Path(os.path.relpath(path)).as_posix()


VERIFY = Command(
    request=VerifyRequest, plan=plan, present=present, failed=lambda result: not result.ok
)
