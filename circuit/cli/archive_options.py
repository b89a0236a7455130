"""Options of the commands that read an archive of activations."""

from pathlib import Path
from typing import Annotated

import typer

Archive = Annotated[
    Path, typer.Option("--activations", "-a", help="Archive of activations, from collect.")
]
Layers = Annotated[
    str, typer.Option("--layers", "--layer", help="all | 0,4,8 | 8-13 | -1 | every:4 | 50%.")
]
Site = Annotated[str | None, typer.Option("--site", help="One site of the archive.")]
Position = Annotated[str | None, typer.Option("--position", help="One position of the archive.")]
Labels = Annotated[
    str,
    typer.Option(
        "--labels", help="prompts, or what the model did: model, model:CRITERION (see collect)."
    ),
]
Folds = Annotated[
    int, typer.Option("--folds", min=2, help="Folds of the cross-validation, by group.")
]
