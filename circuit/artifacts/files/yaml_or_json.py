"""Files that people write by hand, in YAML or JSON: how they are parsed, and what is said about a misspelt key.

A key that nobody knows is refused and the nearest known one named: a typing error that is passed over in silence would
change what an experiment is.
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from circuit.artifacts.files.documents import read_bytes, read_json
from circuit.errors import ArtifactError


def read_by_hand(path: Path) -> Any:
    """Parse ``path``: JSON when its name says so, else YAML; nothing in it is run."""
    if path.suffix == ".json":
        return read_json(path)
    try:
        return yaml.safe_load(read_bytes(path).decode("utf-8-sig"))
    except yaml.MarkedYAMLError as error:
        at = "" if error.problem_mark is None else f", line {error.problem_mark.line + 1}"
        message = f"`{path}` is not YAML{at}: {error.problem or error.context}"
        raise ArtifactError(message, hint="quote texts that hold a colon or a quote") from error
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        message = f"`{path}` is not YAML: {str(error).splitlines()[0]}"
        raise ArtifactError(message, hint="save it as UTF-8 text") from error


def require_known(given: Mapping[Any, Any], known: Iterable[str], where: str, path: Path) -> None:
    """Raise when a key of ``given`` is not among ``known``."""
    known = list(known)
    for key in given:
        if key not in known:
            message = f"`{path}` has the unknown key `{key}` in {where}"
            raise ArtifactError(message, hint=f"{nearest(str(key), known)}{', '.join(known)}")


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the beginning of a hint: the known word that ``word`` is a misspelling of, if there is one."""
    close = get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return f"did you mean `{close[0]}`? there are: " if close else "there are: "
