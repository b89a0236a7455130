"""The tuned lens: train it, keep it, and use it on the model that it was trained on and on no other.

An archive ``<stem>.safetensors`` holds for each layer A (``map.<layer>``) and b (``bias.<layer>``), see ``circuit.model.gradients.lens_training``; its manifest
(schema ``circuit.lens_maps/1``) says for which model, by the digests of configuration and weights, and how well it does: KL of the model's own
prediction from the lens's, in nats a token, on held-out texts, with an interval over texts and beside the plain logit lens.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from circuit.artifacts.archive.archive import read_archive, write_archive
from circuit.artifacts.files.documents import read_document
from circuit.artifacts.manifest.manifest import Run, write_manifest
from circuit.artifacts.prompts.builtin import find_set
from circuit.artifacts.prompts.read import read_prompts
from circuit.errors import ArtifactError, DataError, UsageError
from circuit.methods.arrays import Array
from circuit.methods.steering import divergences
from circuit.methods.uncertainty.means import mean_estimate
from circuit.stages.rows.prompting import encode
from circuit.stages.run import Track, untracked
from circuit.values import schemas
from circuit.values.prompt_format import RAW, PromptFormat
from circuit.values.sites import Site

DEFAULT_SETS = ("neutral", "openings", "refusal", "sentiment_carry", "tool_calling")
HELD_OUT = 0.2


@dataclass(frozen=True)
class LayerFit:
    """KL from the model's prediction on held-out texts, tuned and plain: value, low, high, in nats a token."""

    layer: int
    tuned: list[float]
    plain: list[float]


@dataclass(frozen=True, eq=False)
class TunedLens:
    """The maps, how well they do, and on how much text that was found."""

    maps: Mapping[int, Any]
    fits: list[LayerFit]
    n_texts: int
    n_tokens: int
    n_held_out: int


def default_texts() -> list[str]:
    """Return the texts of built-in prompt sets, each once."""
    sets = [read_prompts(find_set(name)) for name in DEFAULT_SETS]
    return list(dict.fromkeys(text for each in sets for text in each.texts))


def several(texts: Sequence[str]) -> list[str]:
    """Return each text once; raise ``DataError`` where there are too few to hold some out."""
    once = list(dict.fromkeys(texts))
    if len(once) < 10:
        message = f"a lens needs 10 texts or more, not {len(once)}"
        raise DataError(message, hint="a fifth of them is held out; more texts make a better lens")
    return once


def tune_lens(
    model: Any,
    texts: Sequence[str],
    *,
    form: PromptFormat = RAW,
    n_steps: int = 200,
    rate: float = 1e-3,
    seed: int = 0,
    track: Track = untracked,
) -> TunedLens:
    """Train a map for every layer but the last on four fifths of the texts, and measure it on the others.

    Every token but the first of each text counts. Raises ``DataError`` with fewer than ten texts.
    """
    from circuit.model.gradients.lens_training import train_maps

    texts = several(texts)
    if model.n_layers < 2:
        raise DataError(
            "a model of one layer needs no lens", hint="its last layer is read as it is"
        )
    states, owner = _rows(model, texts, form)
    last = model.n_layers - 1
    held = np.random.default_rng(seed).permutation(len(texts))[: max(2, int(HELD_OUT * len(texts)))]
    out = np.isin(owner, held)
    maps = train_maps(
        model,
        {k: rows[~out] for k, rows in states.items() if k != last},
        states[last][~out],
        steps=track(range(n_steps), "Training", n_steps),
        n_steps=n_steps,
        rate=rate,
        seed=seed,
    )
    fits = _fits(model, {k: rows[out] for k, rows in states.items()}, maps, owner[out], seed)
    return TunedLens(maps, fits, len(texts), int((~out).sum()), int(out.sum()))


def _rows(model: Any, texts: Sequence[str], form: PromptFormat) -> tuple[dict[int, Array], Array]:
    """Return the residuals (n_tokens, d_model) after every block, and the text of each row."""
    from circuit.model.patching.patching import states

    sites = [Site("resid_post", k) for k in range(model.n_layers)]
    found: dict[int, list[Array]] = {k: [] for k in range(model.n_layers)}
    owner: list[int] = []
    for number, prompt in enumerate(encode(model, texts, form)):
        for site, rows in states(model, prompt.ids, sites).items():
            found[site.layer].append(rows[1:])
        owner += [number] * (len(prompt.ids) - 1)
    return {k: np.concatenate(rows) for k, rows in found.items()}, np.array(owner)


