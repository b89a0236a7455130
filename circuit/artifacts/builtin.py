"""The prompt sets and probe batteries that come with circuit.

In an installed package they are ``circuit/datasets``; in a checkout they are ``datasets`` beside the package.
A set is a template file in that folder; a probe is one in ``probes/<stratum>/``.
"""

from pathlib import Path

from circuit.artifacts.documents import read_json, schema_of
from circuit.errors import UsageError


def datasets_folder() -> Path:
    """Return the folder that holds the built-in sets."""
    package = Path(__file__).parents[1]
    installed = package / "datasets"
    return installed if installed.is_dir() else package.parent / "datasets"


def builtin_sets() -> dict[str, Path]:
    """Return the built-in prompt sets by name."""
    return _templates(datasets_folder(), "*.json")


def builtin_probes() -> dict[str, Path]:
    """Return the built-in probes by name."""
    return _templates(datasets_folder() / "probes", "*/*.json")


def find_set(name: str) -> Path:
    """Return the template file of a built-in set, or ``name`` itself when it is the path of a file."""
    sets = builtin_sets()
    if name in sets:
        return sets[name]
    if name.endswith(".json") or "/" in name:
        return Path(name)
    message = f"there is no prompt set `{name}`"
    raise UsageError(message, hint=f"choose one of {', '.join(sets)}, or give a template file")


def _templates(folder: Path, pattern: str) -> dict[str, Path]:
    files = sorted(folder.glob(pattern))
    return {f.stem: f for f in files if schema_of(read_json(f)) == "circuit.templates/1"}
