"""``directions transfer``: directions that were fitted on one archive, scored on the labels of another.

Each direction v is fixed, so the score of a prompt is v · h at v's site and layer and at the position it was fitted at, and
nothing is fitted here: no folds, and an interval that is not widened for cross-fitting. AUROC with its cluster-bootstrap
interval, d′, the same on permuted labels (1,000 permutations, within pairs or between groups: ``methods.splits``) and
p_any, which accounts for all directions of the file.

The score is held out only if no scored prompt had part in the fit. The archive that the directions were made from is named in their manifest:
prompts of the other archive that share a text or a group (template) with it are left out and counted; where it is no longer to be found that is
said in words, and where it *is* the other archive the command refuses. The labels must mean the same: the direction's own names are
looked for, and others have to be named by the user. The transfer between the categories of one archive is in ``directions.json``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from circuit.artifacts.activations.activations import Activations
from circuit.artifacts.manifest.manifest import Manifest, digest
from circuit.artifacts.steering_files.files import Direction, read_steering_file
from circuit.errors import DataError, UsageError
from circuit.methods.probes.permutation import Null, family_wise
from circuit.methods.quality.crossfit import aurocs_within
from circuit.methods.quality.design import Design, design
from circuit.methods.uncertainty.bootstrap import Estimate, auroc_statistic, resample
from circuit.methods.uncertainty.perfect_scores import perfect_auroc
from circuit.methods.uncertainty.scores import d_prime
from circuit.methods.uncertainty.splits import permuted_labels
from circuit.stages.directions.show import chosen_directions, manifest_of
from circuit.stages.rows.contrasts import Contrast, chosen_place, label_contrast
from circuit.stages.rows.questions import Array, Note, joined_groups, silent
from circuit.stages.rows.same_weights import other_weights
from circuit.stages.rows.warnings import lopsided, tell
from circuit.values.thresholds import MIN_GROUPS

N_SHUFFLES = 1000


@dataclass(frozen=True)
class Request:
    """Which directions, and what they are scored on."""

    name: str | None = None
    layers: str = "all"
    positive: str | None = None
    negative: str | None = None
    position: str | None = None
    seed: int = 0
    n_boot: int = 1000


@dataclass(frozen=True)
class Scored:
    """A direction on the rows of the other archive."""

    direction: Direction
    auroc: Estimate
    d_prime: float
    null: Null

    def as_dict(self, p_any: float | None) -> dict[str, Any]:
        """Return what goes into a file."""
        home = self.direction.quality.get("auroc")
        return {
            "name": self.direction.name,
            "layer": self.direction.layer,
            "method": self.direction.method,
            "auroc": self.auroc.as_list(),
            "d_prime": round(self.d_prime, 6) if np.isfinite(self.d_prime) else None,
            "shuffled": self.null.spread().as_list(),
            "p": self.null.p,
            "p_any": p_any,
            "at_home": home,
        }


def transfer_directions(
    path: Path, archive: Path, request: Request = Request(), *, note: Note = silent
) -> dict[str, Any]:
    """Score the directions of ``path`` on the labelled prompts of ``archive``."""
    held = chosen_directions(path, read_steering_file(path), request.name, request.layers)
    manifest, activations = manifest_of(path), Activations.open(archive)
    _refuse_own_archive(path, manifest, activations)
    site = _site(path, held)
    fitted_at = None if manifest is None else manifest.parameters.get("position")
    site, position = chosen_place(activations, site, request.position or fitted_at)
    _check_fits(held, activations, note)
    contrast = _contrast(activations, held, site, position, request, note)
    seen, known = _seen(path, manifest, held, activations, note)
    rows = _unseen(contrast, seen, activations)
    found = _scored(activations, held, contrast, rows, position, request)
    n_groups = len(np.unique(contrast.groups[rows]))
    _warn(contrast, rows, n_groups, note)
    p_any = family_wise({each.direction.tensor: each.null for each in found})
    return {
        "file": str(path),
        "archive": str(archive),
        "site": site,
        "position": position,
        "positive_label": contrast.positive_label,
        "negative_label": contrast.negative_label,
        "n": len(rows),
        "n_groups": n_groups,
        "n_left_out": len(contrast.rows) - len(rows),
        "overlap_known": known,
        "n_shuffles": N_SHUFFLES,
        "seed": request.seed,
        "directions": [each.as_dict(p_any[each.direction.tensor]) for each in found],
    }


def _refuse_own_archive(path: Path, manifest: Manifest | None, other: Activations) -> None:
    if manifest is not None and digest(other.path) in {each.sha256 for each in manifest.inputs}:
        message = f"the directions of `{path}` were fitted on `{other.path}`"
        hint = "their held-out scores there are in the file: circuit directions show"
        raise DataError(message, hint=hint)


def _site(path: Path, held: Sequence[Direction]) -> str:
    sites = list(dict.fromkeys(each.site for each in held))
    if len(sites) > 1:
        message = f"`{path}` holds directions of the sites {', '.join(sites)}"
        raise UsageError(message, hint="choose one with --name")
    return sites[0]


def _check_fits(held: Sequence[Direction], other: Activations, note: Note) -> None:
    """Refuse another width or a layer that was not collected; say it when the weights are others."""
    for each in held:
        width = other.width(each.site)
        if each.vector.size != width:
            message = (
                f"`{each.name}` has {each.vector.size} entries, `{other.path}` has width {width}"
            )
            raise DataError(message, hint="collect the other archive with the same model")
        if each.layer not in other.layers(each.site):
            message = f"`{other.path}` holds no layer {each.layer} of `{each.site}`"
            hint = f"choose with --layer from {', '.join(map(str, other.layers(each.site)))}"
            raise UsageError(message, hint=hint)
    ours, theirs = held[0].model, other.manifest.model
    if ours and theirs and other_weights(ours, theirs):
        note(
            f"the directions were made with `{ours.id}`, the archive with other weights (`{theirs.id}`)"
        )
    form = other.manifest.parameters.get("format")
    if held[0].format is not None and form != held[0].format:
        note(
            f"the directions were made from prompts given as {held[0].format}, the archive from {form}"
        )


def _contrast(
    activations: Activations,
    held: Sequence[Direction],
    site: str,
    position: str,
    request: Request,
    note: Note,
) -> Contrast:
    """Take the direction's own labels, unless others were named."""
    groups = joined_groups(activations, site, position, note)
    if request.positive is not None or request.negative is not None:
        return label_contrast(activations, groups, request.positive, request.negative)
    pairs = {(each.positive_label, each.negative_label) for each in held}
    if len(pairs) > 1:
        message = "the directions lead between different labels"
        names = ", ".join(dict.fromkeys(each.name for each in held))
        raise UsageError(message, hint=f"choose one with --name: {names}")
    positive, negative = next(iter(pairs))
    labels = activations.labels
    if positive not in labels or (negative not in labels and negative != "rest"):
        message = (
            f"the direction leads from `{negative}` to `{positive}`, and `{activations.path}` "
            f"has the labels {', '.join(labels) or 'of nothing'}"
        )
        raise DataError(message, hint="name those that mean the same with --positive, --negative")
    return label_contrast(activations, groups, positive, None if negative == "rest" else negative)


