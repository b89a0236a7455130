"""``circuit steer calibrate``: the strength at which a steering changes neutral text by a given divergence."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from circuit.cli import console
from circuit.cli.options import (
    Adapter,
    AllowOtherModel,
    Chat,
    DirectionName,
    Dtype,
    Force,
    Json,
    Model,
    RemoteCode,
    Revision,
    System,
)
from circuit.cli.steering_options import Directions, Operator, Rule, Scope, SteeringLayers
from circuit.cli.sweep_options import Kl, Output, Tools


def calibrate(
    model: Model,
    direction: Directions = None,
    layer: SteeringLayers = None,
    name: DirectionName = None,
    kl: Kl = 1.0,
    statistic: Annotated[
        str, typer.Option("--statistic", help="Of KL over tokens: p95, another percentile, mean.")
    ] = "p95",
    sign: Annotated[
        str, typer.Option("--sign", help="Side that is calibrated: +, -, or both.")
    ] = "both",
    prompts: Annotated[
        str | None,
        typer.Option("--prompts", "-p", help="a|b or @lines.txt [default: the neutral set]."),
    ] = None,
    tokens: Annotated[
        int, typer.Option("--tokens", min=1, help="Steered tokens after each prompt.")
    ] = 20,
    rule: Rule = "norm",
    operator: Operator = "add",
    scope: Scope = "all",
    output: Output = None,
    chat: Chat = None,
    system: System = None,
    tools: Tools = None,
    dtype: Dtype = "auto",
    revision: Revision = None,
    adapter: Adapter = None,
    trust_remote_code: RemoteCode = False,
    allow_other_model: AllowOtherModel = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Find c*, at which steering changes neutral text by --kl nats; then --rule kl:1.0 steers in units of it.

    The steered model writes a few tokens after each neutral prompt; KL of steered against unsteered at each
    of them; its 95th percentile is brought to the target within 5 %, for + and for -.

    \b
    Examples:
      circuit steer calibrate -m tiny -d directions.safetensors --sign +
      circuit steer calibrate -m tiny -d computation.npz --kl 0.5 --sign + -p "The plates are in the drawer.|Rice is cooked in a pot." -o calibration.json
    """
    from circuit.stages.legacy import ModelOptions
    from circuit.stages.rows.prompting import parse_prompts
    from circuit.stages.steering.intervention import Manner
    from circuit.stages.steering.neutral import neutral_prompts
    from circuit.stages.steering.rollouts import prepared
    from circuit.stages.steering.setup import Setup
    from circuit.stages.steering.strength import (
        Request,
        check_target,
        refuse_calibrated,
        run_calibration,
    )

    check_target(kl, statistic)
    refuse_calibrated(rule)
    side = _side(sign)
    texts = None if prompts is None else _texts(parse_prompts(prompts))
    form = {"chat": chat, "system": system, "tools": tools}
    setup = replace(
        Setup.of(direction or [], None, name, layer), form=form, allow_other=allow_other_model
    )
    setup = replace(setup, manner=Manner(rule, operator, scope))
    setup.check([])
    console.note(f"Loading model: {model}")
    loaded = ModelOptions(model, revision, adapter, dtype, trust_remote_code).load()
    intervention, chosen, _ = setup.on(loaded, [])
    neutral = prepared(loaded, neutral_prompts(loaded, chosen, texts), tokens)
    about = {"format": vars(chosen), "prompts": texts}
    request = Request(intervention, neutral, about, kl, statistic, side)
    results, reused = run_calibration(loaded, request, out=output, inputs=setup.files, force=force)
    if reused:
        console.note("this run is there already (--force repeats it)")
    console.result(results, calibration_text(results, output), as_json=as_json)


def _side(sign: str) -> int:
    sides = {"+": 1, "-": -1, "both": 0}
    if sign not in sides:
        raise typer.BadParameter(f"`{sign}` is not +, - or both")
    return sides[sign]


def _texts(prompts: Any) -> list[str]:
    return list(prompts if isinstance(prompts, list) else prompts.texts)


def calibration_text(results: dict[str, Any], output: Path | None) -> str:
    """Lay out the history of both sides, and c*."""
    lines = [
        f"KL of steered against unsteered on {results['n_prompts']} neutral prompts, {results['n_tokens']} steered tokens after each, "
        f"{results['statistic']} over tokens; target {results['target']:g} nats",
        "",
    ]
    rows = []
    for sign, side in results["sides"].items():
        for step, (c, kl) in enumerate(side["history"], 1):
            off = kl / results["target"] - 1
            rows.append([f"{sign}{step}", f"{c:+.4f}", f"{kl:.4f}", f"{off:+.0%}"])
    lines += [console.table(["step", "coefficient", "KL", "off target"], rows), ""]
    for sign, side in results["sides"].items():
        lines.append(
            f"{sign}: c = {side['coefficient']:+.4f}, KL {side['kl']:.3f} ({_said(side['status'])})"
        )
    lines.append(f"c* = {results['coefficient']:.4f}" + ("" if output else ", not saved (-o)"))
    return "\n".join(lines)


def _said(status: str) -> str:
    return {
        "converged": "on target",
        "below": "below the target at every strength",
        "above": "above the target at every strength",
        "unresolved": "the divergence jumps over the target; this is the side below it",
    }[status]
