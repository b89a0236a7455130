"""The tuned lens: its training, and its file, which fits only the model that it was trained on.

An archive ``<stem>.safetensors`` holds for each layer A (``map.<layer>``) and b (``bias.<layer>``),
see ``circuit.model.gradients.lens_training``; its manifest (schema ``circuit.lens_maps/1``) names
the model, by the digests of configuration and weights, and says how good the lens is: KL of the
model's own prediction from the lens's, in nats per token, on held-out texts, with an interval over
texts, next to that of the plain logit lens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from circuit.artifacts.archive.archive import read_archive, write_archive
from circuit.artifacts.files.paths import archive_path
from circuit.artifacts.manifest.manifest import check_described, check_outputs, read_manifest
from circuit.artifacts.prompts.builtin import find_set
from circuit.artifacts.prompts.read import read_prompts
from circuit.errors import ArtifactError, DataError, UsageError
from circuit.introspect.lens.distributions import log_probs
from circuit.methods.arrays import Array
from circuit.methods.steering import divergences
from circuit.methods.uncertainty.means import mean_interval
from circuit.stages.rows.prompting import encode
from circuit.stages.run import Result, Track, untracked
from circuit.values import schemas
from circuit.values.prompt_format import RAW, PromptFormat
from circuit.values.sites import Site

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel
    from circuit.model.gradients.lens_training import AffineMap

DEFAULT_SETS = ("neutral", "openings", "refusal", "sentiment_carry", "tool_calling")
HELD_OUT = 0.2
MIN_TEXTS = 10


@dataclass(frozen=True, kw_only=True)
class LayerFit:
    """KL from the model's prediction on held-out texts: [value, low, high] in nats per token."""

    layer: int
    tuned: list[float | None]
    plain: list[float | None]


@dataclass(frozen=True, kw_only=True)
class TuneLensResult:
    """How good a lens is at every layer, and the size of the texts that this was measured on."""

    model: str
    format: str
    n_texts: int
    n_tokens: int
    n_held_out: int
    layers: list[LayerFit]


@dataclass(frozen=True, kw_only=True, eq=False)
class TunedLens(Result):
    """The maps by layer, and how good they are."""

    COMMAND: ClassVar[str] = "circuit.introspect.questions.tune_lens:COMMAND"

    maps: "Mapping[int, AffineMap]"
    result: TuneLensResult


def default_texts() -> list[str]:
    """Return the texts of built-in prompt sets, each once."""
    sets = [read_prompts(find_set(name)) for name in DEFAULT_SETS]
    return list(dict.fromkeys(text for each in sets for text in each.texts))


def distinct_texts(texts: Sequence[str]) -> list[str]:
    """Return each text once; raises ``DataError`` where there are too few to hold some out."""
    once = list(dict.fromkeys(texts))
    if len(once) < MIN_TEXTS:
        message = f"a tuned lens needs at least {MIN_TEXTS} texts, got {len(once)}"
        hint = "a fifth of them is held out; more texts make a better lens"
        raise DataError("too-few-texts", message, hint=hint, n=len(once))
    return once


def tune_lens(
    model: "LoadedModel",
    texts: Sequence[str],
    *,
    form: PromptFormat = RAW,
    n_steps: int = 200,
    rate: float = 1e-3,
    seed: int = 0,
    track: Track = untracked,
) -> TunedLens:
    """Train a map for every layer but the last on four fifths of the texts.

    The maps are measured on the other texts. Every token but the first of each text is used. Raises
    ``DataError`` with fewer than ten texts.
    """
    from circuit.model.gradients.lens_training import train_maps

    texts = distinct_texts(texts)
    if model.n_layers < 2:
        message = "a tuned lens needs a model of at least 2 layers, got 1"
        hint = "the last layer needs no lens"
        raise DataError("too-few-layers", message, hint=hint, n_layers=model.n_layers)
    states, text_of_row = _rows(model, texts, form)
    last = model.n_layers - 1
    held = np.random.default_rng(seed).permutation(len(texts))[: max(2, int(HELD_OUT * len(texts)))]
    out = np.isin(text_of_row, held)
    maps = train_maps(
        model,
        {k: rows[~out] for k, rows in states.items() if k != last},
        states[last][~out],
        steps=track(range(n_steps), "Training", n_steps),
        n_steps=n_steps,
        rate=rate,
        seed=seed,
    )
    test = {k: rows[out] for k, rows in states.items()}
    result = TuneLensResult(
        model=model.id,
        format=form.name,
        n_texts=len(texts),
        n_tokens=int((~out).sum()),
        n_held_out=int(out.sum()),
        layers=_fits(model, test, maps, text_of_row[out], seed),
    )
    return TunedLens(maps=maps, result=result)


