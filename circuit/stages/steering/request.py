"""The requests of ``circuit steer`` itself and of ``circuit steer calibrate``."""

from dataclasses import dataclass
from typing import ClassVar

from circuit.stages.options import (
    ActionOptions,
    DirectionOptions,
    FormatOptions,
    ModelOptions,
    OutputOptions,
    SamplingOptions,
    SeedOptions,
)
from circuit.values.requests import group, option


@dataclass(frozen=True, kw_only=True)
class NamedDirectionOptions(DirectionOptions):
    """Which directions act, or how the one that is made is named."""

    name: str | None = option(
        "--name", help="Name of the direction to save, or to use.", default=None
    )


@dataclass(frozen=True, kw_only=True)
class PairOptions:
    """Two prompts whose difference is the direction, instead of a file."""

    positive: str | None = option("--positive", help="Prompt of the positive class.", default=None)
    negative: str | None = option("--negative", help="Prompt of the negative class.", default=None)
    positive_label: str = option(
        "--positive-label", help="Name of the positive class.", default="positive"
    )
    negative_label: str = option(
        "--negative-label", help="Name of the negative class.", default="negative"
    )


@dataclass(frozen=True, kw_only=True)
class SteerRequest:
    r"""Add a direction to the residual stream while the model writes: h' = h + c v ||h||.

    --rule says what coefficient 1 is, --operator what is done to the residual, --scope to which
    tokens. Coefficient 0 is always the unsteered model.

    Examples:
      circuit steer -m tiny --extract --positive "100 - 37 = " --negative "100 - 37 =" --layer 3 \
        -o extracted.npz
      circuit steer -m tiny -d computation.npz -p "50 + 25 =|10 * 10 =" -c 0.8
      circuit steer -m tiny -d computation.npz -p "50 + 25 =" --compare "-2,-1,0,1,2"
      circuit steer -m tiny --positive "I am so happy" --negative "I am so sad" -p \
        "The meeting went" -c 0.5
      circuit steer -m tiny -d directions.safetensors --layer all --operator ablate -p \
        "What is the weather in Oslo?" -n 8
      circuit steer -m tiny -d computation.npz,weight=0.5 -d directions.safetensors,layer=1 \
        --rule raw --scope prompt -p "50 + 25 =" -n 8
      circuit steer -m tiny -d directions.safetensors -p @prompts.json --compare "-1,0,1" \
        --criterion function_call --controls 2 -n 8 -o steering.json
    """

    COMMAND: ClassVar[str] = "circuit.stages.steering.steer:STEER"

    model: ModelOptions = group(ModelOptions)
    directions: NamedDirectionOptions = group(NamedDirectionOptions)
    extract: bool = option(
        "--extract", help="Only extract a direction and save it to -o.", default=False
    )
    pair: PairOptions = group(PairOptions)
    prompts: str | None = option(
        "--prompts",
        "-p",
        help="a|b, @lines.txt or @prompts.json; spaces are kept.",
        default=None,
        unnamed=True,
    )
    coefficient: float | None = option(
        "--coefficient",
        "--strength",
        "-c",
        help="Steering strength.",
        default=None,
        shown_default="1",
    )
    compare: str | None = option(
        "--compare", help='Several strengths: "-2,-1,0,1,2".', default=None
    )
    action: ActionOptions = group(ActionOptions)
    when: str | None = option(
        "--when",
        help="Steer only prompts for which a saved probe answers its positive class: "
        "FILE,probe=NAME,layer=L,above=LOGIT.",
        default=None,
    )
    sampling: SamplingOptions = group(SamplingOptions)
    stream: bool | None = option(
        "--stream/--no-stream",
        help="Show a single answer while it is written.",
        default=None,
        shown_default="on a terminal",
    )
    criterion: str | None = option(
        "--criterion",
        help="Count answers that meet it: function_call, refusal, sorry, positive, negative, "
        "number, expected, regex:PATTERN, or a text.",
        default=None,
    )
    controls: int = option(
        "--controls",
        help="Random directions as a baseline (with --criterion).",
        default=0,
        minimum=0,
    )
    output: OutputOptions = group(OutputOptions)
    prompt_format: FormatOptions = group(FormatOptions)
    seed: SeedOptions = group(SeedOptions)


@dataclass(frozen=True, kw_only=True)
class CalibrateRequest:
    r"""Find c*, at which steering changes neutral text by --kl nats (the unit of --rule kl:1.0).

    The steered model writes a few tokens after each neutral prompt, and KL(steered || unsteered) is
    measured at each of them. Its 95th percentile is brought to the target within 5 %, for + and for
    -.

    Examples:
      circuit steer calibrate -m tiny -d directions.safetensors --sign +
      circuit steer calibrate -m tiny -d computation.npz --kl 0.5 --sign + -p \
        "The plates are in the drawer.|Rice is cooked in a pot." -o calibration.json
    """

    COMMAND: ClassVar[str] = "circuit.stages.steering.calibrate:CALIBRATE"

    model: ModelOptions = group(ModelOptions)
    directions: DirectionOptions = group(DirectionOptions)
    kl: float = option("--kl", help="Divergence on neutral prompts at c*, in nats.", default=1.0)
    statistic: str = option(
        "--statistic", help="Of KL over tokens: p95, another percentile, mean.", default="p95"
    )
    sign: str = option("--sign", help="Side that is calibrated: +, -, or both.", default="both")
    prompts: str | None = option(
        "--prompts",
        "-p",
        help="a|b or @lines.txt.",
        default=None,
        shown_default="the neutral set",
    )
    tokens: int = option(
        "--tokens", help="Steered tokens after each prompt.", default=20, minimum=1
    )
    action: ActionOptions = group(ActionOptions)
    output: OutputOptions = group(OutputOptions)
    prompt_format: FormatOptions = group(FormatOptions)
