"""Files that people write by hand, in YAML or JSON: how they are parsed.

An unknown key is an error that names the nearest known one: a typing error that is ignored would
change the experiment.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

import yaml

from circuit.artifacts.files.documents import read_bytes, read_json
from circuit.errors import ArtifactError, reason_of
from circuit.values.json_values import Json


def read_yaml_or_json(path: Path) -> Json:
    """Parse ``path``: JSON when its name says so, else YAML; nothing in it is executed."""
    if path.suffix == ".json":
        return read_json(path)
    try:
        document: Json = yaml.safe_load(read_bytes(path).decode("utf-8-sig"))
    except yaml.MarkedYAMLError as error:
        line = None if error.problem_mark is None else error.problem_mark.line + 1
        at = "" if line is None else f", line {line}"
        raise ArtifactError(
            "not-yaml",
            f"`{path}` is not YAML{at}: {error.problem or error.context}",
            hint="quote texts that hold a colon or a quote",
            path=str(path),
            line=line,
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ArtifactError(
            "not-yaml",
            f"`{path}` is not YAML: {reason_of(error)}",
            hint="save it as UTF-8 text",
            path=str(path),
        ) from error
    return document


def require_known(keys: Iterable[object], known: Iterable[str], where: str, path: Path) -> None:
    """Raise ``ArtifactError`` when one of ``keys`` is not among ``known``."""
    known = list(known)
    for key in keys:
        if key not in known:
            raise ArtifactError(
                "unknown-key",
                f"`{path}` has the unknown key `{key}` in {where}",
                hint=f"{nearest(str(key), known)}{', '.join(known)}",
                path=str(path),
                key=key,
            )


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the beginning of a hint, with the known word that is closest to ``word``, if any."""
    close = get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return f"did you mean `{close[0]}`? there are: " if close else "there are: "
