"""Read a file of prompts: a prompt set, or a template file, which is expanded."""

from pathlib import Path

from circuit.artifacts.files.documents import (
    read_json,
    require_schema,
    schema_of,
    try_read,
    validated,
)
from circuit.artifacts.prompts.expansion import expand
from circuit.artifacts.prompts.prompts import PromptSet
from circuit.artifacts.prompts.templates import TemplateSet
from circuit.values import schemas


def read_prompts(path: Path) -> PromptSet:
    """Read a prompt set; a template file is expanded with its default sizes and seed 42."""
    if (found := try_read(PromptSet, path)) is not None:
        return found
    if schema_of(document := read_json(path)) == schemas.TEMPLATES:
        return expand(TemplateSet.load(path))
    return validated(PromptSet, require_schema(document, schemas.PROMPTS, path), path)
