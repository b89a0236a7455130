"""A finding of which only what matters to a test has to be said."""

from typing import Any

from circuit.present.document import Finding


def finding(subject: str = "question", **changes: Any) -> Finding:
    """Return a finding that is decodable, with ``changes``."""
    fields = {"verdict": "decodable", "strength": 1, "sentence": "It can be read.", **changes}
    return Finding(subject=subject, **fields)
