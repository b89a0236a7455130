"""Do two artifacts come from different weights? Then they share axes only where one model was trained from the other.

Fingerprints of the weights decide where both are known, else the names do; files of other tools may have neither, and then nothing is said.
"""

from circuit.artifacts.manifest.manifest import ModelIdentity


def other_weights(a: ModelIdentity | None, b: ModelIdentity | None) -> bool:
    """Say whether the two models are known to differ."""
    if a is None or b is None:
        return False
    if a.weights_sha256 is not None and b.weights_sha256 is not None:
        return a.weights_sha256 != b.weights_sha256
    return a.id != b.id
