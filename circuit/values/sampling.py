"""How text is generated: how many tokens at most, and how each is chosen (mlx-lm's own options)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sampling:
    """Settings of generation. Temperature 0 is greedy and needs no seed; 0 turns a filter off."""

    max_tokens: int = 50
    temperature: float = 0.0
    top_p: float = 0.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float | None = None
    seed: int = 0
