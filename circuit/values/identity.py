"""Which model and tokenizer, exactly: what a manifest records to trace a number to weights.

A loaded checkpoint fills in every field. Files of other tools often know only the model's id;
unknown fields are None.
"""

from dataclasses import dataclass
from typing import ClassVar

# How pydantic reads these from a file: an unknown key is an error, as in every other record.
_STRICT: dict[str, str] = {"extra": "forbid"}


@dataclass(frozen=True)
class ModelIdentity:
    """The checkpoint, as requested and as found, and the form in which it runs."""

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    id: str
    requested_revision: str | None = None
    revision: str | None = None
    family: str | None = None
    n_layers: int | None = None
    d_model: int | None = None
    dtype: str | None = None
    quantization: dict[str, object] | None = None
    adapter: str | None = None
    config_sha256: str | None = None
    weights_sha256: str | None = None
    differences: tuple[str, ...] | None = None  # of what runs from what the configuration asks for


@dataclass(frozen=True)
class TokenizerIdentity:
    """The tokenizer's files, its chat template with its date, and who adds the first token."""

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    files_sha256: str
    chat_template_sha256: str | None = None
    bos: str | None = None
    chat_date: str | None = None  # what the chat template is told, where it asks for a date
