"""What ``circuit introspect probe`` keeps: a direction that steers, and a probe that ``circuit probes apply`` reads."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from circuit.artifacts.files.paths import archive_path, manifest_path
from circuit.artifacts.manifest.manifest import Run
from circuit.artifacts.steering_files.files import (
    Direction,
    write_directions,
    write_steering_file,
)
from circuit.artifacts.steering_files.formats import formats
from circuit.errors import UsageError
from circuit.introspect.questions.probe import Fitted, Probed

ARCHIVE = ".safetensors"


def check_names(direction: Path | None, probe: Path | None) -> None:
    """Raise ``UsageError`` for names whose suffix is of no format, before anything is computed."""
    known = list(dict.fromkeys([ARCHIVE, *(each.SUFFIX for each in formats().values())]))
    if direction is not None and direction.suffix not in known:
        message = f"a direction cannot be saved as `{direction}`"
        raise UsageError(message, hint=f"use a name that ends in {', '.join(known)}")
    if probe is not None and probe.suffix not in ("", ARCHIVE):
        message = f"a probe cannot be saved as `{probe}`"
        raise UsageError(message, hint=f"use a name that ends in {ARCHIVE}")


def outputs_of(paths: Sequence[Path]) -> tuple[list[tuple[Path, str]], list[Path]]:
    """Return the manifests that ``save_direction`` writes for these names, each with what it holds, and its other files."""
    archives = [each for each in paths if each.suffix in ("", ARCHIVE)]
    others = [archive_path(each) if each in archives else each for each in paths]
    named = dict.fromkeys(manifest_path(each) for each in archives)
    return [(each, "directions") for each in named], list(dict.fromkeys(others))


def saved_direction(model: Any, found: Probed, fitted: Fitted, form: str, name: str) -> Direction:
    """Return the direction with everything that makes it a probe."""
    best = next((each for each in found.scores if each.layer == fitted.layer), None)
    quality = {}
    if best is not None:
        quality = {
            "auroc": best.auroc,
            "p_any": best.p_any,
            "significant": bool(found.claimed),
            "n": sum(found.n),
            "n_groups": found.n_groups,
        }
    positive, negative = found.labels
    return Direction(
        name=name,
        site="resid_post",
        layer=fitted.layer,
        vector=fitted.vector,
        norm=fitted.norm,
        method="probe",
        positive_label=positive,
        negative_label=negative,
        quality=quality,
        model=model.identity,
        format=form,
        extra={
            "probe": name,
            "classes": [negative, positive],
            "slope": fitted.slope,
            "bias": fitted.bias,
            "best": True,
            "chosen_among": len(found.scores) or 1,
        },
    )


def save_direction(
    path: Path,
    direction: Direction,
    model: Any,
    parameters: dict[str, Any],
    *,
    inputs: Sequence[Path] = (),
    started: float,
    force: bool,
) -> None:
    """Write it as an archive, which ``circuit probes apply`` reads, or as one of the formats of a single direction."""
    if path.suffix not in ("", ARCHIVE):
        write_steering_file(path, direction, force=force)
        return
    write_directions(
        path.with_suffix(""),
        [direction],
        parameters=parameters,
        inputs=list(inputs),
        model=model.identity,
        tokenizer=model.tokenizer_identity,
        run=Run.since(started),
        force=force,
    )
