"""The differences of two runs: two JSON values, compared entry by entry."""

import hashlib
from collections.abc import Iterator, Mapping

from circuit.artifacts.files.documents import canonical_json

_ABSENT = object()


def fingerprint(value: object) -> str:
    """Return the SHA-256 of the canonical text of ``value``."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def differences(here: object, there: object) -> str:
    """Describe at most three differences: `parameters.dtype` (float16, it was float32), …."""
    found = list(_differing(here, there, ""))
    more = f" and {len(found) - 3} more" if found[3:] else ""
    return ", ".join(found[:3]) + more


def _differing(here: object, there: object, path: str) -> Iterator[str]:
    if isinstance(here, Mapping) and isinstance(there, Mapping):
        for key in sorted({*here, *there}):
            inner = f"{path}.{key}" if path else key
            yield from _differing(here.get(key, _ABSENT), there.get(key, _ABSENT), inner)
    elif here is _ABSENT or there is _ABSENT or canonical_json(here) != canonical_json(there):
        yield f"`{path}` ({_short(here)}, it was {_short(there)})"


def _short(value: object) -> str:
    text = "nothing" if value is _ABSENT or value is None else canonical_json(value)
    return text if len(text) <= 40 else f"{text[:37]}…"
