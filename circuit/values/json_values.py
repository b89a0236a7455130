"""The types of JSON documents, and how their text is parsed.

``Json`` is any value that a document can hold. ``JsonObject`` is an object whose keys the reader
knows from a schema: the values are unchecked by the type checker, so this is the one place that
says ``Any`` for them.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, TypeAlias

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
JsonObject: TypeAlias = dict[str, Any]
JsonMapping: TypeAlias = Mapping[str, Any]

_LARGE = re.compile(r"[0-9][eE]\+?[0-9]{3}")


def parse_json(text: str | bytes, *, finite: bool = True) -> Any:
    """Parse JSON from a file that anybody may have written.

    Raises ``ValueError`` for text that is not JSON, for nesting that Python cannot follow, for a
    lone surrogate (which no file can be written with), and with ``finite`` for NaN, Infinity and a
    number that is too large (``1e999``).
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8-sig")
    options: dict[str, Any] = {}
    if finite:
        options["parse_constant"] = _refuse
        if _LARGE.search(text):  # a call for each number costs too much elsewhere
            options["parse_float"] = _finite
    try:
        document = json.loads(text, **options)
        if "\\ud" in text or "\\uD" in text:
            json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        message = "it holds half a character (a lone surrogate)"
        raise ValueError(message) from error
    except RecursionError as error:
        message = "it is nested too deeply"
        raise ValueError(message) from error
    return document


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse(text)


def _refuse(text: str) -> NoReturn:
    message = f"{text} is not a JSON number"
    raise ValueError(message)
