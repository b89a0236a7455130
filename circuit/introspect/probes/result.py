"""The probe of two classes as a result and as a direction that can be saved."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from circuit.artifacts.steering_files.files import Direction
from circuit.introspect.probes.two_classes import (
    ChosenLayer,
    LayerScore,
    TwoClasses,
    check_method,
    choose_layer,
    fit,
    layer_scores,
)
from circuit.methods.arrays import Array
from circuit.stages.probes.saved import SITE, SavedProbe
from circuit.stages.rows.prompting import encode
from circuit.stages.run import Result
from circuit.values.power import Power
from circuit.values.prompt_format import PromptFormat
from circuit.values.thresholds import LEVEL, MIN_GROUPS

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel

ARCHIVE = ".safetensors"


@dataclass(frozen=True, kw_only=True)
class ProbeReading:
    """The probe on one test prompt; ``seen`` where it was fitted to this prompt."""

    prompt: str
    projection: float
    probability: float
    label: str
    seen: bool


@dataclass(frozen=True, kw_only=True)
class ProbeResult(Result):
    """Scores of all layers, the layer that was chosen, and readings of the test prompts."""

    COMMAND: ClassVar[str] = "circuit.introspect.questions.probe:COMMAND"

    model: str
    format: str
    method: str
    labels: tuple[str, str]
    n: tuple[int, int]
    n_groups: int
    scores: list[LayerScore]
    layer: int
    how_chosen: str
    choosing: list[float] | None
    claimed: bool | None
    slope: float
    bias: float
    norm: float
    train_projections: dict[str, float]
    tests: list[ProbeReading]
    saved: list[str]
    power: Power | None = None


@dataclass(frozen=True, eq=False)
class ProbeQuestion:
    """Which classes of prompts are separated in which model, and what the probe is called."""

    model: "LoadedModel"
    classes: TwoClasses
    form: PromptFormat
    name: str = "probe"
    seed: int = 0

    def answer(
        self,
        layers: Sequence[int],
        method: str = "logistic",
        tests: Sequence[str] = (),
        *,
        saved: Sequence[Path] = (),
    ) -> tuple[ProbeResult, Direction]:
        """Score every layer, choose one, fit it to all prompts and read the test prompts."""
        check_method(method)
        classes = self.classes
        states = self._states(classes.texts, layers)
        scores, power = layer_scores(states, classes, method, self.seed)
        chosen = choose_layer(states, classes, scores, method, self.seed)
        best = next((each for each in scores if each.layer == chosen.layer), None)
        enough = classes.n_groups >= MIN_GROUPS
        claimed = (best.p_any or 1) <= LEVEL if best is not None and enough else None
        direction = self._direction(states[chosen.layer], method, chosen, best, claimed)
        result = ProbeResult(
            model=self.model.id,
            format=self.form.name,
            method=method,
            labels=classes.labels,
            n=(int(classes.y.sum()), int((1 - classes.y).sum())),
            n_groups=classes.n_groups,
            scores=scores,
            layer=chosen.layer,
            how_chosen=chosen.how,
            choosing=chosen.auroc,
            claimed=claimed,
            power=power,
            slope=direction.extra["slope"],
            bias=direction.extra["bias"],
            norm=direction.norm,
            train_projections=classes.means(states[chosen.layer] @ direction.vector),
            tests=self._read(tests, direction),
            saved=[str(path if path.suffix else f"{path}{ARCHIVE}") for path in saved],
        )
        return result, direction

    def _states(self, texts: Sequence[str], layers: Sequence[int]) -> dict[int, Array]:
        from circuit.model.forward.last_token import last_residuals

        return last_residuals(self.model, encode(self.model, list(texts), self.form), layers)

    def _direction(
        self,
        rows: Array,
        method: str,
        chosen: ChosenLayer,
        score: LayerScore | None,
        claimed: bool | None,
    ) -> Direction:
        """Fit the direction, with everything that makes it a probe."""
        logit, norm = fit(rows, self.classes, method, name=self.name, seed=self.seed)
        quality = (
            {}
            if score is None
            else {
                "auroc": score.auroc,
                "p_any": score.p_any,
                "significant": bool(claimed),
                "n": len(self.classes.y),
                "n_groups": self.classes.n_groups,
            }
        )
        positive, negative = self.classes.labels
        return Direction(
            name=self.name,
            site=SITE,
            layer=chosen.layer,
            vector=logit.vector,
            norm=norm,
            method="probe",
            positive_label=positive,
            negative_label=negative,
            quality=quality,
            model=self.model.identity,
            format=self.form.name,
            extra={
                **logit.extra(self.name, [negative, positive]),
                "best": True,
                "chosen_among": chosen.among,
            },
        )

    def _read(self, tests: Sequence[str], direction: Direction) -> list[ProbeReading]:
        if not tests:
            return []
        positive, negative = self.classes.labels
        rows = self._states(tests, [direction.layer])[direction.layer]
        probe = SavedProbe(self.name, direction.layer, [negative, positive], [direction])
        projections = rows.astype(np.float64) @ direction.vector
        read = zip(tests, projections, probe.probabilities(rows)[:, 1], strict=True)
        return [
            ProbeReading(
                prompt=text,
                projection=float(projection),
                probability=float(p),
                label=positive if p >= 0.5 else negative,
                seen=text in self.classes.texts,
            )
            for text, projection, p in read
        ]
