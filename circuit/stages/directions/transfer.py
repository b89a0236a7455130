"""``directions transfer``: directions that were fitted on one archive, scored on another's labels.

Each direction v is fixed, so the score of a prompt is v · h at v's site and layer and at the
position it was fitted at, and nothing is fitted here: no folds, and an interval that is not widened
for cross-fitting. AUROC with its cluster-bootstrap interval, d′, the same on permuted labels (1,000
permutations, within pairs or between groups: ``methods.uncertainty.splits``) and p_any, which
accounts for all directions of the file.

The score is held out only if no scored prompt was used for fitting. The archive that the directions
were made from is named in their manifest: prompts of the other archive that share a text or a group
(template) with it are left out and counted; where it cannot be found that is noted, and where it
*is* the other archive the command refuses. The labels must mean the same: the direction's own names
are looked for, and others have to be named by the user. The transfer between the categories of one
archive is in ``directions.json``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from circuit.artifacts.activations.activations import Activations
from circuit.artifacts.directions.direction import Direction
from circuit.artifacts.manifest.manifest import Manifest, digest
from circuit.artifacts.steering_files.files import read_steering_file
from circuit.errors import DataError, UsageError
from circuit.methods.arrays import Array
from circuit.methods.probes.permutation import Null, family_wise
from circuit.methods.quality.crossfit import aurocs_within
from circuit.methods.quality.design import Design, design
from circuit.methods.uncertainty.bootstrap import Estimate as Interval95
from circuit.methods.uncertainty.bootstrap import auroc_statistic, resample
from circuit.methods.uncertainty.perfect_scores import perfect_auroc
from circuit.methods.uncertainty.scores import d_prime
from circuit.methods.uncertainty.splits import permuted_labels
from circuit.stages.directions.present_transfer import (
    TransferredDirection,
    TransferResult,
    present,
)
from circuit.stages.directions.request import TransferRequest
from circuit.stages.directions.show import chosen_directions, manifest_of
from circuit.stages.rows.contrasts import Contrast, Place, chosen_place, label_contrast
from circuit.stages.rows.labelled_rows import joined_groups
from circuit.stages.rows.same_weights import other_weights
from circuit.stages.rows.warnings import class_imbalance, note_each, too_few_groups
from circuit.stages.run import Command, Job, Note, Plan, Session, without_model

N_SHUFFLES = 1000


@dataclass(frozen=True)
class Score:
    """A direction's scores on the rows of the other archive."""

    direction: Direction
    auroc: Interval95
    d_prime: float
    null: Null


@dataclass(frozen=True)
class TransferInputs:
    """The directions, the archive that they are scored on, and where."""

    request: TransferRequest
    directions: list[Direction]
    manifest: Manifest | None
    activations: Activations
    place: Place


def plan(request: TransferRequest) -> Plan[TransferResult]:
    """Read the directions and open the other archive."""
    path = request.direction
    directions = chosen_directions(path, read_steering_file(path), request.name, request.layers)
    manifest, activations = manifest_of(path), Activations.open(request.activations)
    _refuse_own_archive(path, manifest, activations)
    fitted_at = None if manifest is None else manifest.parameters.get("position")
    site = _site(path, directions)
    place = chosen_place(activations, site, request.position or fitted_at)
    _check_fits(directions, activations)
    inputs = TransferInputs(request, directions, manifest, activations, place)
    job = Job(compute=lambda session: transferred(inputs, session))
    return Plan(result=TransferResult, begin=without_model(job))


