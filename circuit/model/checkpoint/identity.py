"""Digests of a checkpoint's files: what fills in ``circuit.values.identity``."""

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path

from circuit.model.checkpoint.files import Config
from circuit.model.checkpoint.gguf.files import gguf_digest

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "additional_chat_templates/*.jinja",
)


def config_digest(config: Config) -> str:
    """SHA-256 of the configuration as the network was built from it (keys sorted)."""
    text = json.dumps(config, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def weight_files(folder: Path) -> list[Path]:
    """Return the files of the weights: ``model*.safetensors``, else all of ``*.safetensors``."""
    return sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("*.safetensors"))


def weights_digest(folder: Path, adapter: Path | None) -> str:
    """SHA-256 over the names and digests of the weight files, the adapter's included."""
    files = weight_files(folder)
    if adapter is not None:
        files += sorted(adapter.glob("*.safetensors")) + sorted(adapter.glob("adapter_config.json"))
    return _digest_of(files)


def tokenizer_digest(folder: Path) -> str:
    """SHA-256 over the names and digests of the tokenizer's files."""
    return _digest_of(path for name in TOKENIZER_FILES for path in sorted(folder.glob(name)))


def snapshot_revision(folder: Path) -> str | None:
    """Return what a folder's files were found as, or None.

    That is the commit of a folder in the Hugging Face cache (``snapshots/<commit>``), or
    ``sha256:`` with the digest of the GGUF file that the folder was made of.
    """
    if digest := gguf_digest(folder):
        return f"sha256:{digest}"
    commit = folder.name if folder.parent.name == "snapshots" else ""
    return commit if re.fullmatch(r"[0-9a-f]{40}", commit) else None


def _digest_of(files: Iterable[Path]) -> str:
    total = hashlib.sha256()
    for path in files:
        total.update(f"{path.name}\0{_file_digest(path)}\n".encode())
    return total.hexdigest()


def _file_digest(path: Path) -> str:
    # The Hugging Face cache names large blobs by their SHA-256, so they need not be read again.
    blob = path.resolve().name
    if re.fullmatch(r"[0-9a-f]{64}", blob):
        return blob
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
