"""Conditional steering: only prompts on which a saved probe answers are steered.

The probe (``probes run`` saves them) is read at the last token of each prompt, in the model as it is, before anything is steered:

    steer where logit = log p − log(1 − p) > threshold, p the probability of its positive class

and a prompt below is answered by the unsteered model, to the bit. A probe fires on prompts that it takes for the class, rightly or
wrongly: its held-out quality is in its file. After Lee et al. 2024 (2409.05907), with a probe in the place of a
cosine with a threshold of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from circuit.errors import ModelError, UsageError
from circuit.stages.probes.saved import SITE, SavedProbe, read_probe
from circuit.stages.steering.source import parse_number, parse_spec
from circuit.values.sites import Site

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
            raise UsageError(message, hint="--when takes a probe of two classes")
        return cls(probe, parse_number(fields.get("above", "0"), "the logit after `above=`"))

    def check(self, model: Any) -> None:
        """Raise when the probe is of a model of another shape."""
        width = self.probe.parts[0].vector.size
        if width != model.d_model or self.probe.layer >= model.n_layers:
            message = f"probe `{self.probe.name}` does not fit `{model.id}`: it has width {width}, layer {self.probe.layer}"
            raise ModelError(message, hint="use a probe of this model")

    def logits(self, model: Any, encoded: Sequence[Any]) -> npt.NDArray[np.float64]:
        """Return the probe's logit at the last token of every prompt (n,)."""
        from circuit.model.forward.last_token import last_states

        site = Site(SITE, self.probe.layer)
        rows = last_states(model, encoded, [site])[site].astype(np.float64)
        (part,) = self.probe.parts
        return np.asarray(part.extra["slope"] * (rows @ part.vector) + part.extra["bias"])

    def described(self) -> dict[str, Any]:
        """Return what goes into a manifest."""
        return {
            "probe": self.probe.name,
            "layer": self.probe.layer,
            "threshold": self.threshold,
            "fires_on": self.probe.classes[1],
        }
