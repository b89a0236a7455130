"""Options that the commands which steer share: where a direction comes from, and how it acts."""

from typing import Annotated

import typer

Directions = Annotated[
    list[str] | None,
    typer.Option(
        "--direction",
        "-d",
        help="Steering file of circuit or another program, or FILE,name=NAME,layer=LAYERS,weight=W,plane=NAME; several act together.",
    ),
]
SteeringLayers = Annotated[
    str | None,
    typer.Option(
        "--layer",
        "-l",
        help="Block to steer after, or several: 3, 50%, 2-4, all [default: the file's, or 50%].",
    ),
]
Rule = Annotated[
    str,
    typer.Option(
        "--rule",
        help="What coefficient 1 is: norm (the token's own), raw (the classes' distance), projection (from the "
        "negative mean to the positive), median-norm, kl:1.0 (nats on neutral prompts).",
    ),
]
Operator = Annotated[
    str,
    typer.Option("--operator", help="add, preserve, affine, clamp, ablate or angular."),
]
Scope = Annotated[
    str, typer.Option("--scope", help="Tokens that are steered: all, prompt, generated or last:K.")
]
