"""Directions and prompts in, steered text out, and how often it meets a criterion.

Every answer is generated through mlx-lm with h' = h + c · v · ||h|| where the direction was made
(after its block, unless it was made at what the block reads), at every position. With a criterion, the share of answers that meet it is given per label with a Wilson
interval, beside that of random directions of the same norm at the same coefficient: an effect that
they have as well is not the direction's.
"""

import hashlib
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from circuit.artifacts.atomic import explained
from circuit.artifacts.directions import (
    Direction,
    read_steering_file,
    write_directions,
    write_steering_file,
)
from circuit.artifacts.documents import plain
from circuit.artifacts.manifest import Run, manifest_path, reusable, write_manifest
from circuit.artifacts.prompts import PromptSet
from circuit.errors import ModelError, UsageError
from circuit.methods.layers import parse_layers
from circuit.stages.prompting import Format, choose_format, encode
from circuit.stages.running import Track, untracked
from circuit.stages.steering_trial import Answers, check_criterion, judge

SCHEMA = "circuit.steering/1"


@dataclass(frozen=True)
class Decoding:
    """How text is generated: at temperature 0 greedily; see ``circuit.model.generate.Sampling``."""

    max_tokens: int = 50
    temperature: float = 0.0
    top_p: float = 0.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float | None = None
    seed: int = 0

    def sampling(self) -> Any:
        """Return the options of sampling, as the model layer takes them."""
        from circuit.model.generate import Sampling

        return Sampling(**{k: v for k, v in asdict(self).items() if k != "max_tokens"})


@dataclass(frozen=True)
class Job:
    """One direction, prompts, strengths, and how the answers are made and judged."""

    direction: Direction
    prompts: PromptSet | Sequence[str]
    coefficients: Sequence[float]
    form: Format
    decoding: Decoding = Decoding()
    criterion: str | None = None
    controls: int = 0

    @property
    def texts(self) -> list[str]:
        """The prompts' texts, every blank kept."""
        return self.prompts.texts if isinstance(self.prompts, PromptSet) else list(self.prompts)

    def parameters(self) -> dict[str, Any]:
        """Return every choice that the answers depend on, for the manifest."""
        return {
            **asdict(self.decoding),
            "rule": "norm",
            "direction": self.direction.tensor,
            "vector_sha256": hashlib.sha256(self.direction.vector.tobytes()).hexdigest(),
            "coefficients": list(self.coefficients),
            "format": asdict(self.form),
            "criterion": self.criterion,
            "controls": self.controls,
            "prompts": self.texts,
        }


def steer(
    model: Any,
    job: Job,
    *,
    out: Path | None = None,
    inputs: Sequence[Path] = (),
    force: bool = False,
    track: Track = untracked,
) -> tuple[dict[str, Any], bool]:
    """Return the results of a job, and whether they were in ``out`` already.

    With ``out`` they are written there as a manifest (``circuit.steering/1``).
    """
    started = time.perf_counter()
    # The same weights under another chat template are another run.
    tokenizer = {"tokenizer_sha256": model.tokenizer_identity.files_sha256}
    described = {
        "parameters": {**job.parameters(), **tokenizer},
        # A direction may be named by its stem.
        "inputs": [path if path.is_file() else manifest_path(path) for path in inputs],
        "model": model.identity,
    }
    if out is not None:
        found = reusable(out, schema=SCHEMA, **described, force=force)
        if found is not None:
            return found.results, True
    _check_before_the_work(job, out)
    results = plain(_results(job, _answers(model, job, track)))
    if out is not None:
        write_manifest(
            out,
            schema=SCHEMA,
            **described,
            results=results,
            tokenizer=model.tokenizer_identity,
            run=Run.since(started),
            force=force,
        )
    return results, False


def check_choices(
    prompts: PromptSet | Sequence[str],
    coefficients: Sequence[float],
    decoding: Decoding,
    criterion: str | None = None,
    file: Path | None = None,
) -> None:
    """Raise what can be known without a model, which may take minutes to load."""
    if not all(math.isfinite(number) for number in (*coefficients, decoding.temperature)):
        message = "a coefficient or the temperature is not a finite number"
        raise UsageError(message, hint='write for example --compare "-2,-1,0,1,2"')
    if criterion is not None:
        check_criterion(prompts, criterion)
    if file is not None:
        read_steering_file(file)


def _check_before_the_work(job: Job, out: Path | None) -> None:
    """Raise now what would otherwise be found out after every answer has been generated."""
    check_choices(job.prompts, job.coefficients, job.decoding, job.criterion)
    if out is not None:
        folder = next(folder for folder in out.parents if folder.exists())
        with explained(out), tempfile.TemporaryFile(dir=folder):
            pass


def _answers(model: Any, job: Job, track: Track) -> list[Answers]:
    from circuit.model.generate import may_be_ragged

    encoded = encode(model, job.texts, job.form)
    random = _random_directions(job.controls, model.d_model, job.decoding.seed)
    vectors = [job.direction.vector, *random]
    ragged = may_be_ragged(model)  # measured before anything is steered
    runs = [(i, c) for i in range(len(vectors)) for c in job.coefficients if i == 0 or c != 0]
    return [
        Answers(i, c, _generate(model, job, vectors[i], c, encoded, ragged=ragged))
        for i, c in track(runs, "Steering", len(runs))
    ]


