"""How a text becomes a prompt: as raw text, or as the user's turn of a chat."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class PromptFormat:
    """Raw text, or a chat with what its template is given: a system message and tool schemas."""

    chat: bool
    system: str | None = None
    tools: tuple[Mapping[str, object], ...] | None = None

    @property
    def name(self) -> str:
        """``chat`` or ``raw``, as in manifests."""
        return "chat" if self.chat else "raw"


RAW: Final = PromptFormat(chat=False)
