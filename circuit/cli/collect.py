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
    Layers,
    Model,
    RemoteCode,
    Revision,
    Stem,
    System,
    ToolSchemas,
)
from circuit.errors import UsageError


def collect(
    model: Model,
    dataset: Annotated[Path, typer.Option("--dataset", "-d", help="Prompt set (JSON).")],
    output: Stem,
    layers: Layers = "all",
    sites: Annotated[
        str,
        typer.Option(
            "--sites", help="resid_post, mlp_out, z, attn_pattern ...; commas. See circuit sites."
        ),
    ] = "resid_post",
    positions: Annotated[
        list[str],
        typer.Option(
            "--positions",
            help="last, last_content, first, mean, all, an index, a slice (-6:), text:Oslo, "
            "re:[0-9]+, role:user; commas, or the option again.",
        ),
    ] = ["last"],  # noqa: B006
    chat: Chat = None,
    system: System = None,
    tools: ToolSchemas = None,
    dtype: Dtype = "auto",
    store: Annotated[
        str, typer.Option("--store", help="Dtype of the archive: float32, float16 or bfloat16.")
    ] = "float32",
    max_length: Annotated[
        int | None,
        typer.Option("--max-length", min=1, help="Shorten prompts to N tokens (BOS is one)."),
    ] = None,
    truncate: Annotated[
        str, typer.Option("--truncate", help="The side that --max-length cuts: left or right.")
    ] = "left",
    limit: Annotated[
        int | None, typer.Option("--limit", help="Use only N prompts, spread over the set.")
    ] = None,
    batch_tokens: Annotated[
        int | None,
        typer.Option(
            "--batch-tokens",
            min=1,
            help="Padded tokens in one forward pass.",
            show_default="as many as pay and as the memory holds",
        ),
    ] = None,
    share_prefix: Annotated[
        bool,
        typer.Option(
            "--shared-prefix/--no-shared-prefix",
            help="Run the tokens once with which all prompts begin.",
        ),
    ] = True,
    shard: Annotated[
        str | None,
        typer.Option("--shard", help="Collect only part i/n; the last to finish joins them."),
    ] = None,
    tensor_parallel: Annotated[
        bool,
        typer.Option(
            "--tensor-parallel", help="Under mlx.launch: split the model, not the prompts."
        ),
    ] = False,
    generate: Annotated[
        int | None,
        typer.Option("--generate", min=1, help="Also store the model's answer, of up to N tokens."),
    ] = None,
    criterion: Annotated[
        list[str] | None,
        typer.Option(
            "--criterion",
            help="What to judge the answers by: function_call, refusal, regex:..., a word "
            "(with --generate; may be given again).",
            show_default="function_call",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would cost, and collect nothing.")
    ] = False,
    revision: Revision = None,
    adapter: Adapter = None,
    trust_remote_code: RemoteCode = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Record what a model holds at chosen sites, layers and positions for every prompt.

    Interrupted by whatever, the same command goes on where it was. Under mlx.launch each process
    collects a part.

    \b
    Examples:
      circuit collect -m tiny -d prompts.json -o activations
      circuit collect -m tiny -d prompts.json -o residuals --sites embed,resid_post --positions last,mean
      circuit collect -m tiny -d prompts.json -o tails --layers 50% --positions -6: --limit 40
      circuit collect -m tiny -d prompts.json -o heads --layers 2 --sites z,attn_pattern --dry-run
      circuit collect -m tiny -d prompts.json -o parts --shard 1/2
      circuit collect -m tiny -d prompts.json -o answered --limit 40 --generate 16
    """
    from circuit.stages.collect import run as stage
    from circuit.stages.collect.request import Wanted
    from circuit.stages.legacy import ModelOptions

    part = None if tensor_parallel and shard is None else stage.part(shard)
    job = stage.prepared(
        ModelOptions(model, revision, adapter, dtype, trust_remote_code, tensor_parallel),
        dataset,
        output,
        wanted=Wanted(
            layers,
            sites,
            positions,
            max_length,
            truncate,
            batch_tokens,
            share_prefix,
            store,
            _asked(generate, criterion),
        ),
        chat=chat,
        system=system,
        tools=tools,
        limit=limit,
    )
    if dry_run and tensor_parallel:
        message = "a model that is split over processes has no --dry-run"
        raise UsageError(message, hint="use --dry-run with a checkpoint of the same shape")
    if job.follows:
        return stage.follow(job)
    if dry_run:
        return _print_estimate(job, part, as_json=as_json)
    if part is None:
        return _print_collected(stage.collect(job, force=force, track=console.track), as_json)
    done = stage.collect_shard(job, *part, force=force, track=console.track)
    if isinstance(done, stage.Waiting):
        missing = ", ".join(map(str, done.missing))
        console.note(f"shard {part[0]} of {part[1]} is done; not yet: {missing}")
        data = {"shard": str(done.shard), "missing": list(done.missing)}
        return console.result(data, f"Saved to: {done.shard}", as_json=as_json)
    return _print_collected(done, as_json)


def _asked(max_tokens: int | None, criteria: list[str] | None) -> Any:
    from circuit.stages.collect.answers import Asked

    if max_tokens is not None:
        return Asked(max_tokens, tuple(criteria or ["function_call"]))
    if criteria:
        message = "--criterion judges answers, and there are none"
        raise UsageError(message, hint="ask for answers with --generate N")
    return None


def _print_collected(done: Any, as_json: bool) -> None:
    if done.reused:
        console.note("this run is there already: nothing was collected again (--force repeats it)")
    summary = _summary(done.activations)
    console.result(summary, _text(summary), as_json=as_json)


def _summary(activations: Any) -> dict[str, Any]:
    results = activations.manifest.results
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
        "tokens": results["tokens"],
        "shared_prefix": results["shared_prefix"],
        "answers": results.get("answers"),
        "seconds": activations.manifest.run.seconds,
    }


def _text(summary: dict[str, Any]) -> str:
    captured = "; ".join(f"{s} {', '.join(map(str, at))}" for s, at in summary["layers"].items())
    shared = summary["shared_prefix"]
    answers = summary["answers"]
    met = answers and ", ".join(f"{name} {n}" for name, n in answers["met"].items())
    return "\n".join(
        [
            f"Model: {summary['model']} ({summary['n_layers']} layers, "
            f"d_model={summary['d_model']})",
            "Collection complete:",
            f"  Samples: {summary['samples']} ({summary['format']}, "
            f"{summary['tokens']['total']} tokens"
            + (f", the first {shared} of each run once)" if shared else ")"),
            f"  Layers captured: {captured}",
            f"  Positions: {', '.join(summary['positions'])}",
            *([f"  Answers: {answers['n']}, of these {met}"] if answers else []),
            f"  Saved to: {summary['archive']}",
        ]
    )


def _print_estimate(job: Any, part: tuple[int, int] | None, *, as_json: bool) -> None:
    from circuit.stages.collect.estimate import estimate

    found = estimate(job, *(part or (1, 1)))
    e = found.as_dict()
    shared = f", the first {e['shared_prefix']} of each run once" if e["shared_prefix"] else ""
    text = "\n".join(
        [
            "Nothing is collected (--dry-run).",
            f"  Prompts: {e['prompts']} of {e['shortest']} to {e['longest']} tokens",
            f"  Tokens: {e['tokens']}{shared}; {e['tokens_to_run']} run in {e['batches']} batches",
            f"  Padding: {e['padding']:.1%} of what runs (--batch-tokens {e['batch_tokens']})",
            f"  FLOPs: {e['flops']:.3g}",
            f"  Archive: {_size(e['archive'])}",
            f"  Memory: {_size(e['weights'])} of weights, {_size(e['working'])} to work in",
            f"  Time: {e['seconds']:.1f} s, as fast as a batch ran now"
            + (f"; up to {e['answering']:.1f} s for the answers" if e["answering"] else ""),
        ]
    )
    console.result(e, text, as_json=as_json)


def _size(n: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:.0f} {unit}" if unit == "bytes" else f"{n:.1f} {unit}"
        n /= 1000
    return f"{n:.1f} TB"
