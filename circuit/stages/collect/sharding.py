"""A collection in several parts: the prompts of each, and the results of all together."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from circuit.errors import UsageError
from circuit.stages.collect.answers import added


def shard_rows(lengths: Sequence[int] | NDArray[np.int64], number: int, count: int) -> range:
    """Return the prompts of shard ``number`` of ``count``: a range, of about equal tokens."""
    if not 1 <= number <= count:
        message = f"there is no shard {number} of {count}"
        raise UsageError("shard-out-of-range", message, hint="--shard takes 1/4 to 4/4")
    if count > len(lengths):
        message = f"{len(lengths)} prompts cannot be split into {count} shards"
        raise UsageError("too-many-shards", message, hint="use fewer shards")
    ends = np.cumsum(lengths)
    wanted = ends[-1] * np.arange(count + 1) / count
    edges = np.searchsorted(ends, wanted, side="left") + (wanted > 0)
    least = np.arange(count + 1)  # every shard has a prompt, whatever their lengths
    edges = np.maximum.accumulate(np.maximum(edges - least, 0)) + least
    edges = np.minimum(edges, len(lengths) - least[::-1])
    return range(int(edges[number - 1]), int(edges[number]))


def combined(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Make the results of a whole archive of what each shard's run found."""
    tokens = [part["tokens"] for part in parts]
    return {
        **parts[0],
        "tokens": {
            "total": sum(each["total"] for each in tokens),
            "min": min(each["min"] for each in tokens),
            "max": max(each["max"] for each in tokens),
        },
        "padded_batches": any(part["padded_batches"] for part in parts),
        "shared_prefix": min(part["shared_prefix"] for part in parts),
        **(
            {"answers": added([part["answers"] for part in parts])} if "answers" in parts[0] else {}
        ),
    }