def transferred(inputs: TransferInputs, session: Session) -> TransferResult:
    """Score the directions on the labelled prompts of the other archive."""
    request, activations, note = inputs.request, inputs.activations, session.note
    _note_differences(inputs.directions[0], activations, note)
    contrast = _contrast(inputs, note)
    used, known = _used_for_fitting(inputs, note)
    rows = _unused(contrast, used, activations)
    found = _scored(inputs, contrast, rows)
    n_groups = len(np.unique(contrast.groups[rows]))
    for text in too_few_groups(n_groups):
        note(text)
    note_each("transfer", class_imbalance(contrast.names, contrast.y[rows]), note)
    p_any = family_wise({each.direction.tensor: each.null for each in found})
    return TransferResult(
        file=str(request.direction),
        archive=str(request.activations),
        site=inputs.place.site,
        position=inputs.place.position,
        positive_label=contrast.positive_label,
        negative_label=contrast.negative_label,
        n=len(rows),
        n_groups=n_groups,
        n_left_out=len(contrast.rows) - len(rows),
        overlap_known=known,
        n_shuffles=N_SHUFFLES,
        seed=request.seed.seed,
        directions=[_entry(each, p_any[each.direction.tensor]) for each in found],
    )


def _entry(found: Score, p_any: float | None) -> TransferredDirection:
    direction = found.direction
    return TransferredDirection(
        name=direction.name,
        layer=direction.layer,
        method=direction.method,
        auroc=found.auroc.as_list(),
        d_prime=round(found.d_prime, 6) if np.isfinite(found.d_prime) else None,
        shuffled=found.null.spread().as_list(),
        p=found.null.p,
        p_any=p_any,
        at_home=direction.quality.get("auroc"),
    )


def _refuse_own_archive(path: Path, manifest: Manifest | None, other: Activations) -> None:
    if manifest is not None and digest(other.path) in {each.sha256 for each in manifest.inputs}:
        message = f"the directions of `{path}` were fitted on `{other.path}`"
        hint = "their held-out scores there are in the file: circuit directions show"
        raise DataError("fitted-on-this-archive", message, hint=hint, path=str(other.path))


def _site(path: Path, held: Sequence[Direction]) -> str:
    sites = list(dict.fromkeys(each.site for each in held))
    if len(sites) > 1:
        message = f"`{path}` holds directions of the sites {', '.join(sites)}"
        raise UsageError("ambiguous-site", message, hint="choose one with --name", sites=sites)
    return sites[0]


def _check_fits(held: Sequence[Direction], other: Activations) -> None:
    """Refuse directions of another width, or of a layer that was not collected."""
    for each in held:
        width, layers = other.width(each.site), other.layers(each.site)
        if each.vector.size != width:
            message = (
                f"`{each.name}` has {each.vector.size} entries, `{other.path}` has width {width}"
            )
            hint = "collect the other archive with the same model"
            raise DataError("widths-differ", message, hint=hint, site=each.site)
        if each.layer not in layers:
            message = f"`{other.path}` holds no layer {each.layer} of `{each.site}`"
            hint = f"choose with --layer from {', '.join(map(str, layers))}"
            raise UsageError("layer-not-in-archive", message, hint=hint, layer=each.layer)


def _note_differences(first: Direction, other: Activations, note: Note) -> None:
    """Note that the directions come from other weights, or from prompts in another format."""
    ours, theirs = first.model, other.manifest.model
    if ours and theirs and other_weights(ours, theirs):
        note(
            f"the directions were made with `{ours.id}`, the archive with other weights "
            f"(`{theirs.id}`)"
        )
    form = other.manifest.parameters.get("format")
    if first.format is not None and form != first.format:
        note(
            f"the directions were made from prompts given as {first.format}, the archive from "
            f"{form}"
        )


def _contrast(inputs: TransferInputs, note: Note) -> Contrast:
    """Take the direction's own labels, unless others were named."""
    request, activations, held = inputs.request, inputs.activations, inputs.directions
    groups = joined_groups(activations, *inputs.place, note)
    if request.positive is not None or request.negative is not None:
        return label_contrast(activations, groups, request.positive, request.negative)
    pairs = {(each.positive_label, each.negative_label) for each in held}
    if len(pairs) > 1:
        message = "the directions lead between different labels"
        names = ", ".join(dict.fromkeys(each.name for each in held))
        hint = f"choose one with --name: {names}"
        raise UsageError("ambiguous-labels", message, hint=hint, n=len(pairs))
    positive, negative = next(iter(pairs))
    labels = activations.labels
    if positive not in labels or (negative not in labels and negative != "rest"):
        message = (
            f"the direction leads from `{negative}` to `{positive}`, and `{activations.path}` "
            f"has the labels {', '.join(labels) or 'of nothing'}"
        )
        hint = "name those that mean the same with --positive, --negative"
        raise DataError("unknown-label", message, hint=hint, labels=labels)
    return label_contrast(activations, groups, positive, None if negative == "rest" else negative)


