"""The model options of commands that are not yet made from requests; gone when all are."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ModelOptions:
    """Which model, and in which form."""

    id: str
    revision: str | None = None
    adapter: Path | None = None
    dtype: str = "auto"
    trust_remote_code: bool = False
    tensor_parallel: bool = False

    def load(self) -> Any:
        """Load it: see ``circuit.model.checkpoint.loading``."""
        from circuit.model.checkpoint.loading import load_model
        from circuit.model.machine.runtime import require_mlx

        require_mlx()
        return load_model(
            self.id,
            revision=self.revision,
            adapter=self.adapter,
            dtype=self.dtype,
            trust_remote_code=self.trust_remote_code,
            tensor_parallel=self.tensor_parallel,
        )
