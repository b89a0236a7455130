"""The requests of ``circuit directions``: it fits; its verbs read what was fitted."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from circuit.stages.options import (
    LAYERS,
    ArchiveOptions,
    ArchiveOutputOptions,
    ModelOptions,
    OutputOptions,
    ProbeOptions,
    SeedOptions,
)
from circuit.values.requests import argument, group, option


@dataclass(frozen=True, kw_only=True)
class DirectionsRequest:
    """Fit the direction between two labels at each layer and score it on held-out prompts.

    Every score is cross-fitted: the direction that scores a prompt was fitted without its group
    (template). The layer marked * is the best; its score as a choice is nested.

    Examples:
      circuit directions -a activations.safetensors -o directions
      circuit directions -a activations.safetensors -o tools --layer 50% --per-tool --method lda
      circuit directions -a activations.safetensors -o centered --layer 50% --method mean_centered
    """

    COMMAND: ClassVar[str] = "circuit.stages.directions.run:COMMAND"

    archive: ArchiveOptions = group(ArchiveOptions)
    output: ArchiveOutputOptions = group(ArchiveOutputOptions)
    method: str = option(
        "--method",
        help="mean_diff, pca, lda, logistic, mean_centered, single; controls: random, "
        "random_within, shuffled.",
        default="mean_diff",
    )
    per_category: bool = option(
        "--per-category", help="Also each category against the others.", default=False
    )
    per_tool: bool = option(
        "--per-tool", help="Also each tool against the other tools.", default=False
    )
    positive: str | None = option(
        "--positive", help="Label to point to.", default=None, shown_default="the second"
    )
    negative: str | None = option(
        "--negative", help="Label to point from.", default=None, shown_default="the others"
    )
    corpus: Path | None = option(
        "--corpus",
        help="Archive of prompts in general, for mean_centered.",
        default=None,
        shown_default="those in neither class",
    )
    probe: ProbeOptions = group(ProbeOptions)
    seed: SeedOptions = group(SeedOptions)
    n_boot: int = 1000


@dataclass(frozen=True, kw_only=True)
class CompareRequest:
    """Show the cosines of all directions at the same site and layer, with their chance level.

    Counts which pairs are orthogonal, correlated or aligned. Directions fitted to the same
    activations share their strong axes, and are by that alone farther from orthogonal than
    random ones.

    Examples:
      circuit directions compare directions.safetensors computation.npz
      circuit directions compare directions.safetensors computation.npz --json
    """

    COMMAND: ClassVar[str] = "circuit.stages.directions.compare:COMMAND"

    files: list[Path] = argument(help="Steering files, of circuit or another program.")
    threshold: float | None = option(
        "--threshold",
        help="|cosine| up to which a pair is orthogonal.",
        default=None,
        shown_default="the chance level",
    )
    output: OutputOptions = group(OutputOptions)


@dataclass(frozen=True, kw_only=True)
class ShowRequest:
    """Show the directions of a steering file, their quality, and what they were made from.

    With --tokens, the direct effect on the logits of a step along the direction, at real residuals
    and through the model's own final norm and head.

    Examples:
      circuit directions show directions.safetensors
      circuit directions show computation.npz
      circuit directions show directions.safetensors --layer -1 --tokens -m tiny --top 5
    """

    COMMAND: ClassVar[str] = "circuit.stages.directions.show:COMMAND"

    file: Path = argument(help="Steering file.")
    name: str | None = option("--name", help="One direction of the file.", default=None)
    layers: str = option("--layers", "--layer", help=LAYERS, default="all")
    tokens: bool = option(
        "--tokens", help="Tokens that one direction promotes (with --model).", default=False
    )
    model: ModelOptions = group(ModelOptions, model=None)
    top: int = option("--top", help="Tokens on each side.", default=10, minimum=1)
    prompt: str | None = option(
        "--prompt",
        "-p",
        help="a|b or @lines.txt: prompts at whose last token the effect is measured.",
        default=None,
        shown_default="eight short texts",
    )
    seed: SeedOptions = group(SeedOptions)
    allow_other_model: bool = option(
        "--allow-other-model", help="Use a direction of another model.", default=False
    )


@dataclass(frozen=True, kw_only=True)
class TransferRequest:
    r"""Score directions that were fitted to one archive on the labels of another.

    Prompts that share a text or a group with those of the fit are left out and counted.

    Examples:
      circuit directions transfer -d computation.npz -a activations --positive tool \
        --negative no_tool
    """

    COMMAND: ClassVar[str] = "circuit.stages.directions.transfer:COMMAND"

    direction: Path = option("--direction", "-d", help="Steering file, fitted elsewhere.")
    activations: Path = option("--activations", "-a", help="Archive of activations, from collect.")
    name: str | None = option("--name", help="One direction of the file.", default=None)
    layers: str = option("--layers", "--layer", help=LAYERS, default="all")
    positive: str | None = option(
        "--positive",
        help="Label to point to.",
        default=None,
        shown_default="the direction's own",
    )
    negative: str | None = option(
        "--negative",
        help="Label to point from.",
        default=None,
        shown_default="the direction's own",
    )
    position: str | None = option("--position", help="One position of the archive.", default=None)
    seed: SeedOptions = group(SeedOptions)
    n_boot: int = 1000
