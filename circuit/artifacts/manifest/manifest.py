"""The manifest: a JSON file beside an artifact that records what it is and how it was made.

    schema       the kind of artifact, such as ``circuit.activations/1``
    model        the checkpoint, as requested and as found, and the form in which it was run
    tokenizer    the files that turned text into token ids
    parameters   every option, defaults expanded
    inputs       [{path, sha256}] of the files that were read
    outputs      [{path, sha256}] of the files that were written with it
    results      what was found
    run          version, command, time, host, package versions, seconds, peak memory, and a digest
                 of all the above (``own_digest``)

Paths are relative to the manifest and use ``/``. Everything outside ``run`` is a function of the
inputs and the parameters, so ``digest`` leaves ``run`` out: repeating a run does not make later
artifacts stale. A stage writes its manifest last: if it is there, so is the rest.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import BaseModel, Field

from circuit.artifacts.files.atomic import refuse_overwrite, replace_file, write_errors
from circuit.artifacts.files.documents import (
    as_object,
    canonical_json,
    document_chunks,
    not_a_file,
    one_level,
    plain,
    read_document,
    read_errors,
    schema_of,
    validated,
)
from circuit.artifacts.files.paths import manifest_path, refuse_input
from circuit.artifacts.files.records import Record
from circuit.artifacts.manifest.own_digest import check_own_digest, content_digest
from circuit.artifacts.manifest.run import Run
from circuit.errors import ArtifactError
from circuit.values.identity import ModelIdentity, TokenizerIdentity
from circuit.values.json_values import JsonMapping, JsonObject, parse_json
from circuit.values.version import VERSION

__all__ = [
    "FileRef",
    "Manifest",
    "ModelIdentity",
    "Run",
    "canonical_json",
    "digest",
    "manifest_path",
]


class FileRef(Record):
    """A file, relative to the manifest that names it, and the digest that it had."""

    path: str
    sha256: str


class Manifest(Record):
    """The content of a manifest, as listed above."""

    schema_name: str = Field(alias="schema")
    model: ModelIdentity | None = None
    tokenizer: TokenizerIdentity | None = None
    parameters: JsonObject
    inputs: tuple[FileRef, ...]
    outputs: tuple[FileRef, ...]
    results: JsonObject
    run: Run

    def content(self) -> JsonObject:
        """Return everything but ``run``: equal inputs and parameters give equal content."""
        return {key: value for key, value in plain(self).items() if key != "run"}


def digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes; of a manifest's canonical text without ``run``."""
    if path.suffix == ".json" and _mentions_run(path):
        content = _manifest_content(path)
        if content is not None:
            return content_digest(content)
    with read_errors(path):
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise not_a_file(path)
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def reference(path: Path | FileRef, folder: Path) -> FileRef:
    """Refer to ``path`` from a manifest in ``folder``."""
    if isinstance(path, FileRef):
        return path
    return FileRef(path=relative_path(path, folder), sha256=digest(path))


def relative_path(path: Path, folder: Path) -> str:
    """Return ``path`` as seen from ``folder``, with ``/``."""
    return Path(os.path.relpath(path, folder)).as_posix()


def write_manifest(  # noqa: PLR0913 - the fields of a manifest
    path: Path,
    *,
    schema: str,
    parameters: JsonMapping,
    inputs: Sequence[Path | FileRef],
    outputs: Sequence[Path | FileRef] = (),
    results: JsonMapping | None = None,
    model: ModelIdentity | None = None,
    tokenizer: TokenizerIdentity | None = None,
    run: Run,
    force: bool = False,
) -> Manifest:
    """Write the manifest at ``path``, after everything that it names, and return it.

    A file may be a reference already.
    """
    manifest = Manifest(
        schema_name=schema,
        model=model,
        tokenizer=tokenizer,
        parameters=plain(parameters),
        inputs=tuple(reference(each, path.parent) for each in inputs),
        outputs=tuple(reference(each, path.parent) for each in outputs),
        # A pydantic model in the results (the prompts) is reduced while it is written, in parts.
        results={
            k: v if isinstance(v, BaseModel) else plain(v) for k, v in (results or {}).items()
        },
        run=run,
    )
    own = content_digest(as_object(one_level(manifest)))
    signed = manifest.model_copy(update={"run": run.model_copy(update={"content_sha256": own})})
    save_manifest(path, signed, force=force)
    return signed


def save_manifest(path: Path, manifest: Manifest, *, force: bool = False) -> None:
    """Write ``manifest``; raise if ``path`` holds another one and ``force`` is not given."""
    # Read once: another process may be writing the same file.
    if path.exists():
        if _manifest_content(path) == json.loads(canonical_json(manifest.content())):
            with write_errors(path):
                os.utime(path)
            return
        refuse_overwrite(path, force=force)
    replace_file(path, document_chunks(manifest))


def read_manifest(path: Path, schema: str) -> Manifest:
    """Read the manifest of an artifact that must be ``schema``."""
    archive = path.with_name(path.name.removesuffix(".json") + ".safetensors")
    if archive.is_file() and not path.exists():
        raise ArtifactError(
            "manifest-missing",
            f"`{archive}` is incomplete: its manifest `{path.name}` is missing",
            hint="run the command that writes it again",
            path=str(path),
            archive=str(archive),
        )
    document = read_document(path, schema)
    check_own_digest(document, path)
    return validated(Manifest, document, path)


