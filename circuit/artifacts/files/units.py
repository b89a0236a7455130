"""What a long run has measured so far: a file of JSON lines beside its output, for the same command to go on with.

``<output>.partial``: a header with the digest of everything that decides the numbers, then one line per finished unit of work. A run with
another digest begins anew. A last line without its end is not there. The file goes when the output is written.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from circuit.artifacts.files.atomic import explained
from circuit.artifacts.files.documents import canonical_json
from circuit.values import schemas


class Units:
    """Finished units by name; without a path they are kept in memory only."""

    def __init__(self, output: Path | None, covers: Any) -> None:
        self.path = None if output is None else output.with_name(f"{output.name}.partial")
        self._key = hashlib.sha256(canonical_json(covers).encode()).hexdigest()
        self._done: dict[str, Any] = {}
        if self.path is not None:
            self._begin(self.path)

    def get(self, name: str, measure: Callable[[], Any]) -> Any:
        """Return what was measured under ``name``, or measure it now; numbers come back bit by bit."""
        if name not in self._done:
            value = measure()
            self._done[name] = value
            self._append({"name": name, "value": value})
        return self._done[name]

    def discard(self) -> None:
        """Remove the file: the output holds everything."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def _begin(self, path: Path) -> None:
        lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []
        if lines and _parsed(lines[0]) == self._header:
            for line in lines[1:]:
                entry = _parsed(line)
                self._done[entry["name"]] = entry["value"]
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")
        self._append(self._header)
        for name, value in self._done.items():
            self._append({"name": name, "value": value})

    @property
    def _header(self) -> dict[str, str]:
        return {"schema": schemas.UNITS, "key": self._key}

    def _append(self, entry: Any) -> None:
        if self.path is not None:
            with explained(self.path), self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry, allow_nan=False) + "\n")


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None
