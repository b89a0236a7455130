"""What a command that steers is told, before there is a model: which directions, how they act, on which prompts.

``check`` raises what can be known without the model, which may take minutes to load; ``on`` brings the model in and returns the
resolved intervention, the format in which prompts are given to it, and the condition.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from circuit.artifacts.prompts.prompts import PromptSet
from circuit.artifacts.steering_files.files import read_steering_file
from circuit.errors import UsageError
from circuit.stages.rows.same_weights import check_model
from circuit.stages.steering.condition import Condition
from circuit.stages.steering.from_prompts import Pair, extract_direction
from circuit.stages.steering.intervention import Intervention, Manner, Part
from circuit.stages.steering.source import Source, parse_source
from circuit.stages.steering.steer import format_for
from circuit.stages.steering.strength import resolve
from circuit.values.prompt_format import PromptFormat


@dataclass(frozen=True)
class Setup:
    """Steering files or a pair of prompts, how they act, and when."""

    sources: tuple[Source, ...] = ()
    pair: Pair | None = None
    layer: str | None = None
    manner: Manner = field(default_factory=Manner)
    form: dict[str, Any] = field(
        default_factory=lambda: {"chat": None, "system": None, "tools": None}
    )
    when: str | None = None
    allow_other: bool = False

    @classmethod
    def of(
        cls, files: Sequence[str], pair: Pair | None, name: str | None, layer: str | None
    ) -> "Setup":
        """Read sources as they are written; ``name`` and ``layer`` are of the only one."""
        if bool(files) == (pair is not None):
            what = "a direction is given twice" if files else "no direction is given"
            raise UsageError(what, hint="use -d FILE, or --positive with --negative")
        sources = [parse_source(text) for text in files]
        if len(sources) == 1:
            only = sources[0]
            named, at = (name or only.name), (layer if layer is not None else only.layer)
            sources = [replace(only, name=named, layer=at)]
        elif sources and (name is not None or layer is not None):
            message = "--name and --layer belong to one direction, and several are given"
            raise UsageError(message, hint="write -d FILE,name=NAME,layer=LAYER for each")
        return cls(tuple(sources), pair, layer)

    def acting(self, rule: str, operator: str, scope: str) -> "Setup":
        """Return the same, acting in another manner."""
        return replace(self, manner=Manner(rule, operator, scope))

    @property
    def files(self) -> list[Path]:
        """The files that are read, for the manifest."""
        conditions = [] if self.when is None else [Path(self.when.split(",")[0])]
        return [*(source.file for source in self.sources), *conditions]

    def check(self, coefficients: Sequence[float]) -> None:
        """Raise for files that cannot be read and for a manner that there is not."""
        for source in self.sources:
            read_steering_file(source.file)
        self.manner.check(coefficients)
        if self.when is not None:
            Condition.parse(self.when)

    def on(
        self, model: Any, prompts: PromptSet | list[str]
    ) -> tuple[Intervention, PromptFormat, Condition | None]:
        """Return what is done to ``model``, in which format it is given ``prompts``, and when."""
        if self.pair is not None:
            form = format_for(prompts, None, **self.form)
            parts = [Part(extract_direction(model, self.pair, layer=self.layer, form=form))]
        else:
            parts = [part for source in self.sources for part in source.parts(model.n_layers)]
            form = format_for(prompts, parts[0].direction, **self.form)
        for part in parts:
            check_model(part.direction, model, allow_other=self.allow_other)
        condition = None if self.when is None else Condition.parse(self.when)
        return resolve(model, parts, self.manner, form), form, condition
