"""Whether two artifacts come from one model: by the weights' fingerprints, else by the names.

Directions of different weights share axes only where one model was trained from the other. Files of
other programs may say neither fingerprint nor name; then nothing is known, and nothing is refused.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from circuit.artifacts.directions.direction import Direction
from circuit.errors import DataError, ModelError, UsageError
from circuit.values.identity import ModelIdentity
from circuit.values.sites import RESIDUAL

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel


def other_weights(a: ModelIdentity | None, b: ModelIdentity | None) -> bool:
    """Say whether the two models are known to differ."""
    if a is None or b is None:
        return False
    if a.weights_sha256 is not None and b.weights_sha256 is not None:
        return a.weights_sha256 != b.weights_sha256
    return a.id != b.id


def check_model(direction: Direction, model: "LoadedModel", *, allow_other: bool) -> None:
    """Raise ``ModelError`` for a direction of another model.

    A direction of a site outside of the residual stream is a ``UsageError``.
    """
    theirs, ours = direction.model, model.identity
    if direction.site not in RESIDUAL:
        message = f"direction `{direction.name}` was made at `{direction.site}`"
        hint = "steering adds to the residual stream: use resid_post"
        raise UsageError("site-not-residual", message, hint=hint, site=direction.site)
    if not allow_other and theirs is not None and other_weights(theirs, ours):
        made = "other weights" if theirs.id == ours.id else f"model `{theirs.id}`"
        message = f"the direction was made with {made}, not with `{ours.id}`"
        hint = "extract it again, or pass --allow-other-model"
        raise ModelError("other-model", message, hint=hint, model=ours.id, made_with=theirs.id)


def check_shape(identity: ModelIdentity | None, model: "LoadedModel", path: Path) -> None:
    """Raise ``DataError`` where the file at ``path`` was made with a model of another shape."""
    if identity is None:
        return
    if (model.n_layers, model.d_model) != (identity.n_layers, identity.d_model):
        message = (
            f"`{path}` is for a model of {identity.n_layers} layers and width {identity.d_model}, "
            f"`{model.id}` has {model.n_layers} and {model.d_model}"
        )
        hint = f"it was made with `{identity.id}`"
        raise DataError("model-of-another-shape", message, hint=hint, model=model.id)
