"""The requests of ``circuit steer select | sweep | specificity | table``."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from circuit.stages.options import (
    ActionOptions,
    DirectionOptions,
    FormatOptions,
    ModelOptions,
    OutputOptions,
    ReadoutOptions,
    SeedOptions,
)
from circuit.values.requests import argument, group, option

SWEEPS = "What `steer sweep -o` wrote, or NAME=FILE for each."


@dataclass(frozen=True, kw_only=True)
class SelectionOutput:
    """Where the candidates and the chosen direction are written."""

    output: Path = option(
        "--output", "-o", help="Candidates; the direction goes to NAME.direction."
    )
    force: bool = option("--force", help="Replace output that exists.", default=False)


@dataclass(frozen=True, kw_only=True)
class SelectRequest:
    r"""Choose direction, layer and strength: the largest validation effect with KL at most --kl.

    Every direction of every file -d is tried at every layer of the file (or at --layer). The effect
    of the chosen one is the largest of many: report what `steer sweep` finds for it on test
    prompts.

    Examples:
      circuit steer select -m tiny -d directions.safetensors --layer 1,3 --strengths 1 \
        --validation held_out.json --positive-answers "<tool_call>" -o selection.json
    """

    COMMAND: ClassVar[str] = "circuit.stages.sweep.select:SELECT"

    model: ModelOptions = group(ModelOptions)
    validation: Path = option("--validation", help="Prompt set on which the choice is made.")
    output: SelectionOutput = group(SelectionOutput)
    directions: DirectionOptions = group(DirectionOptions)
    readout: ReadoutOptions = group(ReadoutOptions)
    kl: float = option("--kl", help="Largest divergence on neutral prompts, in nats.", default=1.0)
    strengths: str = option(
        "--strengths", help="Fractions of the c* at which --kl is met.", default="0.5,1"
    )
    max_depth: float = option(
        "--max-depth",
        help="Layers from this fraction of the depth on are not chosen.",
        default=0.8,
    )
    action: ActionOptions = group(ActionOptions)
    prompt_format: FormatOptions = group(FormatOptions)
    seed: SeedOptions = group(SeedOptions)


@dataclass(frozen=True, kw_only=True)
class SweepRequest:
    r"""Measure a steering on held-out prompts: dose-response, controls of the same size, cost.

    Doses count in c*, at which neutral text changes by --kl nats. A read-out is --positive-answers
    with --negative-answers, or a --criterion of the written text. A slope counts when random
    directions, and directions fitted to shuffled labels, do not have it as well.

    Examples:
      circuit steer sweep -m tiny -d directions.safetensors --layer 2 --test held_out.json \
        --positive-answers "<tool_call>" --dose-one 0.3 --doses "-1,-0.5,0,0.5,1" --random 1 \
        --shuffled 1 -o tool_sweep.json --plots tool_pictures
      circuit steer sweep -m tiny -d computation.npz --test sums.json --criterion number -n 3 \
        --dose-one 0.5 --doses "-1,-0.5,0,0.5,1" --random 1 --shuffled 0
    """

    COMMAND: ClassVar[str] = "circuit.stages.sweep.run:SWEEP"

    model: ModelOptions = group(ModelOptions)
    test: Path = option("--test", help="Prompt set that is measured, once.")
    directions: DirectionOptions = group(DirectionOptions)
    train: Path | None = option(
        "--train",
        help="Prompts of the fit.",
        default=None,
        shown_default="as the manifest says",
    )
    validation: Path | None = option(
        "--validation", help="Prompts that choices were made on.", default=None
    )
    readout: ReadoutOptions = group(ReadoutOptions)
    doses: str = option(
        "--doses",
        help="In units of c*, with 0 and both signs.",
        default="-1.5,-1,-0.5,-0.25,0,0.25,0.5,1,1.5",
    )
    kl: float = option("--kl", help="Divergence on neutral prompts at c*, in nats.", default=1.0)
    dose_one: float | None = option(
        "--dose-one", help="Coefficient of dose 1, instead of a calibrated c*.", default=None
    )
    random: int = option("--random", help="Random directions.", default=19, minimum=0)
    shuffled: int = option(
        "--shuffled", help="Directions fitted to shuffled labels.", default=19, minimum=0
    )
    same_kl: bool = option(
        "--same-kl", help="Controls of the same KL instead of the same norm.", default=False
    )
    prompt_baseline: str | None = option(
        "--prompt-baseline",
        help="Ask in words: a system message, or text before a raw prompt.",
        default=None,
    )
    activations: Path | None = option(
        "--activations", "-a", help="Archive of the fit, if it was moved.", default=None
    )
    plots: Path | None = option(
        "--plots", help="Draw the response and its cost here (with -o).", default=None
    )
    action: ActionOptions = group(ActionOptions)
    output: OutputOptions = group(OutputOptions)
    prompt_format: FormatOptions = group(FormatOptions)
    seed: SeedOptions = group(SeedOptions)


@dataclass(frozen=True, kw_only=True)
class SpecificityRequest:
    """Run the direction of every sweep on the test prompts and read-out of every other.

    Examples:
      circuit steer specificity -m tiny one=sweep.json same=sweep.json -o specificity.json
    """

    COMMAND: ClassVar[str] = "circuit.stages.sweep.specificity:SPECIFICITY"

    sweeps: list[str] = argument(help=SWEEPS)
    model: ModelOptions = group(ModelOptions)
    output: OutputOptions = group(OutputOptions)


@dataclass(frozen=True, kw_only=True)
class TableRequest:
    """Put several sweeps into one table: strength, held-out slope, controls, cost, and the verdict.

    A band is the range of the slopes of all control directions of a kind.

    Examples:
      circuit steer table sweep.json
      circuit steer table sums=sweep.json --plots sweep_pictures
    """

    COMMAND: ClassVar[str] = "circuit.stages.sweep.table:TABLE"

    sweeps: list[str] = argument(help=SWEEPS)
    plots: Path | None = option("--plots", help="Draw them as small multiples here.", default=None)
    force: bool = option("--force", help="Replace output that exists.", default=False)
