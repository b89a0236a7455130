"""The prompt sets, concepts and probe batteries that come with circuit.

In an installed package they are in ``circuit/datasets``; in a checkout, in ``datasets`` beside the
package. A set is a template file in that folder, a probe is one in ``probes/<stratum>/``, a concept
one in ``concepts/``.
"""

from difflib import get_close_matches
from pathlib import Path

from circuit.artifacts.files.documents import read_json, schema_of
from circuit.artifacts.manifest.manifest import relative_path
from circuit.errors import UsageError
from circuit.values import schemas


def datasets_folder() -> Path:
    """Return the folder that holds the built-in sets."""
    package = Path(__file__).parents[2]
    installed = package / "datasets"
    return installed if installed.is_dir() else package.parent / "datasets"


def builtin_sets() -> dict[str, Path]:
    """Return the built-in prompt sets by name."""
    return _templates(datasets_folder(), "*.json")


def builtin_probes() -> dict[str, Path]:
    """Return the built-in probes by name."""
    return _templates(datasets_folder() / "probes", "*/*.json")


def builtin_concepts() -> dict[str, Path]:
    """Return the built-in concepts by name."""
    return _templates(datasets_folder() / "concepts", "*.json")


def find_set(name: str) -> Path:
    """Return the template file of a built-in set, concept or probe, or ``name`` as a path.

    If several have the name, a set comes before a concept, and a concept before a probe.
    """
    kinds = {"sets": builtin_sets(), "concepts": builtin_concepts(), "probes": builtin_probes()}
    for known in kinds.values():
        if name in known:
            return known[name]
    if name.endswith(".json") or "/" in name:
        return Path(name)
    listed = [f"the {kind} are {', '.join(known)}" for kind, known in kinds.items() if known]
    near = get_close_matches(name, [each for known in kinds.values() for each in known], n=1)
    meant = [f"did you mean `{near[0]}`?"] if near else []
    raise UsageError(
        "unknown-prompt-set",
        f"unknown prompt set `{name}`",
        hint="; ".join([*meant, *listed, "or give a file"]),
        name=name,
    )


def find_file(path: Path) -> Path:
    """Return the file at ``path``, or the built-in set, concept or probe that it names."""
    return path if path.exists() or path.suffix else find_set(str(path))


def recorded_path(file: Path, folder: Path | None = None) -> str:
    """Return how a file is recorded in ``folder``: built-in ones as ``builtin:<path>``."""
    builtin = datasets_folder().resolve()
    if file.resolve().is_relative_to(builtin):
        return f"builtin:{file.resolve().relative_to(builtin).as_posix()}"
    return file.name if folder is None else relative_path(file, folder)


def resolved_path(spelling: str, folder: Path) -> Path:
    """Return the file that ``recorded_path`` recorded in ``folder``."""
    if spelling.startswith("builtin:"):
        return datasets_folder() / spelling.removeprefix("builtin:")
    return folder / spelling


def _templates(folder: Path, pattern: str) -> dict[str, Path]:
    files = sorted(folder.glob(pattern))
    return {f.stem: f for f in files if schema_of(read_json(f)) == schemas.TEMPLATES}