def _used_for_fitting(inputs: TransferInputs, note: Note) -> tuple[set[str], bool]:
    """Return the texts and groups that the directions were fitted to, and if they are known."""
    path, other = inputs.request.direction, inputs.activations
    if inputs.manifest is None:
        keys = ("positive_prompt", "negative_prompt")
        held = inputs.directions
        texts = {str(each.extra[key]) for each in held for key in keys if key in each.extra}
        return texts, bool(texts)
    sources = [path.parent / each.path for each in inputs.manifest.inputs]
    if not sources or any(not source.is_file() for source in sources):
        gone = ", ".join(f"`{source}`" for source in sources if not source.is_file())
        note(
            f"cannot find {gone or 'the training activations of the directions'}: whether prompts "
            f"of `{other.path}` were used for fitting is unknown"
        )
        return set(), False
    sets = [Activations.open(source).prompt_set for source in sources]
    return {key for each in sets for key in (*each.texts, *each.groups().tolist())}, True


def _unused(contrast: Contrast, used: set[str], activations: Activations) -> Array:
    """Return the places in the contrast of prompts whose group has none that was used."""
    texts, names = activations.prompt_set.texts, activations.groups().tolist()
    met = np.array([texts[row] in used or names[row] in used for row in contrast.rows])
    rows = np.flatnonzero(~np.isin(contrast.groups, contrast.groups[met]))
    for which, name in enumerate(contrast.names):
        left = len(np.unique(contrast.groups[rows][contrast.y[rows] == which]))
        if left < 2:
            message = (
                f"{left} groups of label `{name}` in `{activations.path}` were not used for fitting"
            )
            hint = "score on prompts from other templates"
            raise DataError("no-unused-groups", message, hint=hint, label=name, n_groups=left)
    return rows


def _scored(inputs: TransferInputs, contrast: Contrast, rows: Array) -> list[Score]:
    pairs = None if contrast.pairs is None else [contrast.pairs[i] for i in rows]
    given = design(contrast.y[rows], contrast.groups[rows], pairs)
    rng = np.random.default_rng([inputs.request.seed.seed, 12])
    labellings = permuted_labels(given.y, given.units, rng, size=N_SHUFFLES)
    labellings = np.concatenate([given.y[None], labellings])
    found = []
    for each in inputs.directions:
        read = inputs.activations.read(each.site, each.layer, inputs.place.position)
        scores = read[contrast.rows[rows]].astype(np.float64) @ each.vector
        found.append(_judged(each, scores, given, labellings, inputs.request))
    return found


def _judged(
    direction: Direction,
    scores: Array,
    given: Design,
    labellings: Array,
    request: TransferRequest,
) -> Score:
    """Score one direction; equal seeds give equal resamples for all of them."""
    one_fold, positive = np.zeros(len(scores), dtype=np.intp), given.y == 1
    rng = np.random.default_rng([request.seed.seed, 13])
    drawn = resample(given.y, given.groups, n_boot=request.n_boot, rng=rng, cross_fitted=False)
    draws = drawn.draws(auroc_statistic(scores, positive, one_fold, given.groups))
    found = aurocs_within(np.tile(scores, (len(labellings), 1)), labellings, one_fold)
    return Score(
        direction,
        draws.estimate().widen_to(perfect_auroc(given.y, given.groups)),
        d_prime(scores[positive], scores[~positive]),
        Null(float(found[0]), found[1:]),
    )


COMMAND = Command(request=TransferRequest, plan=plan, present=present)
