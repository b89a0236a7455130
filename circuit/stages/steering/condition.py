"""Conditional steering: only prompts on which a saved probe fires are steered.

The probe (``probes run`` saves them) is read at the last token of each prompt, in the unsteered
model:

    steer where logit = log p − log(1 − p) > threshold, p the probability of its positive class

A prompt below the threshold is answered by the unsteered model, to the bit. The probe's held-out
quality is in its file. After Lee et al. 2024 (2409.05907), with a probe instead of a cosine with a
threshold of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from circuit.errors import ModelError, UsageError
from circuit.methods.arrays import Array
from circuit.stages.probes.saved import SITE, SavedProbe, read_probe
from circuit.stages.steering.source import parse_number, parse_spec
from circuit.values.sites import Site

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel
    from circuit.model.prompts.tokens import EncodedPrompt

KEYS = ("probe", "layer", "above")


@dataclass(frozen=True)
class Condition:
    """A probe of two classes and the logit above which a prompt is steered."""

    probe: SavedProbe
    threshold: float = 0.0

    @classmethod
    def parse(cls, text: str) -> "Condition":
        """Read ``FILE`` or ``FILE,probe=NAME,layer=L,above=LOGIT``, and the probe that it names."""
        example = "--when report.fitted.safetensors,probe=refusal,above=0"
        file, fields = parse_spec(text, KEYS, example)
        probe, _ = read_probe(file, fields.get("probe"), fields.get("layer"))
        if len(probe.parts) != 1:
            message = f"probe `{probe.name}` has {len(probe.classes)} classes"
            hint = "--when takes a probe of two classes"
            raise UsageError("two-classes-expected", message, hint=hint, n=len(probe.classes))
        return cls(probe, parse_number(fields.get("above", "0"), "the logit after `above=`"))

    def logits(self, model: "LoadedModel", encoded: "Sequence[EncodedPrompt]") -> Array:
        """Return the probe's logit at the last token of every prompt (n,).

        Raises ``ModelError`` for a probe of a model of another shape.
        """
        from circuit.model.forward.last_token import last_states

        self._check_shape(model)
        site = Site(SITE, self.probe.layer)
        rows = last_states(model, encoded, [site])[site].astype(np.float64)
        (part,) = self.probe.parts
        return np.asarray(part.extra["slope"] * (rows @ part.vector) + part.extra["bias"])

    def _check_shape(self, model: "LoadedModel") -> None:
        width, layer = self.probe.parts[0].vector.size, self.probe.layer
        if width != model.d_model or layer >= model.n_layers:
            message = (
                f"probe `{self.probe.name}` (width {width}, layer {layer}) does not fit "
                f"`{model.id}` (width {model.d_model}, {model.n_layers} layers)"
            )
            hint = "use a probe of this model"
            raise ModelError("other-model", message, hint=hint, width=width, layer=layer)

    def described(self) -> dict[str, object]:
        """Return the manifest entry."""
        return {
            "probe": self.probe.name,
            "layer": self.probe.layer,
            "threshold": self.threshold,
            "fires_on": self.probe.classes[1],
        }
