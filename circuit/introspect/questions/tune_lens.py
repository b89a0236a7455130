"""``circuit introspect tune-lens``: train a lens and keep it for ``analyze --lens tuned``.

What it is, and its file: ``circuit.introspect.lens.tuned_lens``.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from circuit.artifacts.files.documents import plain, restored
from circuit.artifacts.files.paths import archive_path
from circuit.artifacts.manifest.manifest import Manifest, write_manifest
from circuit.introspect.lens.tuned_lens import (
    TunedLens,
    TuneLensResult,
    default_texts,
    distinct_texts,
    read_maps,
    tune_lens,
    write_maps,
)
from circuit.introspect.plans import asked
from circuit.present.document import Document, Estimate, Table, Text
from circuit.stages.options import ModelOptions, SeedOptions, chat_option
from circuit.stages.rows.prompt_input import PromptInput, read_prompt_input
from circuit.stages.run import Command, Job, Plan, Record, Session
from circuit.values import schemas
from circuit.values.requests import group, option

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel


@dataclass(frozen=True, kw_only=True)
class TuneLensRequest:
    """Train a lens that reads early layers in their own basis, for `analyze --lens tuned`.

    Examples:
      circuit introspect tune-lens -m tiny --texts @prompts.json --chat --steps 40 \
-o tuned.safetensors
    """

    model: ModelOptions = group(ModelOptions)
    output: Path = option("--output", "-o", help="Archive of the maps; its manifest is next to it.")
    texts: str | None = option(
        "--texts",
        "-p",
        help="a|b, @lines.txt or @prompts.json.",
        default=None,
        shown_default="built-in prompt sets",
    )
    steps: int = option("--steps", help="Steps of Adam.", default=200, minimum=1)
    rate: float = option("--rate", help="Learning rate at the start.", default=1e-3, minimum=0)
    chat: bool | None = chat_option()
    force: bool = option("--force", help="Replace output that exists.", default=False)
    seed: SeedOptions = group(SeedOptions)


def plan(request: TuneLensRequest) -> Plan[TunedLens]:
    """Read the texts."""
    given = (
        PromptInput(default_texts()) if request.texts is None else read_prompt_input(request.texts)
    )
    distinct_texts(given.texts)
    form = given.form(request.chat)
    archive = archive_path(request.output)
    manifest = archive.with_suffix(".json")
    parameters = asked(request, without=["force"], texts=given.texts, format=form.name)

    def compute(model: "LoadedModel", session: Session) -> TunedLens:
        return tune_lens(
            model,
            given.texts,
            form=form,
            n_steps=request.steps,
            rate=request.rate,
            seed=request.seed.seed,
            track=session.track,
        )

    def write(lens: TunedLens, record: Record) -> None:
        write_maps(archive, lens.maps, force=request.force)
        write_manifest(manifest, **vars(record), outputs=[archive], results=vars(lens.result))

    def read(written: Manifest) -> TunedLens:
        return TunedLens(maps=read_maps(archive), result=restored(TuneLensResult, written.results))

    return Plan(
        result=TunedLens,
        schema=schemas.LENS_MAPS,
        model=request.model,
        inputs=given.inputs,
        output=manifest,
        files=[archive],
        force=request.force,
        known=parameters,
        read=read,
        begin=lambda model: Job(
            parameters=parameters, compute=lambda session: compute(model, session), write=write
        ),
    )


def present(lens: TunedLens) -> Document:
    """Show the distance from the model's own prediction at every layer, tuned and plain."""
    result = lens.result
    distances = Table.of(
        result.layers,
        {
            "layer": lambda each: f"L{each.layer}",
            "tuned lens": lambda each: Estimate.of(each.tuned, ".3f"),
            "logit lens": lambda each: Estimate.of(each.plain, ".3f"),
        },
        title="KL of the model's prediction from the lens's on held-out texts, nats per token",
    )
    advice = (
        "More, and more varied, text makes a better lens; a tuned lens that is no better than the "
        "logit lens needs more training."
    )
    return Document(
        f"Tuned lens of `{result.model}`: {result.n_texts} texts, "
        f"{result.n_tokens} tokens to train on, {result.n_held_out} held out",
        [distances, Text([advice])],
    )


COMMAND = Command(
    request=TuneLensRequest, plan=plan, present=present, data=lambda lens: plain(lens.result)
)