def _fits(
    model: Any, states: Mapping[int, Array], maps: Mapping[int, Any], owner: Array, seed: int
) -> list[LayerFit]:
    goal = _log_probs(model, states[max(states)])
    fits = []
    for k, lens in sorted(maps.items()):
        found = []
        for rows in (lens(states[k]), states[k]):
            divergence = divergences.kl(goal, _log_probs(model, rows))
            estimate = mean_estimate(divergence, owner, seed=seed)
            assert estimate is not None  # two texts or more are held out
            value, low, high = estimate.as_list()
            found.append([value, max(0.0, low), high])  # no KL is negative
        fits.append(LayerFit(k, *found))
    return fits


def _log_probs(model: Any, rows: Array) -> Array:
    from circuit.model.forward.tail import read_logits

    parts = [read_logits(model, rows[i : i + 256]) for i in range(0, len(rows), 256)]
    return divergences.log_softmax(np.concatenate(parts))


def results_of(lens: TunedLens) -> dict[str, Any]:
    """Return what is said of a lens, as JSON holds it."""
    counts = {"n_texts": lens.n_texts, "n_tokens": lens.n_tokens, "n_held_out": lens.n_held_out}
    return {**counts, "layers": [asdict(fit) for fit in lens.fits]}


def save_lens(
    stem: Path,
    lens: TunedLens,
    model: Any,
    parameters: Mapping[str, Any],
    *,
    inputs: Sequence[Path] = (),
    force: bool = False,
) -> None:
    """Write the archive and then its manifest; ``stem`` may end in .safetensors."""
    started = time.perf_counter()
    archive = archive_path(stem)
    tensors = {f"map.{k}": each.matrix for k, each in lens.maps.items()}
    tensors |= {f"bias.{k}": each.bias for k, each in lens.maps.items()}
    write_archive(archive, tensors, {"schema": schemas.LENS_MAPS}, force=force)
    write_manifest(
        archive.with_suffix(".json"),
        schema=schemas.LENS_MAPS,
        parameters=parameters,
        inputs=list(inputs),
        outputs=[archive],
        results=results_of(lens),
        model=model.identity,
        tokenizer=model.tokenizer_identity,
        run=Run.since(started),
        force=force,
    )


def read_lens(stem: Path, model: Any) -> dict[int, Any]:
    """Return the maps of a lens for ``model``; raise ``UsageError`` for one of another model."""
    from circuit.model.gradients.lens_training import AffineMap

    archive = check_lens_file(stem)
    said = read_document(archive.with_suffix(".json"), schemas.LENS_MAPS)["model"] or {}
    ours = model.identity
    same = ("config_sha256", "weights_sha256", "adapter")
    if any(said.get(key) != getattr(ours, key) for key in same):
        message = f"`{archive}` was trained on `{said.get('id')}`, not on this `{model.id}`"
        raise UsageError(message, hint="train one with circuit introspect tune-lens")
    arrays = read_archive(archive)
    layers = sorted(int(name.removeprefix("map.")) for name in arrays if name.startswith("map."))
    return {k: AffineMap(arrays[f"map.{k}"], arrays[f"bias.{k}"]) for k in layers}


def archive_path(stem: Path) -> Path:
    """Return where the maps lie: ``stem`` may end in .safetensors or .json."""
    name = stem.name.removesuffix(".safetensors").removesuffix(".json")
    return stem.with_name(f"{name}.safetensors")


def check_lens_file(stem: Path) -> Path:
    """Return the archive of a lens; raise ``ArtifactError`` where there is none."""
    archive = archive_path(stem)
    if not archive.is_file():
        message = f"there is no lens `{archive}`"
        raise ArtifactError(message, hint="circuit introspect tune-lens writes one")
    return archive


def check_lens_options(lens: str, file: Path | None) -> None:
    """Raise ``UsageError`` for a lens that there is not, and for a tuned one without its file."""
    if lens not in ("logit", "tuned"):
        raise UsageError(f"there is no lens `{lens}`", hint="use logit or tuned")
    if (lens == "tuned") != (file is not None):
        message = "--lens tuned and --lens-file go together"
        raise UsageError(message, hint="circuit introspect tune-lens writes the file")
    if file is not None:
        check_lens_file(file)