def check_outputs(path: Path, manifest: Manifest) -> None:
    """Raise ``ArtifactError`` unless every output of ``manifest`` is there, unchanged."""
    for output in manifest.outputs:
        if not (path.parent / output.path).exists():
            raise ArtifactError(
                "output-missing",
                f"`{path}` describes `{path.parent / output.path}`, which does not exist",
                hint="put it back, or write it again with --force",
                path=str(path.parent / output.path),
                manifest=str(path),
            )
        if digest(path.parent / output.path) != output.sha256:
            raise ArtifactError(
                "output-changed",
                f"`{path.parent / output.path}` is not the file that `{path}` describes",
                hint="the file has changed: write it again with --force",
                path=str(path.parent / output.path),
                manifest=str(path),
            )


def missing_outputs(path: Path, manifest: Manifest) -> list[str]:
    """Name the outputs of ``manifest`` that are gone; raise if one that exists has changed."""
    here = [ref for ref in manifest.outputs if (path.parent / ref.path).exists()]
    check_outputs(path, manifest.model_copy(update={"outputs": here}))
    return [ref.path for ref in manifest.outputs if ref not in here]


def check_described(path: Path, manifest: Manifest, files: Iterable[Path]) -> None:
    """Raise ``ArtifactError`` unless each of ``files`` is an output of ``manifest``.

    ``check_outputs`` checks what the manifest names; a renamed manifest may name another archive
    than its own. An output is known by its name or its digest.
    """
    named = {(path.parent / output.path).resolve() for output in manifest.outputs}
    known = {output.sha256 for output in manifest.outputs}
    for file in files:
        if file.resolve() not in named and not (file.is_file() and digest(file) in known):
            described = ", ".join(f"`{output.path}`" for output in manifest.outputs) or "no file"
            raise ArtifactError(
                "manifest-of-other-file",
                f"`{path}` describes {described}, not `{file}`",
                hint="keep an archive and its manifest together, under their original names",
                path=str(path),
                file=str(file),
            )


def reusable(
    path: Path,
    *,
    schema: str,
    parameters: JsonMapping,
    inputs: Sequence[Path],
    model: ModelIdentity | None = None,
    tokenizer: TokenizerIdentity | None = None,
    force: bool = False,
) -> Manifest | None:
    """Return the manifest at ``path`` if it holds this very run, with its outputs; else ``None``.

    A run is the same if schema, parameters, inputs, version of circuit and, where given, model
    (with its adapter) and tokenizer (with its chat template) are equal. Another run at ``path`` is
    an error without ``force``; so is a file that records no model or tokenizer where one is given.
    """
    refuse_input(path, inputs)
    if force or not path.is_file():
        return None
    refs = tuple(reference(each, path.parent) for each in inputs)
    refuse_other(path, schema)
    manifest = read_manifest(path, schema)
    recorded = (manifest.parameters, manifest.inputs, manifest.run.version)
    same = recorded == (plain(parameters), refs, VERSION)
    same = same and (model is None or manifest.model == model)
    if not same or (tokenizer is not None and manifest.tokenizer != tokenizer):
        refuse_overwrite(path, force=False)
    check_outputs(path, manifest)
    _check_outputs_of_outputs(path, manifest)
    with write_errors(path):
        os.utime(path)
    return manifest


def _check_outputs_of_outputs(path: Path, manifest: Manifest) -> None:
    """Check what the manifests among the outputs describe: the archives of a battery."""
    for output in manifest.outputs:
        inner = path.parent / output.path
        content = _manifest_content(inner) if inner.suffix == ".json" else None
        if content is not None:
            check_outputs(inner, read_manifest(inner, content["schema"]))


def may_be_equal(path: Path, schema: str, parameters: JsonMapping, inputs: Sequence[Path]) -> bool:
    """Return whether ``path`` may hold this run, of which only some parameters are known."""
    found = _manifest_content(path)
    if found is None or found.get("schema") != schema:
        return False
    recorded, known = found.get("parameters") or {}, plain(dict(parameters))
    refs = [plain(reference(each, path.parent)) for each in inputs]
    same = all(key in recorded and recorded[key] == known[key] for key in known)
    return same and found.get("inputs") == refs


def refuse_other(path: Path, schema: str) -> None:
    """Raise ``ArtifactError`` when ``path`` holds anything but a document of ``schema``."""
    if path.exists() and (_manifest_content(path) or {}).get("schema") != schema:
        refuse_overwrite(path, force=False)


def _manifest_content(path: Path) -> JsonObject | None:
    try:
        document = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return None
    if not (schema_of(document) or "").startswith("circuit.") or "run" not in document:
        return None
    return {key: value for key, value in document.items() if key != "run"}


def _mentions_run(path: Path) -> bool:
    """Return whether a file can be a manifest, without parsing it: it may hold 50,000 prompts."""
    before = b""
    with read_errors(path), path.open("rb") as file:
        while block := file.read(1 << 20):
            if b'"run"' in before + block:
                return True
            before = block[-4:]
    return False
