"""Text from the model: mlx-lm's own batch generator, with its key-value cache.

Taps that are installed around a call act in it, so steering needs no code here. A cache never
outlives a call: keys and values computed under one intervention must not serve another.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx

from circuit.errors import DataError
from circuit.model.loading import LoadedModel
from circuit.model.tokens import Encoded


@dataclass(frozen=True)
class Generated:
    """What the model wrote after one prompt, without the token that ended it."""

    text: str
    ids: list[int]


def generate(
    model: LoadedModel,
    prompts: Sequence[Encoded],
    *,
    max_tokens: int = 50,
    temperature: float = 0.0,
    seed: int = 0,
    batch_size: int = 32,
) -> list[Generated]:
    """Generate after every prompt; ``temperature`` 0 is greedy and needs no seed."""
    from mlx_lm.generate import batch_generate
    from mlx_lm.sample_utils import make_sampler

    if not prompts:
        raise DataError("there are no prompts to answer", hint="give at least one prompt")
    mx.random.seed(seed)
    response = batch_generate(
        model.network,
        model.tokenizer,
        [prompt.ids for prompt in prompts],
        max_tokens=max_tokens,
        return_token_ids=True,
        sampler=make_sampler(temp=temperature),
        completion_batch_size=batch_size,
        prefill_batch_size=batch_size,
    )
    return [
        Generated(text, list(ids))
        for text, ids in zip(response.texts, response.token_ids, strict=True)
    ]
