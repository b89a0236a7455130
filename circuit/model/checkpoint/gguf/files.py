"""Which GGUF files make one model, and the digest that they are known by."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from circuit.errors import ModelError

MAGIC = b"GGUF"
ABOUT = "gguf.json"  # in a checkpoint folder that was made of a GGUF file
_FOLDER = re.compile(r"([0-9a-f]{64})-\d+")
_PART = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")


def gguf_files(path: Path) -> list[Path]:
    """Return the GGUF files that ``path`` stands for, first part first; none if it is no GGUF.

    ``path`` is a GGUF file, one part of several, or a folder that holds one model as GGUF and no
    ``config.json``. Raises ``ModelError`` for parts that are missing, for several models in one
    folder, and for a ``.gguf`` file of another kind.
    """
    if path.is_dir():
        return _in_folder(path)
    if not path.is_file():
        return []
    with path.open("rb") as file:
        is_gguf = file.read(len(MAGIC)) == MAGIC
    if is_gguf:
        return _parts(path)
    if path.suffix == ".gguf":
        raise ModelError(
            "not-gguf",
            f"`{path}` is not a GGUF file: it does not begin with `GGUF`",
            hint="it is damaged or of another kind: download it again",
            path=str(path),
        )
    return []


def digest_of(files: Sequence[Path]) -> str:
    """Return the SHA-256 of one file, or of the digests of all parts."""
    digests = []
    for path in files:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return digests[0] if len(files) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def gguf_digest(folder: Path) -> str | None:
    """Return the SHA-256 of the GGUF file behind a checkpoint folder; None for another folder."""
    named = _FOLDER.fullmatch(folder.name)
    return named[1] if named and (folder / ABOUT).is_file() else None


def _in_folder(folder: Path) -> list[Path]:
    found = sorted(folder.glob("*.gguf"))
    if not found or (folder / "config.json").exists():
        return []
    parts = gguf_files(found[0])
    if set(found) != set(parts):
        named = ", ".join(path.name for path in found[:3])
        raise ModelError(
            "several-gguf-files",
            f"`{folder}` has {len(found)} GGUF files ({named}{', …' if len(found) > 3 else ''})",
            hint="give one of the files with -m",
            folder=str(folder),
            files=[path.name for path in found],
        )
    return parts


def _parts(path: Path) -> list[Path]:
    named = _PART.fullmatch(path.name)
    if named is None:
        return [path]
    count = int(named["count"])
    parts = [
        path.with_name(f"{named['stem']}-{number:05}-of-{count:05}.gguf")
        for number in range(1, count + 1)
    ]
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        raise ModelError(
            "gguf-part-missing",
            f"`{path}` is one of {count} parts, and `{missing[0]}` is missing",
            hint="put all parts into one folder",
            path=str(path),
            missing=missing,
        )
    return parts
