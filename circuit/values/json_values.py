"""The types of JSON documents.

``Json`` is any value that a document can hold. ``JsonObject`` is an object whose keys the reader
knows from a schema: the values are unchecked by the type checker, so this is the one place that
says ``Any`` for them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
JsonObject: TypeAlias = dict[str, Any]
JsonMapping: TypeAlias = Mapping[str, Any]
