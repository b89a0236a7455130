"""``circuit introspect patch``."""

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
    SaveJson,
    Seed,
    picture,
)


def command(
    model: Model,
    clean: Annotated[
        str | None, typer.Option("--clean", "--source", help="The prompt that shows the behaviour.")
    ] = None,
    corrupt: Annotated[
        str | None,
        typer.Option("--corrupt", "--target", help="One that differs in what matters only."),
    ] = None,
    pairs: Annotated[
        str | None,
        typer.Option(
            "--pairs",
            "-d",
            help="Pairs instead: a JSON list of clean, corrupt, answer, wrong; or prompts in pairs.",
        ),
    ] = None,
    answer: Annotated[
        str | None,
        typer.Option(
            "--answer", help="Token that answers the clean prompt [default: its likeliest]."
        ),
    ] = None,
    wrong: Annotated[
        str | None,
        typer.Option(
            "--wrong", help="Token that answers the corrupt one [default: its likeliest]."
        ),
    ] = None,
    layers: Annotated[
        str, typer.Option("--layers", "--layer", "-l", help="all | 0,4,8 | 8-13 | -1 | every:4.")
    ] = "all",
    position: Annotated[
        str, typer.Option("--position", help="Tokens counted from the end: all | -1 | -8--1.")
    ] = "all",
    components: Annotated[
        str,
        typer.Option(
            "--components",
            help="Of resid_pre, attn_out, mlp_out, heads; or one head as 2.3, token by token.",
        ),
    ] = "resid_pre,attn_out,mlp_out,heads",
    direction: Annotated[
        str, typer.Option("--direction", help="denoising, noising or both.")
    ] = "both",
    align: Annotated[
        str,
        typer.Option(
            "--align", help="same: as many tokens; end: compare unequal ones from the end."
        ),
    ] = "same",
    attribution: Annotated[
        bool,
        typer.Option("--attribution", help="Estimate all from a gradient, verify the largest."),
    ] = False,
    verify: Annotated[
        int, typer.Option("--verify", min=3, help="Estimates to verify in each direction.")
    ] = 20,
    chat: ChatOrText = None,
    output: SaveJson = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", callback=picture, help="Draw heat maps (png, pdf, svg)."),
    ] = None,
    seed: Seed = 0,
    dtype: Dtype = "auto",
    revision: Revision = None,
    adapter: Adapter = None,
    trust_remote_code: RemoteCode = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Put what a part of the model holds for one prompt into the run of another: where is the difference?

    \b
    Examples:
      circuit introspect patch -m tiny --clean "50 + 25 = " --corrupt "50 - 25 = " --answer 7 --wrong 2 -o patching.json
      circuit introspect patch -m tiny --clean "50 + 25 = " --corrupt "50 - 25 = " --attribution --plot patching.png
      circuit introspect patch -m tiny --clean "50 + 25 = " --corrupt "50 - 25 = " --components "mlp_out,3.1" --position=-5--1
    """
    from circuit.cli.patching_text import patching_text
    from circuit.introspect.output.saved import refuse_existing, save
    from circuit.introspect.patching.patch_runs import what
    from circuit.introspect.patching.prompt_pairs import (
        check_alignment,
        check_pairs,
        choose_pair_format,
        read_pairs,
    )
    from circuit.introspect.questions.patch import patch
    from circuit.stages.legacy import ModelOptions

    asked = what(components, direction, position)
    check_alignment(align)
    listed, given = read_pairs(clean, corrupt, pairs, answer, wrong)
    check_pairs(listed)
    which = {"layers": layers, "position": position, "components": components, "pairs": listed}
    how = {"direction": direction, "align": align, "attribution": attribution, "verify": verify}
    known = {**which, **how, "seed": seed}
    refuse_existing([(output, "patching")], known, others=[plot], force=force)
    console.note(f"Loading model: {model}")
    loaded = ModelOptions(model, revision, adapter, dtype, trust_remote_code).load()
    form = choose_pair_format(given, chat)
    asked = asked.at(layers, loaded.n_layers)
    found = patch(
        loaded,
        listed,
        asked,
        form=form,
        alignment=align,
        attribution=attribution,
        verify=verify,
        seed=seed,
        track=console.track,
    )
    results: dict[str, Any] = {"model": loaded.id, "format": form.name, **found.as_dict()}
    if output is not None:
        parameters = {**known, "format": form.name}
        save(output, "patching", results, parameters=parameters, model=loaded, force=force)
    if plot is not None:
        from circuit.introspect.output.pictures import draw_patching

        draw_patching(found, plot, force=force)
    console.result(results, patching_text(results), as_json=as_json)
