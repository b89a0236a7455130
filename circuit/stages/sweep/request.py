"""What a sweep is told on the command line: read and checked before there is a model, which may take minutes to load."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from circuit.artifacts.prompts.prompts import PromptSet
from circuit.artifacts.prompts.read import read_prompts
from circuit.stages.rows.holdout import check_apart
from circuit.stages.rows.provenance import fit_of, training_prompts
from circuit.stages.steering.readout import Readout
from circuit.stages.steering.setup import Setup
from circuit.stages.steering.strength import refuse_calibrated
from circuit.stages.sweep.job import Choices, Job
from circuit.stages.sweep.run import check_asked


@dataclass(frozen=True, eq=False)
class Asked:
    """Directions and how they act, the prompt sets, and what is measured."""

    setup: Setup
    test: PromptSet
    others: Mapping[str, PromptSet]
    readout: Readout
    choices: Choices
    archive: Path | None = None

    @classmethod
    def of(
        cls,
        setup: Setup,
        test: Path,
        others: Mapping[str, Path | None],
        readout: Readout,
        choices: Choices,
        archive: Path | None = None,
    ) -> "Asked":
        """Read the prompt sets; ``others`` are those that must share nothing with the test prompts."""
        sets = {name: read_prompts(path) for name, path in others.items() if path is not None}
        return cls(setup, read_prompts(test), sets, readout, choices, archive)

    def check(self) -> None:
        """Raise what can be known without a model."""
        self.setup.check([])
        refuse_calibrated(self.setup.manner.rule)
        check_asked(self.test, self.readout, self.choices)
        check_apart({**self.others, "test": self.test})
        for source in self.setup.sources:
            fitted = training_prompts(fit_of(source.file))
            if fitted is not None:
                check_apart({"training": fitted, "test": self.test})

    def on(self, model: Any) -> Job:
        """Bring the model in: the directions are resolved for it."""
        intervention, form, _ = self.setup.on(model, self.test)
        sources = [
            source.file for source in self.setup.sources for _ in source.parts(model.n_layers)
        ]
        chosen = intervention.parts[0].direction.extra.get("selection") or {}
        return Job(
            intervention,
            self.test,
            self.readout,
            form,
            self.choices,
            self.others,
            tuple(fit_of(file) for file in sources),
            self.archive,
            chosen.get("configs_tried"),
        )
