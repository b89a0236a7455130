"""Options that several commands share, so that each is described once."""

from pathlib import Path
from typing import Annotated

import typer


def picture(path: Path | None) -> Path | None:
    """Check the name of a picture while the command line is read."""
    from circuit.stages.figures.picture_files import check_picture

    return check_picture(path)


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
ChatOrText = Annotated[
    bool | None,
    typer.Option("--chat/--raw", help="A user's turn, or the text [default: the set's, or raw]."),
]
DirectionName = Annotated[str | None, typer.Option("--name", help="One direction of the file.")]
Layers = Annotated[str, typer.Option("--layers", help="all | 0,4,8 | 8-13 | -1 | every:4 | 50%.")]
MaxTokens = Annotated[
    int, typer.Option("--max-tokens", "-n", min=1, help="Tokens to generate at most.")
]
Prompt = Annotated[str, typer.Option("--prompt", "-p", help="a|b, @lines.txt or @prompts.json.")]
Prompts = Annotated[
    str, typer.Option("--prompts", "--prompt", "-p", help="a|b, @lines.txt or @prompts.json.")
]
Raw = Annotated[
    bool | None,
    typer.Option(
        "--raw/--chat", help="The text as it stands, or a user's turn [default: the set's, or raw]."
    ),
]
RawOrTemplate = Annotated[
    bool | None,
    typer.Option(
        "--raw/--chat",
        help="The text as it stands, or a user's turn [default: the set's, or chat if there is a template].",
    ),
]
SaveJson = Annotated[Path | None, typer.Option("--output", "-o", help="Save as JSON.")]
Stem = Annotated[Path, typer.Option("--output", "-o", help="Stem of the archive and its manifest.")]
Temperature = Annotated[float, typer.Option("--temperature", min=0, help="0 is greedy.")]
ToolSchemas = Annotated[
    Path | None, typer.Option("--tools", help="JSON list of tool schemas (with --chat).")
]