def _rows(
    model: "LoadedModel", texts: Sequence[str], form: PromptFormat
) -> tuple[dict[int, Array], Array]:
    """Return the residuals (n_tokens, d_model) after every block, and the text of each row."""
    from circuit.model.forward.token_states import token_states

    sites = [Site("resid_post", k) for k in range(model.n_layers)]
    found: dict[int, list[Array]] = {k: [] for k in range(model.n_layers)}
    text_of_row: list[int] = []
    for number, prompt in enumerate(encode(model, texts, form)):
        for site, rows in token_states(model, prompt.ids.tolist(), sites).items():
            found[site.layer].append(rows[1:])
        text_of_row += [number] * (len(prompt.ids) - 1)
    return {k: np.concatenate(rows) for k, rows in found.items()}, np.array(text_of_row)


def _fits(
    model: "LoadedModel",
    states: Mapping[int, Array],
    maps: "Mapping[int, AffineMap]",
    text_of_row: Array,
    seed: int,
) -> list[LayerFit]:
    goal, texts = log_probs(model, states[max(states)]), text_of_row.tolist()

    def distance(rows: Array) -> list[float | None]:
        divergence = divergences.kl(goal, log_probs(model, rows))
        return mean_interval(divergence, texts, bounds=(0.0, np.inf), seed=seed)

    return [
        LayerFit(layer=k, tuned=distance(lens(states[k])), plain=distance(states[k]))
        for k, lens in sorted(maps.items())
    ]


def write_maps(archive: Path, maps: "Mapping[int, AffineMap]", *, force: bool = False) -> None:
    """Write the maps of all layers."""
    tensors = {f"map.{k}": each.matrix for k, each in maps.items()}
    tensors |= {f"bias.{k}": each.bias for k, each in maps.items()}
    write_archive(archive, tensors, {"schema": schemas.LENS_MAPS}, force=force)


def read_maps(archive: Path) -> "dict[int, AffineMap]":
    """Read the maps of all layers."""
    from circuit.model.gradients.lens_training import AffineMap

    arrays = read_archive(archive)
    layers = sorted(int(name.removeprefix("map.")) for name in arrays if name.startswith("map."))
    return {k: AffineMap(arrays[f"map.{k}"], arrays[f"bias.{k}"]) for k in layers}


def read_lens(stem: Path, model: "LoadedModel") -> "dict[int, AffineMap]":
    """Read the maps of a lens of ``model``.

    Raises ``UsageError`` for a lens of another model, and ``ArtifactError`` for one whose maps are
    not those that its manifest describes.
    """
    archive = check_lens_file(stem)
    described = archive.with_suffix(".json")
    manifest = read_manifest(described, schemas.LENS_MAPS)
    check_described(described, manifest, [archive])
    check_outputs(described, manifest)
    theirs = manifest.model
    same = ("config_sha256", "weights_sha256", "adapter")
    if any(getattr(theirs, key, None) != getattr(model.identity, key) for key in same):
        trained_on = None if theirs is None else theirs.id
        message = f"`{archive}` was trained on `{trained_on}`, not on this `{model.id}`"
        hint = "train one with circuit introspect tune-lens"
        raise UsageError(
            "lens-of-another-model", message, hint=hint, model=model.id, trained_on=trained_on
        )
    return read_maps(archive)


def check_lens_file(stem: Path) -> Path:
    """Return the archive of a lens; raises ``ArtifactError`` where it is missing."""
    archive = archive_path(stem)
    if not archive.is_file():
        hint = "circuit introspect tune-lens writes one"
        raise ArtifactError("file-not-found", f"no lens `{archive}`", hint=hint, file=str(archive))
    return archive


def check_lens_options(lens: str, file: Path | None) -> None:
    """Raise ``UsageError`` for an unknown lens, and unless `tuned` and a file go together."""
    if lens not in ("logit", "tuned"):
        raise UsageError("unknown-lens", f"unknown lens `{lens}`", hint="use logit or tuned")
    if (lens == "tuned") != (file is not None):
        message = "`--lens tuned` and `--lens-file` go together"
        hint = "circuit introspect tune-lens writes the file"
        raise UsageError("lens-and-file", message, hint=hint, lens=lens)
    if file is not None:
        check_lens_file(file)
