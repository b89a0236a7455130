"""``directions.json`` as a document: how well one direction separates held-out prompts."""

from collections.abc import Sequence

from circuit.methods.uncertainty.splits import enough_groups
from circuit.present.document import (
    Cell,
    Control,
    Controls,
    Document,
    Estimate,
    Facts,
    Finding,
    Number,
    Part,
    Table,
)
from circuit.present.numbers import counted, interval, p_text
from circuit.stages.directions.cosines import cosine_table
from circuit.stages.directions.figures import direction_figures
from circuit.stages.directions.results import (
    DirectionEntry,
    DirectionQuality,
    DirectionsResult,
    FittedDirections,
    LayerQuality,
    StoredDirections,
)
from circuit.stages.rows.labels import present_agreement
from circuit.values.thresholds import LEVEL, MIN_CLASS_GROUPS, MIN_GROUPS

TITLE = "Directions"
PLURAL = {"category": "categories", "tool": "tools"}


def present_fitted(fitted: FittedDirections) -> Document:
    """Show fitted directions, or say that a file holds none with scores."""
    if isinstance(fitted.result, StoredDirections):
        return _stored(fitted.result)
    return present(fitted.result)


def present(result: DirectionsResult) -> Document:
    """Show the finding, the quality of every layer, other directions, and the cosines."""
    main = result.best_direction
    facts: list[tuple[str, Cell]] = [
        ("Direction", f"{main.name} ({main.negative_label} -> {main.positive_label})"),
        ("Method", f"{main.method} at {main.site}"),
        ("Directions", len(result.directions)),
    ]
    parts: list[Part] = [
        Facts(facts),
        *present_agreement(result.labels),
        _finding(result),
        *direction_figures(result),
        _layers(result),
    ]
    for kind in PLURAL:
        parts += _of_kind(result, kind)
    return Document(TITLE, [*parts, *_cosines(result), _controls(result)])


def _stored(result: StoredDirections) -> Document:
    names = list(dict.fromkeys(result.names))
    shown = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
    finding = Finding(
        subject=shown,
        verdict="not measured",
        strength=0,
        sentence=f"{counted(len(result.names), 'vector')}, stored for use without a held-out score "
        "in this file, so nothing is known of their quality here.",
    )
    return Document(TITLE, [finding])


def _finding(result: DirectionsResult) -> Finding:
    best, entry = result.best, result.best_quality
    score = best.auroc or entry.auroc
    if best.auroc is not None:
        folds = ", ".join(map(str, best.chosen_by_fold or []))
        chosen = f", the layer chosen on the training prompts of each fold: {folds}"
    else:
        chosen = ", the best of those measured, so optimistic" if len(result.layers) > 1 else ""
    verdict, meaning = _verdict(entry, score)
    text = (
        f"Separates held-out prompts with AUROC {interval(score)} (L{best.layer}{chosen}; "
        f"{entry.size}), shuffled labels {interval(entry.shuffled)}, p over the layers "
        f"{p_text(entry.p_any)}. {meaning}"
    )
    if entry.split_half_cosine is not None:
        halves = interval(entry.split_half_cosine)
        text += f" Fitted to halves of the groups, it has cosine {halves} with itself."
    return Finding(
        subject=result.label_direction,
        verdict=verdict,
        strength=int(verdict == "readable"),
        sentence=text,
        score=Estimate.of(score),
        baselines={"shuffled labels": entry.shuffled[0]},
        n=entry.n,
        n_groups=entry.n_groups,
        layer=best.layer,
        chance=0.5,
    )


def _verdict(entry: LayerQuality, score: Sequence[float]) -> tuple[str, str]:
    if not _enough(entry):
        few = f"Under {MIN_GROUPS} groups, or {MIN_CLASS_GROUPS} of a class, nothing is claimed."
        return "few groups", few
    if score[1] > 0.5 and entry.p_any is not None and entry.p_any <= LEVEL:
        return (
            "readable",
            "One direction separates them; the words and the surface of the text may do so as well "
            "(not compared here), and use is not shown.",
        )
    return "not readable", "Not shown to separate them. That is not evidence of absence."


def _layers(result: DirectionsResult) -> Table:
    first = result.layers[0]
    paired = first.pair_cosine is not None
    header = ["layer", "AUROC", "shuffled", "p", "d′", "split-half cos"]
    header += ["pair cos", "norm"] if paired else ["norm"]
    rows = []
    for each in result.layers:
        mark = "*" if each.layer == result.best.layer else ""
        pair = [_value(each.pair_cosine)] if paired else []
        cells = [*_quality(each, each.p_any), *pair, Number(each.norm, ".3g")]
        rows.append([f"L{each.layer}{mark}", *cells])
    sides = ", paired" if first.paired else ""
    note = (
        f"{first.size}, {first.n_folds} folds{sides}. * the layer that was chosen; p: permuted "
        "labels, over all layers; norm: distance of the class means"
    )
    return Table(title=f"{result.label_direction} by layer", header=header, rows=rows, note=note)


def _quality(found: DirectionQuality, p: float | None) -> list[Cell]:
    return [
        Estimate.of(found.auroc, ".3f"),
        Estimate.of(found.shuffled),
        Number(p),
        Number(found.d_prime, ".2f"),
        _value(found.split_half_cosine),
    ]


def _value(estimate: Sequence[float] | None) -> Number:
    """Show an estimate without its interval."""
    return Number(None if estimate is None else estimate[0], ".2f")


def _of_kind(result: DirectionsResult, kind: str) -> list[Table]:
    """List the directions of categories or of tools at the best layer."""
    best = result.best.layer
    found = [
        each
        for each in result.directions
        if each.layer == best and each.name.startswith(f"{kind}:")
    ]
    if not found:
        return []
    others = " The other layers: with --json." if len(result.layers) > 1 else ""
    table = Table(
        title=f"{len(found)} {PLURAL[kind]}, each against the others, at L{best}",
        header=[kind, "AUROC", "shuffled", "p", "d′", "split-half cos"],
        rows=[_direction_row(each) for each in found],
        note=f"p of each by itself, not corrected for their number.{others}",
    )
    return [table]


def _direction_row(each: DirectionEntry) -> list[Cell]:
    return [each.positive_label, *_quality(each.quality, each.quality.p)]


def _cosines(result: DirectionsResult) -> list[Table]:
    here, across = result.best_cosines, result.across_layers
    chance = f"random directions: |cos| {result.random_cosine:.2f}"
    if len(here.names) > 1:
        return [cosine_table(f"Cosines at L{here.layer} ({chance})", here.names, here.matrix)]
    if len(result.layers) > 1:
        names = [f"L{layer}" for layer in across.layers]
        return [cosine_table(f"Cosines between layers ({chance})", names, across.matrix)]
    return []


def _enough(entry: LayerQuality) -> bool:
    return enough_groups(entry.n_groups, entry.least_groups)


def _controls(result: DirectionsResult) -> Controls:
    entry, nested = result.layers[0], result.best.auroc is not None
    choice = "inside the folds" if nested else "none, or on the scored rows"
    shuffled = f"{entry.n_shuffles} permutations, the largest of all layers"
    folds = f"cross-fitted in {entry.n_folds} folds"
    text, use = "words and surface of the text", "use by the model"
    return Controls(
        [
            Control("rows and groups", _enough(entry), entry.size),
            Control("no group on both sides of a split", True, folds),
            Control("choice of the layer", nested or len(result.layers) < 2, choice),
            Control("shuffled labels", True, shuffled),
            Control(text, False, "`analyze` and `probes run` compare with them"),
            Control(use, False, "`steer` with random directions of the same norm tests it"),
        ]
    )
