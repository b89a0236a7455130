"""``circuit collect``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from circuit.cli import console
from circuit.cli.options import (
    Adapter,
    Chat,
    Dtype,
    Force,
    Json,
    Model,
    RemoteCode,
    Revision,
    System,
)


def collect(
    model: Model,
    dataset: Annotated[Path, typer.Option("--dataset", "-d", help="Prompt set (JSON).")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Stem of the archive and its manifest.")
    ],
    layers: Annotated[
        str, typer.Option("--layers", help="all | 0,4,8 | 8-13 | -1 | every:4 | 50%.")
    ] = "all",
    sites: Annotated[
        str,
        typer.Option(
            "--sites", help="embed, resid_pre, attn_out, resid_mid, mlp_out, resid_post; commas."
        ),
    ] = "resid_post",
    positions: Annotated[
        str,
        typer.Option("--positions", help="last, last_content, mean, first, or an index; commas."),
    ] = "last",
    chat: Chat = None,
    system: System = None,
    tools: Annotated[
        Path | None, typer.Option("--tools", help="JSON list of tool schemas (with --chat).")
    ] = None,
    dtype: Dtype = "auto",
    store: Annotated[
        str, typer.Option("--store", help="Dtype of the archive: float32, float16 or bfloat16.")
    ] = "float32",
    max_length: Annotated[
        int | None,
        typer.Option("--max-length", min=1, help="Keep this many last tokens (BOS is one)."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", help="Use only N prompts, spread over the set.")
    ] = None,
    batch_tokens: Annotated[
        int, typer.Option("--batch-tokens", min=1, help="Padded tokens in one forward pass.")
    ] = 2048,
    revision: Revision = None,
    adapter: Adapter = None,
    trust_remote_code: RemoteCode = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Record what a model holds at chosen sites, layers and positions for every prompt.

    \b
    Examples:
      circuit collect -m tiny -d prompts.json -o activations
      circuit collect -m tiny -d prompts.json -o residuals --sites embed,resid_post --positions last,mean
      circuit collect -m tiny -d prompts.json -o middle --layers 50% --limit 40
    """
    from circuit.stages.collect import Wanted
    from circuit.stages.collect import collect as run
    from circuit.stages.running import ModelOptions

    done = run(
        ModelOptions(model, revision, adapter, dtype, trust_remote_code),
        dataset,
        output,
        wanted=Wanted(layers, sites, positions, max_length, batch_tokens, store),
        chat=chat,
        system=system,
        tools=tools,
        limit=limit,
        force=force,
        track=console.track,
    )
    if done.reused:
        console.note("this run is there already: nothing was collected again (--force repeats it)")
    summary = _summary(done.activations)
    console.result(summary, _text(summary), as_json=as_json)


def _summary(activations: Any) -> dict[str, Any]:
    return {
        "archive": str(activations.archive.path),
        "manifest": str(activations.path),
        "model": activations.manifest.model.id,
        "n_layers": activations.n_layers,
        "d_model": activations.d_model,
        "samples": len(activations.prompts),
        "layers": {site: activations.layers(site) for site in activations.sites},
        "positions": activations.positions,
        "format": activations.manifest.parameters["format"],
        "tokens": activations.manifest.results["tokens"],
        "seconds": activations.manifest.run.seconds,
    }


def _text(summary: dict[str, Any]) -> str:
    captured = "; ".join(f"{s} {', '.join(map(str, at))}" for s, at in summary["layers"].items())
    return "\n".join(
        [
            f"Model: {summary['model']} ({summary['n_layers']} layers, "
            f"d_model={summary['d_model']})",
            "Collection complete:",
            f"  Samples: {summary['samples']} ({summary['format']}, "
            f"{summary['tokens']['total']} tokens)",
            f"  Layers captured: {captured}",
            f"  Positions: {', '.join(summary['positions'])}",
            f"  Saved to: {summary['archive']}",
        ]
    )
