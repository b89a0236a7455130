"""Sites: the named places of a model where a hidden state is read, by name and block.

The residual stream between blocks (``RESIDUAL``) exists in every model without knowledge of its
family, and steering adds to it. Which other sites there are is the table
``circuit.model.sites.table``.
"""

from dataclasses import dataclass
from typing import Final

RESIDUAL: Final = ("resid_post", "resid_pre", "embed")


@dataclass(frozen=True, order=True)
class Site:
    """A site's name and the 0-based index of its block; ``embed`` exists once, before block 0."""

    name: str
    layer: int

    def __post_init__(self) -> None:
        if self.name == "embed":
            object.__setattr__(self, "layer", 0)

    def __str__(self) -> str:
        return self.name if self.name == "embed" else f"{self.name}.{self.layer}"


EMBED: Final = Site("embed", 0)
