"""What ``steer select`` is told on the command line: read and checked before there is a model, which may take minutes to load."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from circuit.artifacts.prompts.read import read_prompts
from circuit.artifacts.steering_files.files import Direction, read_steering_file
from circuit.stages.rows.holdout import check_apart
from circuit.stages.rows.provenance import fit_of, training_prompts
from circuit.stages.rows.same_weights import check_model
from circuit.stages.steering.readout import Readout
from circuit.stages.steering.setup import Setup
from circuit.stages.steering.source import named
from circuit.stages.steering.steer import format_for
from circuit.stages.steering.strength import refuse_calibrated
from circuit.stages.sweep.select import MAX_DEPTH, Choosing, check_choice


def choosing(
    setup: Setup,
    validation: Path,
    readout: Readout,
    kl: float,
    shares: tuple[float, ...],
    max_depth: float = MAX_DEPTH,
    seed: int = 0,
) -> Callable[[Any], Choosing]:
    """Read and check what there is before the model; what is returned brings the model in."""
    prompts = read_prompts(validation)
    check_choice(prompts, readout, kl, shares, max_depth)
    setup.check([])
    refuse_calibrated(setup.manner.rule)
    for source in setup.sources:
        fitted = training_prompts(fit_of(source.file))
        if fitted is not None:
            check_apart({"training": fitted, "validation": prompts})

    def on(model: Any) -> Choosing:
        directions = candidates_of(setup, model)
        form = format_for(prompts, directions[0], **setup.form)
        how = (setup.manner, prompts, readout, form, kl, shares, max_depth)
        return Choosing(directions, *how, seed=seed)

    return on


def candidates_of(setup: Setup, model: Any) -> list[Direction]:
    """Read the directions of every source, at the layers that it names or else at all that its file holds."""
    found: list[Direction] = []
    for source in setup.sources:
        if source.layer is None:
            found += named(read_steering_file(source.file), source.name, source.file)
        else:
            found += [part.direction for part in source.parts(model.n_layers)]
    for direction in found:
        check_model(direction, model, allow_other=setup.allow_other)
    return found