def _results(job: Job, answers: list[Answers]) -> dict[str, Any]:
    direction = job.direction
    named = ("name", "site", "layer", "method", "norm")
    trial = judge(job.prompts, answers, job.criterion, job.controls) if job.criterion else None
    return {
        "direction": {name: getattr(direction, name) for name in named},
        "generations": [
            {
                "prompt": prompt,
                "output": output,
                "layer": direction.layer,
                "coefficient": c.coefficient,
            }
            for c in answers
            if c.control == 0
            for prompt, output in zip(job.texts, c.outputs, strict=True)
        ],
        "trial": None if trial is None else asdict(trial),
    }


def _generate(
    model: Any, job: Job, vector: Any, coefficient: float, encoded: list[Any], *, ragged: bool
) -> list[str]:
    from circuit.model.generate import generate
    from circuit.model.intervene import Steering, steered

    steering = Steering(job.direction.layer, vector, coefficient, job.direction.site)
    with steered(model, [steering]):
        answers = generate(
            model,
            encoded,
            job.decoding.sampling(),
            max_tokens=job.decoding.max_tokens,
            ragged=ragged,
        )
    return [answer.text for answer in answers]


def _random_directions(n: int, d_model: int, seed: int) -> Any:
    """Return ``(n, d_model)`` unit vectors, uniform on the sphere."""
    vectors = np.random.default_rng(seed).standard_normal((n, d_model))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def choose_direction(
    path: Path, *, name: str | None, layer: str | None, n_layers: int
) -> Direction:
    """Read a steering file and pick the direction that ``name`` and ``layer`` say.

    Without a name, and without a layer, the direction that the file recommends is taken. A file with
    one direction may be used at another layer than its own.
    """
    held = read_steering_file(path)
    found = _named(held, name, path)
    if layer is None:
        return _recommended(found) or found[len(found) // 2]
    at = parse_layers(layer, range(n_layers), n_layers)
    if len(at) != 1:
        raise UsageError(f"`{layer}` names {len(at)} layers", hint="name one with --layer")
    return _at_layer(found, at[0], path)


def _named(held: list[Direction], name: str | None, path: Path) -> list[Direction]:
    """Return the directions of one name, at one or more layers."""
    names = list(dict.fromkeys(direction.name for direction in held))
    if name is None and len(names) > 1:
        recommended = _recommended(held)
        name = None if recommended is None else recommended.name
    wanted = names[0] if name is None and len(names) == 1 else name
    if wanted not in names:
        what = f"no direction `{name}`" if name else "more than one direction"
        raise UsageError(f"`{path}` holds {what}", hint=f"choose with --name: {', '.join(names)}")
    return [direction for direction in held if direction.name == wanted]


def _recommended(found: list[Direction]) -> Direction | None:
    return next((direction for direction in found if direction.extra.get("recommended")), None)


def _at_layer(found: list[Direction], layer: int, path: Path) -> Direction:
    if exact := [direction for direction in found if direction.layer == layer]:
        return exact[0]
    if len(found) == 1:
        only = found[0]
        fields = {name: getattr(only, name) for name in only.__dataclass_fields__}
        return Direction(**{**fields, "layer": layer})
    held = ", ".join(str(direction.layer) for direction in found)
    raise UsageError(f"`{path}` has no direction at layer {layer}", hint=f"it has layers {held}")


def check_model(direction: Direction, model: Any, *, allow_other: bool) -> None:
    """Refuse a direction of another model, as told by the weights' fingerprint or else the id."""
    theirs, ours = direction.model, model.identity
    if direction.site not in ("resid_post", "embed", "resid_pre"):
        message = f"direction `{direction.name}` was made at `{direction.site}`"
        raise UsageError(message, hint="steering adds to the residual stream: use resid_post")
    if allow_other or theirs is None:
        return
    same = (
        theirs.weights_sha256 == ours.weights_sha256
        if theirs.weights_sha256 is not None
        else theirs.id == ours.id
    )
    if not same:
        made = "other weights" if theirs.id == ours.id else f"model `{theirs.id}`"
        message = f"the direction was made with {made}, not with `{ours.id}`"
        raise ModelError(message, hint="extract it again, or pass --allow-other-model")


def format_for(
    prompts: PromptSet | list[str],
    direction: Direction | None,
    *,
    chat: bool | None,
    system: str | None,
    tools: Path | None,
) -> Format:
    """Choose the format: options first, then the prompt set's, the direction's own, or raw."""
    if isinstance(prompts, PromptSet):
        return choose_format(prompts, chat=chat, system=system, tools=tools)
    made_in = "raw" if direction is None or direction.format is None else direction.format
    plain = PromptSet.model_validate(
        {"name": "plain", "format": made_in, "prompts": [{"text": "x"}]}
    )
    return choose_format(plain, chat=chat, system=system, tools=tools)


def save_direction(path: Path, direction: Direction, *, force: bool) -> None:
    """Write one direction: an archive with its manifest for ``.safetensors``, else by suffix."""
    if path.suffix != ".safetensors":
        write_steering_file(path, direction, force=force)
        return
    write_directions(
        path,
        [direction],
        parameters={"method": direction.method, "layer": direction.layer, **direction.extra},
        inputs=[],
        run=Run.since(time.perf_counter()),
        model=direction.model,
        force=force,
    )
