"""The requests of ``circuit probes``."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from circuit.stages.options import LAYERS, TEMPLATE, ModelOptions, SeedOptions, chat_option
from circuit.values.requests import group, option


@dataclass(frozen=True, kw_only=True)
class CategoryOptions:
    """Which probes of a battery."""

    category: tuple[str, ...] = option(
        "--category",
        help="syntactic, semantic, decision: only these; commas, or the option again.",
        default=(),
        unnamed=True,
    )

    @property
    def strata(self) -> list[str]:
        """The names that are given."""
        names = [name.strip() for given in self.category for name in given.split(",")]
        return [name for name in names if name]


@dataclass(frozen=True, kw_only=True)
class BatteryOptions:
    """A battery, and which of its probes."""

    datasets: Path | None = option(
        "--datasets",
        help="Folder of probes.",
        default=None,
        shown_default="the built-in battery",
    )
    category: CategoryOptions = group(CategoryOptions)


@dataclass(frozen=True, kw_only=True)
class InitRequest:
    """Write the built-in battery as prompt sets, to edit and to give to `--datasets`.

    Examples:
      circuit probes init -o battery
      circuit probes init -o decisions --category decision
    """

    COMMAND: ClassVar[str] = "circuit.stages.probes.listing:INIT"

    output: Path = option("--output", "-o", help="Folder to write.")
    category: CategoryOptions = group(CategoryOptions)
    force: bool = option("--force", help="Replace output that exists.", default=False)


@dataclass(frozen=True, kw_only=True)
class ListRequest:
    """List the probes of a battery, with the question of each.

    Examples:
      circuit probes list
      circuit probes list --category semantic --json
    """

    COMMAND: ClassVar[str] = "circuit.stages.probes.listing:LIST"

    battery: BatteryOptions = group(BatteryOptions)


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """Score every probe at every layer, alongside its baselines, from one collection.

    The report has the held-out scores of every prompt and a list of what was controlled; the
    probes themselves are in REPORT.fitted.safetensors, for `probes apply`.

    Examples:
      circuit probes run -m tiny -o probes.json
      circuit probes run -m tiny --category syntactic --layers 0,-1 --no-stratigraphy
    """

    COMMAND: ClassVar[str] = "circuit.stages.probes.run:RUN"

    model: ModelOptions = group(ModelOptions)
    battery: BatteryOptions = group(BatteryOptions)
    layers: str = option("--layers", help=LAYERS, default="all")
    threshold: float = option(
        "--threshold", help="AUROC whose first crossing is reported.", default=0.75
    )
    stratigraphy: bool = option(
        "--stratigraphy/--no-stratigraphy", help="Show where each emerges.", default=True
    )
    random_weights: bool = option(
        "--random-weights/--no-random-weights",
        help="Probe the same model with random weights too, as a baseline.",
        default=True,
    )
    chat: bool | None = chat_option(help=TEMPLATE)
    seed: SeedOptions = group(SeedOptions)
    output: Path | None = option(
        "--output",
        "-o",
        help="Report (JSON); archives and probes are written alongside.",
        default=None,
    )
    force: bool = option("--force", help="Replace output that exists.", default=False)
    # Without options: the folds of each probe, its resamples and its permutations.
    folds: int = 5
    n_boot: int = 1000
    n_shuffles: int = 1000


@dataclass(frozen=True, kw_only=True)
class ApplyRequest:
    """Read a fitted probe token by token along a prompt, and along the model's continuation.

    It was trained at the last token of a prompt; at others its probability is an extrapolation.

    Examples:
      circuit probes apply -m tiny --probes report.fitted.safetensors --probe question -p "is it"
    """

    COMMAND: ClassVar[str] = "circuit.stages.probes.apply:APPLY"

    model: ModelOptions = group(ModelOptions)
    probes: Path = option("--probes", help="Fitted probes: REPORT.fitted.safetensors.")
    prompt: str = option("--prompt", "-p", help="a|b, @lines.txt or @prompts.json.", unnamed=True)
    probe: str | None = option("--probe", help="Which probe of the file.", default=None)
    layer: str | None = option(
        "--layer", help="Its layer.", default=None, shown_default="where it scored best"
    )
    generate: int = option(
        "--generate",
        help="Tokens that the model generates, which are read too.",
        default=0,
        minimum=0,
    )
    chat: bool | None = chat_option("the probe's", help=TEMPLATE)
