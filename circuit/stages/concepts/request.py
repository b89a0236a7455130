"""The requests of ``circuit concepts``."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from circuit.stages.options import FormatOptions, ModelOptions, OutputOptions, SeedOptions
from circuit.values.requests import argument, group, option

MIDDLE = "middle"
RULE = "What strength 1 is: raw, the natural length, or as in steer."


@dataclass(frozen=True, kw_only=True)
class CopyOptions:
    """Where a copy of the library's archive is written."""

    output: Path | None = option(
        "--output", "-o", help="Also save the archive under this stem.", default=None
    )
    force: bool = option("--force", help="Replace output that exists.", default=False)


@dataclass(frozen=True, kw_only=True)
class PlotOptions:
    """The picture of what was measured."""

    plot: Path | None = option(
        "--plot", help="Draw what was measured (png, pdf, svg).", default=None
    )


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """Extract the concepts' vectors at three depths into the library, with held-out scores.

    Without --concepts these are all seventeen, 51 vectors. They stay in the cache for this model,
    so that a second build has nothing to do.

    Examples:
      circuit concepts build -m tiny --concepts happy,sad -o moods
    """

    COMMAND: ClassVar[str] = "circuit.stages.concepts.build:BUILD"

    model: ModelOptions = group(ModelOptions)
    concepts: str | None = option(
        "--concepts",
        help="Only these: happy,sad.",
        default=None,
        shown_default="built-in",
        unnamed=True,
    )
    layers: str | None = option(
        "--layers",
        help="Layers of the vectors.",
        default=None,
        shown_default="early, middle and late, 25, 50 and 75 % deep",
    )
    output: CopyOptions = group(CopyOptions)


@dataclass(frozen=True, kw_only=True)
class ListRequest:
    """List the concepts, and with a model what has been built for it.

    Examples:
      circuit concepts list
      circuit concepts list -m tiny
    """

    COMMAND: ClassVar[str] = "circuit.stages.concepts.own:LIST"

    model: str | None = option(
        "--model", "-m", help="Show what is built for this model.", default=None
    )


@dataclass(frozen=True, kw_only=True)
class TryRequest:
    r"""Answer prompts with concepts added, alongside the unsteered answers.

    Strength 1 is one natural length of the concept: from the mean of neutral texts to that of texts
    that have the concept.

    Examples:
      circuit concepts try happy -m tiny -p "The meeting went" --strength 4 -n 8
      circuit concepts try happy:4+pirate:1 -m tiny -p "The meeting went|The garden is" --layer \
        late -n 8 --plot mix.png
    """

    COMMAND: ClassVar[str] = "circuit.stages.concepts.trial:TRY"

    mix: str = argument(help="happy, happy:2 or happy:1.5+formal:0.5.")
    model: ModelOptions = group(ModelOptions)
    prompts: str = option(
        "--prompts", "-p", help="a|b, @lines.txt or @prompts.json; spaces are kept.", unnamed=True
    )
    strength: float = option(
        "--strength", "-c", help="Strength of a concept that names none.", default=1.5
    )
    layer: str = option("--layer", "-l", help="early, middle, late or a layer.", default=MIDDLE)
    rule: str = option("--rule", help=RULE, default="raw")
    max_tokens: int = option(
        "--max-tokens", "-n", help="Tokens to generate at most.", default=50, minimum=1
    )
    output: OutputOptions = group(OutputOptions)
    plot: PlotOptions = group(PlotOptions)
    prompt_format: FormatOptions = group(FormatOptions)


@dataclass(frozen=True, kw_only=True)
class ScanRequest:
    r"""Measure what a concept does at every layer or strength, alongside random directions.

    The effect is measured on texts that the vector was not fitted to, the damage on neutral
    prompts.

    Examples:
      circuit concepts scan happy -m tiny --layers 2,4 --controls 1
      circuit concepts scan happy -m tiny -p "The meeting went" --over strengths --strengths 1,4 \
        --layer 2 --controls 1 -n 8 --plot scan.png
    """

    COMMAND: ClassVar[str] = "circuit.stages.concepts.scan:SCAN"

    name: str = argument(help="A concept.")
    model: ModelOptions = group(ModelOptions)
    prompts: str | None = option(
        "--prompts",
        "-p",
        help="Also answer these: a|b, @lines.txt or @prompts.json.",
        default=None,
        unnamed=True,
    )
    over: str = option("--over", help="layers or strengths.", default="layers")
    layers: str | None = option(
        "--layer",
        "--layers",
        "-l",
        help="Layers to add it at.",
        default=None,
        shown_default="all, or middle over strengths",
    )
    strengths: str | None = option(
        "--strength",
        "--strengths",
        "-c",
        help="Strengths to add it with.",
        default=None,
        shown_default="0.5 to 5, or 1.5 over layers",
    )
    controls: int = option(
        "--controls", help="Random directions of the same length.", default=19, minimum=0
    )
    rule: str = option("--rule", help=RULE, default="raw")
    max_tokens: int = option(
        "--max-tokens", "-n", help="Tokens to generate at most.", default=24, minimum=1
    )
    output: OutputOptions = group(OutputOptions)
    plot: PlotOptions = group(PlotOptions)
    prompt_format: FormatOptions = group(FormatOptions)
    seed: SeedOptions = group(SeedOptions)


@dataclass(frozen=True, kw_only=True)
class CreateRequest:
    r"""Make a concept of your own texts and keep it in the library.

    With --model its vectors are built, too. From 8 pairs on a vector has a held-out score, from 16
    on a quarter is held out for `scan`.

    Examples:
      circuit concepts create rainy --positive "It rained all day." --neutral "It was a day." \
        --force
      circuit concepts create rainy -m tiny --positive "It rained all day." --neutral \
        "It was a day." --force
    """

    COMMAND: ClassVar[str] = "circuit.stages.concepts.own:CREATE"

    name: str = argument(help="Name of the concept.")
    model: ModelOptions = group(ModelOptions, model=None)
    texts: Path | None = option(
        "--texts",
        help="Prompt set of two labels, or YAML with positive, neutral.",
        default=None,
    )
    positive: list[str] | None = option(
        "--positive", help="A text that has it; again for more.", default=None
    )
    neutral: list[str] | None = option(
        "--neutral", help="A neutral text; again for more.", default=None
    )
    force: bool = option("--force", help="Replace output that exists.", default=False)


@dataclass(frozen=True, kw_only=True)
class RemoveRequest:
    """Remove a concept of your own, and its vectors, from the library.

    Examples:
      circuit concepts remove mine
    """

    COMMAND: ClassVar[str] = "circuit.stages.concepts.own:REMOVE"

    name: str = argument(help="A concept of your own.")
