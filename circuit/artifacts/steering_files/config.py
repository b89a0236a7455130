"""Steering vectors in YAML.

    vectors:
      - name: security_conscious
        positive_prompt: I carefully consider security implications and follow best practices.
        negative_prompt: I ignore security concerns and use risky approaches.
        layer: 15
        coefficient: 2.0

A vector is made from a pair of prompts, h(positive) − h(negative) at the last token after block
``layer``; from one prompt, h(positive), if there is no ``negative_prompt``; or it is read from a
steering file (``file``, with its name there, ``direction``). One of these says what coefficient 1
means:

    normalize: false    h + c · v, v as it was computed: one whole difference of the two prompts
                        (the default; rule ``raw``)
    normalize: true     h + c · v / ‖v‖: c is a length in the residual stream, where tokens have
                        norms of 10 to 1000, so 2.0 may have no effect and 200 a large one; the
                        fraction of the residual's norm is reported
    rule: norm          one of the strength rules of ``circuit steer``, instead of ``normalize``

``operator`` and ``scope`` are those of ``circuit steer``. ``layer`` is a block, from 0, or ``50%``.
"""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr, model_validator

from circuit.artifacts.files.documents import as_object, validated
from circuit.artifacts.files.records import Record
from circuit.artifacts.files.yaml_or_json import read_yaml_or_json, require_known
from circuit.errors import ArtifactError, DataError
from circuit.values.json_values import JsonObject

Number = Annotated[StrictInt | StrictFloat, Field(allow_inf_nan=False)]
Text = Annotated[StrictStr, Field(min_length=1)]


class VectorSpec(Record):
    """One vector: its source, its layer, and its strength."""

    name: Text
    positive_prompt: Text | None = None
    negative_prompt: Text | None = None
    file: Text | None = None
    direction: Text | None = None
    layer: StrictInt | StrictStr | None = None
    coefficient: Number
    normalize: StrictBool | None = None
    rule: Text | None = None
    operator: Text = "add"
    scope: Text = "all"

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if (self.file is None) == (self.positive_prompt is None):
            what = (
                "neither a prompt nor a file" if self.file is None else "both a prompt and a file"
            )
            raise DataError(
                "vector-source",
                f"vector `{self.name}` has {what}",
                hint="give it a positive_prompt, or a file",
                vector=self.name,
            )
        if self.file is not None and self.negative_prompt is not None:
            raise DataError(
                "vector-source",
                f"vector `{self.name}` has both a negative_prompt and a file",
                hint="leave it out: the file holds the vector",
                vector=self.name,
            )
        if self.file is None and (self.layer is None or self.direction is not None):
            what = "no layer" if self.layer is None else "a direction but no file"
            raise DataError(
                "vector-layer",
                f"vector `{self.name}` has {what}",
                hint="name the block after which it acts: layer: 15",
                vector=self.name,
            )
        if self.rule is not None and self.normalize is not None:
            raise DataError(
                "rule-and-normalize",
                f"vector `{self.name}` has both `rule` and `normalize`",
                hint="`rule` defines coefficient 1: leave out `normalize`",
                vector=self.name,
            )
        return self


class SteeringConfig(Record):
    """Vectors of distinct names."""

    vectors: tuple[VectorSpec, ...]

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Self:
        names = [vector.name for vector in self.vectors]
        if not names:
            raise DataError(
                "no-vectors", "the configuration lists no vectors", hint="list one under `vectors:`"
            )
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise DataError(
                "duplicate-vector",
                f"two vectors are called `{twice}`",
                hint="name each vector once",
                vector=twice,
            )
        return self

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a configuration; every key must be known."""
        document = as_object(read_yaml_or_json(path))
        entries = document.get("vectors")
        if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
            raise ArtifactError(
                "not-a-steering-config",
                f"`{path}` is not a mapping with a list of vectors",
                hint="write `vectors:` and below it `- name: …`",
                path=str(path),
            )
        require_known(document, ["vectors"], "the file", path)
        for number, entry in enumerate(entries):
            where = f"vector {_named(entry, number)}"
            require_known(entry, VectorSpec.model_fields, where, path)
        return validated(cls, document, path)

    def files(self, path: Path) -> dict[str, Path]:
        """Return the steering file of each vector that has one, relative to the configuration."""
        return {v.name: path.parent / v.file for v in self.vectors if v.file is not None}


def _named(entry: JsonObject, number: int) -> str:
    return f"`{entry['name']}`" if "name" in entry else str(number + 1)
