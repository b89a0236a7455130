"""Do two artifacts come from different weights? Then they share axes only where one model was trained from the other.

Fingerprints of the weights decide where both are known, else the names do; files of other tools may have neither, and then nothing is said.
"""

from typing import Any

from circuit.artifacts.directions.direction import Direction
from circuit.errors import ModelError, UsageError
from circuit.values.identity import ModelIdentity
from circuit.values.sites import RESIDUAL


def other_weights(a: ModelIdentity | None, b: ModelIdentity | None) -> bool:
    """Say whether the two models are known to differ."""
    if a is None or b is None:
        return False
    if a.weights_sha256 is not None and b.weights_sha256 is not None:
        return a.weights_sha256 != b.weights_sha256
    return a.id != b.id


def check_model(direction: Direction, model: Any, *, allow_other: bool) -> None:
    """Refuse a direction of another model, as told by the weights' fingerprint or else the id."""
    theirs, ours = direction.model, model.identity
    if direction.site not in RESIDUAL:
        message = f"direction `{direction.name}` was made at `{direction.site}`"
        raise UsageError(message, hint="steering adds to the residual stream: use resid_post")
    if allow_other or theirs is None:
        return
    same = (
        theirs.weights_sha256 == ours.weights_sha256
        if theirs.weights_sha256 is not None
        else theirs.id == ours.id
    )
    if not same:
        made = "other weights" if theirs.id == ours.id else f"model `{theirs.id}`"
        message = f"the direction was made with {made}, not with `{ours.id}`"
        raise ModelError(message, hint="extract it again, or pass --allow-other-model")