def _seen(
    path: Path,
    manifest: Manifest | None,
    held: Sequence[Direction],
    other: Activations,
    note: Note,
) -> tuple[set[str], bool]:
    """Return the texts and groups that the directions were fitted to, and whether they are known."""
    if manifest is None:
        keys = ("positive_prompt", "negative_prompt")
        texts = {str(each.extra[key]) for each in held for key in keys if key in each.extra}
        return texts, bool(texts)
    sources = [path.parent / each.path for each in manifest.inputs]
    if not sources or any(not source.is_file() for source in sources):
        gone = ", ".join(f"`{source}`" for source in sources if not source.is_file())
        note(
            f"{gone or 'what the directions were fitted to'} is not there: whether prompts of "
            f"`{other.path}` had part in the fit cannot be told"
        )
        return set(), False
    sets = [Activations.open(source).prompt_set for source in sources]
    return {key for each in sets for key in (*each.texts, *each.groups().tolist())}, True


def _unseen(contrast: Contrast, seen: set[str], activations: Activations) -> Array:
    """Return the places in the contrast of prompts whose group has none that was seen."""
    texts, names = activations.prompt_set.texts, activations.groups().tolist()
    met = np.array([texts[row] in seen or names[row] in seen for row in contrast.rows])
    rows = np.flatnonzero(~np.isin(contrast.groups, contrast.groups[met]))
    for name, which in ((contrast.negative_label, 0), (contrast.positive_label, 1)):
        left = len(np.unique(contrast.groups[rows][contrast.y[rows] == which]))
        if left < 2:
            message = (
                f"of label `{name}` in `{activations.path}` {left} groups had no part in the fit"
            )
            raise DataError(message, hint="score on prompts from other templates")
    return rows


def _scored(
    activations: Activations,
    held: Sequence[Direction],
    contrast: Contrast,
    rows: Array,
    position: str,
    request: Request,
) -> list[Scored]:
    pairs = None if contrast.pairs is None else [contrast.pairs[i] for i in rows]
    given = design(contrast.y[rows], contrast.groups[rows], pairs)
    rng = np.random.default_rng([request.seed, 12])
    labellings = permuted_labels(given.y, given.units, rng, size=N_SHUFFLES)
    labellings = np.concatenate([given.y[None], labellings])
    found = []
    for each in held:
        inside = activations.read(each.site, each.layer, position)[contrast.rows[rows]]
        scores = inside.astype(np.float64) @ each.vector
        found.append(_judged(each, scores, given, labellings, request))
    return found


def _judged(
    direction: Direction, scores: Array, given: Design, labellings: Array, request: Request
) -> Scored:
    """Score one direction; equal seeds give equal resamples for all of them."""
    one_fold, positive = np.zeros(len(scores), dtype=np.intp), given.y == 1
    rng = np.random.default_rng([request.seed, 13])
    drawn = resample(given.y, given.groups, n_boot=request.n_boot, rng=rng, cross_fitted=False)
    draws = drawn.draws(auroc_statistic(scores, positive, one_fold, given.groups))
    found = aurocs_within(np.tile(scores, (len(labellings), 1)), labellings, one_fold)
    return Scored(
        direction,
        draws.estimate().widen_to(perfect_auroc(given.y, given.groups)),
        d_prime(scores[positive], scores[~positive]),
        Null(float(found[0]), found[1:]),
    )


def _warn(contrast: Contrast, rows: Array, n_groups: int, note: Note) -> None:
    if n_groups < MIN_GROUPS:
        note(
            f"only {n_groups} groups of prompts; under {MIN_GROUPS} groups nothing here supports a claim, "
            "whatever the intervals say"
        )
    names = [contrast.negative_label, contrast.positive_label]
    tell("transfer", lopsided(names, contrast.y[rows]), note)
