"""The texts of concepts: built-in ones, and the user's.

A concept is a prompt set of two labels: texts that have it (the second label) and neutral ones,
in pairs about the same thing where there are pairs. Built-in concepts are
``datasets/concepts/<name>.json``. The user's are prompt sets in ``user_folder``, which is not a
cache: ``CIRCUIT_CONCEPTS``, or ``concepts`` in circuit's folder of the user's data. Names are
unique.

The user gives texts as pairs, as a prompt set (or template file) of two labels, or in YAML or JSON:

    positive: [What a glorious day!, ...]
    neutral: [It is Tuesday., ...]
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from circuit.artifacts.files.documents import schema_of
from circuit.artifacts.files.yaml_or_json import nearest, read_yaml_or_json, require_known
from circuit.artifacts.prompts.builtin import builtin_concepts
from circuit.artifacts.prompts.prompts import PromptSet
from circuit.artifacts.prompts.read import read_prompts
from circuit.errors import ArtifactError, UsageError

NEUTRAL = "neutral"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


def user_folder() -> Path:
    """Return the folder of the user's concepts."""
    if given := os.environ.get("CIRCUIT_CONCEPTS"):
        return Path(given)
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "circuit" / "concepts"


def user_concepts() -> dict[str, Path]:
    """Return the user's concepts by name."""
    return {path.stem: path for path in sorted(user_folder().glob("*.json"))}


def concepts() -> dict[str, Path]:
    """Return every concept by name, built-in ones first."""
    return {**builtin_concepts(), **user_concepts()}


def find_concept(name: str) -> Path:
    """Return the file of a concept; raise ``UsageError`` with the nearest name if it is unknown."""
    known = concepts()
    if name not in known:
        raise UsageError(
            "unknown-concept",
            f"unknown concept `{name}`",
            hint=nearest(name, known) + ", ".join(known),
            name=name,
        )
    return known[name]


def make_concept(name: str, positive: Sequence[str], neutral: Sequence[str]) -> PromptSet:
    """Make a concept of texts; as many neutral texts as positive ones are pairs, in order."""
    if not positive or not neutral:
        missing = "neutral text" if positive else "positive text"
        raise UsageError(
            "concept-without-texts",
            f"concept `{name}` has no {missing}",
            hint="give both: --positive TEXT --neutral TEXT",
            name=name,
        )
    paired = len(positive) == len(neutral)
    prompts = [
        {
            "text": text,
            "label": label,
            "group": f"pair {i}" if paired else None,
            "pair": f"pair {i}" if paired else None,
        }
        for label, texts in ((name, positive), (NEUTRAL, neutral))
        for i, text in enumerate(texts)
    ]
    labels = (NEUTRAL, name)
    return PromptSet.model_validate({"name": name, "labels": labels, "prompts": prompts})


def read_concept(path: Path, name: str) -> PromptSet:
    """Read the user's texts in one of the forms above."""
    document = read_yaml_or_json(path)
    if (schema_of(document) or "").startswith("circuit."):
        prompts = read_prompts(path)
        if len(prompts.labels) != 2:
            raise ArtifactError(
                "two-labels-expected",
                f"a concept has two labels, `{path}` has {len(prompts.labels)}",
                hint="the second label is that of the concept",
                path=str(path),
                count=len(prompts.labels),
            )
        return prompts.model_copy(update={"name": name})
    if not isinstance(document, dict):
        raise ArtifactError(
            "not-a-concept",
            f"`{path}` holds no concept",
            hint="write `positive:` and `neutral:`, each a list of texts",
            path=str(path),
        )
    require_known(document, ("positive", NEUTRAL), "the file", path)
    texts = [document.get(key) or [] for key in ("positive", NEUTRAL)]
    if not all(isinstance(each, list) and all(isinstance(t, str) for t in each) for each in texts):
        raise ArtifactError(
            "not-a-concept",
            f"`positive` and `neutral` in `{path}` are not lists of texts",
            hint="write each text on a line: `- What a day!`",
            path=str(path),
        )
    return make_concept(name, texts[0], texts[1])


def concept_path(name: str) -> Path:
    """Return the file of a concept of the user's; raise for a name that it cannot have."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            "invalid-name",
            f"invalid concept name `{name}`",
            hint="use letters, digits, - and _, starting with a letter",
            name=name,
        )
    if name in builtin_concepts():
        raise UsageError(
            "builtin-concept",
            f"`{name}` is a built-in concept",
            hint="choose another name",
            name=name,
        )
    return user_folder() / f"{name}.json"


def save_concept(name: str, prompts: PromptSet, *, force: bool = False) -> Path:
    """Save a concept in the user's folder."""
    path = concept_path(name)
    prompts.save(path, force=force)
    return path


def remove_concept(name: str) -> Path:
    """Remove a concept from the user's folder."""
    path = find_concept(name)
    if name in builtin_concepts():
        raise UsageError(
            "builtin-concept",
            f"built-in concept `{name}` cannot be removed",
            hint=f"your concepts are: {', '.join(user_concepts()) or 'none'}",
            name=name,
        )
    path.unlink()
    return path
