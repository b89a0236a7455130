"""What is said of a model beside a result: its family and its size."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel


@dataclass(frozen=True, kw_only=True)
class ModelDescription:
    """A model's name, family and size."""

    id: str
    family: str
    n_layers: int
    d_model: int
    vocab_size: int | None
    tied_embeddings: bool


def describe(model: "LoadedModel") -> ModelDescription:
    """Describe a model by its configuration."""
    text = model.config.get("text_config", model.config)
    return ModelDescription(
        id=model.id,
        family=model.family,
        n_layers=model.n_layers,
        d_model=model.d_model,
        vocab_size=text.get("vocab_size"),
        tied_embeddings=bool(text.get("tie_word_embeddings", True)),
    )
