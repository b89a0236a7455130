"""How text is generated."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Decoding:
    """How text is generated: at temperature 0 greedily; see ``circuit.model.forward.generate.Sampling``."""

    max_tokens: int = 50
    temperature: float = 0.0
    top_p: float = 0.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float | None = None
    seed: int = 0

    def sampling(self) -> Any:
        """Return the options of sampling, as the model layer takes them."""
        from circuit.model.forward.generate import Sampling

        return Sampling(**{k: v for k, v in asdict(self).items() if k != "max_tokens"})
