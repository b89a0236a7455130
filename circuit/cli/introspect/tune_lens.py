"""``circuit introspect tune-lens``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from circuit.cli import console
from circuit.cli.options import (
    Adapter,
    ChatOrText,
    Dtype,
    Force,
    Json,
    Model,
    RemoteCode,
    Revision,
    Seed,
)


def command(
    model: Model,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Archive of the maps; its manifest lies beside it."),
    ],
    texts: Annotated[
        str | None,
        typer.Option(
            "--texts",
            "-p",
            help="a|b, @lines.txt or @prompts.json [default: built-in prompt sets].",
        ),
    ] = None,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Steps of Adam.")] = 200,
    rate: Annotated[float, typer.Option("--rate", min=0, help="Its rate at the start.")] = 1e-3,
    chat: ChatOrText = None,
    seed: Seed = 0,
    dtype: Dtype = "auto",
    revision: Revision = None,
    adapter: Adapter = None,
    trust_remote_code: RemoteCode = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Train a lens that reads early layers in their own basis, for `analyze --lens tuned`.

    \b
    Examples:
      circuit introspect tune-lens -m tiny --texts @prompts.json --chat --steps 40 -o tuned.safetensors
    """
    from circuit.cli.tuned_lens_text import tuned_lens_text
    from circuit.introspect.output.saved import refuse_existing
    from circuit.introspect.questions.tune_lens import (
        archive_path,
        default_texts,
        results_of,
        save_lens,
        several,
        tune_lens,
    )
    from circuit.stages.legacy import ModelOptions
    from circuit.stages.rows.prompt_input import PromptInput, read_prompt_input

    given = PromptInput(default_texts()) if texts is None else read_prompt_input(texts)
    several(given.texts)
    asked = {"texts": given.texts, "steps": steps, "rate": rate, "seed": seed}
    archive = archive_path(output)
    manifest = [(archive.with_suffix(".json"), "lens_maps")]
    refuse_existing(manifest, asked, inputs=given.inputs, others=[archive], force=force)
    console.note(f"Loading model: {model}")
    loaded = ModelOptions(model, revision, adapter, dtype, trust_remote_code).load()
    form = given.form(chat)
    found = tune_lens(
        loaded, given.texts, form=form, n_steps=steps, rate=rate, seed=seed, track=console.track
    )
    asked["format"] = form.name
    save_lens(output, found, loaded, asked, inputs=given.inputs, force=force)
    results: dict[str, Any] = {"model": loaded.id, "format": form.name, **results_of(found)}
    console.result(results, tuned_lens_text(results), as_json=as_json)
