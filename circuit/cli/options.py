"""Options that several commands share, so that each is described once."""

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[str, typer.Option("--model", "-m", help="Hub id, checkpoint folder, or tiny.")]
Revision = Annotated[
    str | None, typer.Option("--revision", help="Branch, tag or commit of a model on the hub.")
]
Adapter = Annotated[Path | None, typer.Option("--adapter", help="Folder of a LoRA adapter.")]
Dtype = Annotated[
    str,
    typer.Option(
        "--dtype",
        help="Dtype of the weights: auto (the checkpoint's on a GPU, float32 on a CPU), "
        "checkpoint, float32, bfloat16, float16.",
    ),
]
RemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Let the checkpoint run its own Python code.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace output that exists.")]
AllowOtherModel = Annotated[
    bool, typer.Option("--allow-other-model", help="Use a direction of another model.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
# numpy and scikit-learn both take these.
SEEDS = {"min": 0, "max": 2**32 - 1}
Seed = Annotated[int, typer.Option("--seed", **SEEDS, help="Seed of everything random; recorded.")]
Chat = Annotated[
    bool | None,
    typer.Option("--chat/--raw", help="Use the model's chat template, or the text as it stands."),
]
System = Annotated[str | None, typer.Option("--system", help="System message (with --chat).")]
