"""``analysis.json`` as a document: where labels can be read, layer shapes, what moved."""

from collections.abc import Sequence

from circuit.methods.probes.verdict import NOT_DECODABLE
from circuit.present.document import (
    Cell,
    Control,
    Controls,
    Document,
    Facts,
    Finding,
    Notice,
    Number,
    Part,
    Table,
)
from circuit.present.numbers import (
    STRENGTH,
    counted,
    emergence_sentence,
    formatted,
    interval,
    layer_text,
    listed,
    p_text,
    power_sentences,
)
from circuit.stages.analyze.figures import analysis_figures
from circuit.stages.analyze.present_comparison import present_comparison
from circuit.stages.analyze.results import (
    AnalysisResult,
    ClassSeparation,
    LayerCurve,
    LayerEntry,
    LayerScore,
    SiteSimilarity,
)
from circuit.stages.rows.labels import present_agreement

MEANING = {
    "decodable": "Readable from the layers and above the baselines that were measured; selectivity "
    "was not tested here (`probes run` does).",
    "tokens": "Readable, but not shown to be above the token's own embedding.",
    "surface": "Readable, but no layer is shown to be above the words, their neighbours or the "
    "surface of the text itself.",
    "unresolved": "Readable, but not shown to be above a baseline that is not above chance itself: "
    "it explains nothing, and more groups would tell.",
    "not decodable": "Not shown to be readable. That is not evidence of absence.",
    "few groups": "Too few groups: nothing is claimed.",
}
STAR = (
    "A star: interval above 0.5, p at most 0.05, 10 groups or more, 5 of each class. p: "
    "permutation test of a ridge probe on the same folds, with the largest score of all layers, "
    "not of the AUROC beside it."
)


def present(result: AnalysisResult) -> Document:
    """Show findings first, then figures and tables, the comparison before the layers."""
    comparison = present_comparison(result)
    parts: list[Part] = [_facts(result), *present_agreement(result.labels)]
    if result.blind:
        where = f"All prompts have the same activations at {listed(result.blind)}"
        parts.append(Notice(f"{where}: AUROC 0.5 there is no finding."))
    parts += [part for part in comparison if isinstance(part, Finding)]
    parts += [_finding(result, curve) for curve in result.curves]
    parts += [part for part in comparison if not isinstance(part, Finding)]
    parts += analysis_figures(result)
    for place in result.sites_and_positions():
        parts += _tables(result, place, folded=len(result.sites_and_positions()) > 2)
    parts += [_sites(found) for found in result.places]
    return Document("Analysis of the layers", [*parts, _controls(result)])


def _facts(result: AnalysisResult) -> Facts:
    items: list[tuple[str, Cell]] = [
        ("Model", f"{result.model} ({result.n_layers} layers, d_model={result.d_model})"),
        ("Prompts", f"{result.n_prompts}, {counted(len(result.layers), 'place')} measured"),
    ]
    for name, labelling in result.questions.items():
        classes = ", ".join(f"{each.name} {each.n}" for each in labelling.classes)
        items.append((f"  {name}", f"{classes} ({labelling.size})"))
    return Facts(items)


def _finding(result: AnalysisResult, curve: LayerCurve) -> Finding:
    name, labelling = curve.question, result.questions[curve.question]
    entries, at = result.entries_at(*curve.place), curve.emergence_layer
    entry = _best(entries, name) if at is None else next(e for e in entries if e.layer == at)
    probe = entry.probes[name]
    chosen = "where it emerges" if at is not None else "the best layer, so optimistic"
    many = f" ({chosen})" if len(entries) > 1 else ""
    baselines = {key.replace("_", " "): each.auroc[0] for key, each in labelling.baselines.items()}
    beside = [f"{key} {value:.2f}" for key, value in baselines.items()]
    sentences = [
        f"{listed(labelling.classes_order)}: held-out AUROC {interval(probe.auroc)} at "
        f"L{entry.layer}{many}, {labelling.size}, p over the layers {p_text(probe.p_any)}; "
        f"baselines: {listed(beside)}.",
        MEANING[curve.verdict],
    ]
    if curve.verdict == NOT_DECODABLE:
        sentences += power_sentences(curve.power)
    found = curve.emergence
    if STRENGTH.get(curve.verdict):
        sentences.append(emergence_sentence(at, found.interval_90, found.never))
    if len(entries) > 1:
        crossing = layer_text(curve.threshold_layer)
        sentences.append(
            f"It saturates at L{curve.saturation_layer}; first layer with AUROC >= "
            f"{curve.threshold:g}: {crossing}."
        )
    sentences += [f"{text[0].upper()}{text[1:]}." for text in labelling.flags]
    return Finding(
        subject=f"{name} at {curve.site}, {curve.position}",
        verdict=curve.verdict,
        strength=STRENGTH.get(curve.verdict, 0),
        sentence=" ".join(sentences),
        score=probe.cell(),
        baselines=baselines,
        n=labelling.n,
        n_groups=labelling.n_groups,
        layer=at,
        chance=0.5,
    )


def _best(entries: Sequence[LayerEntry], name: str) -> LayerEntry:
    return max(entries, key=lambda entry: entry.probes[name].auroc[0])


def _tables(result: AnalysisResult, place: tuple[str, str], *, folded: bool) -> list[Table]:
    names, entries = list(result.questions), result.entries_at(*place)
    where = ", ".join(place)
    layers = Table(
        title=f"Layers of {where}",
        header=[
            *["layer", "dim 90 %", "dim 95 %", "of"],
            *[f"{n}{key}" for n in names for key in (" AUROC", " p", " bal. accuracy", " chance")],
        ],
        rows=[_layer_row(entry, names) for entry in entries],
        note=f"dim: components that hold 90 and 95 % of the variance, of how many. {STAR}",
        folded=folded,
    )
    shape = Table(
        title=f"Geometry of {where}",
        header=[
            *["layer", "first component", "participation ratio", "TwoNN"],
            *[f"{n}{key}" for n in names for key in (" silhouette", " Fisher ratio", " ARI")],
        ],
        rows=[_geometry_row(entry, names) for entry in entries],
        note="In brackets: mean on permuted labels. ARI: k-means against the classes.",
        folded=True,
    )
    scores = Table(
        title=f"Other scores of the probes at {where}",
        header=[
            "layer",
            *[f"{n}{key}" for n in names for key in (" accuracy", " majority", " calib. error")],
        ],
        rows=[
            [f"L{entry.layer}", *(cell for n in names for cell in _other_scores(entry.probes[n]))]
            for entry in entries
        ],
        folded=True,
    )
    return [layers, shape, scores]


def _layer_row(entry: LayerEntry, names: Sequence[str]) -> list[Cell]:
    shape = entry.geometry
    row: list[Cell] = [f"L{entry.layer}", shape.dim_90, shape.dim_95, shape.max_dim]
    for probe in (entry.probes[name] for name in names):
        row += [
            probe.cell(".3f"),
            Number(probe.p_any),
            Number(probe.balanced_accuracy[0]),
            Number(probe.chance_balanced_accuracy, ".2f"),
        ]
    return row


def _geometry_row(entry: LayerEntry, names: Sequence[str]) -> list[Cell]:
    shape = entry.geometry
    row: list[Cell] = [
        f"L{entry.layer}",
        Number(entry.pca.variance[0], ".1%"),
        Number(shape.participation_ratio, ".1f"),
        Number(shape.two_nn, ".1f"),
    ]
    return row + [cell for name in names for cell in _separation(entry.separation[name])]


def _separation(found: ClassSeparation) -> list[Cell]:
    return [
        _with_chance(found.silhouette, found.silhouette_chance),
        _with_chance(found.fisher_ratio, found.fisher_ratio_chance),
        Number(found.kmeans_adjusted_rand, ".2f"),
    ]


def _with_chance(value: float, chance: tuple[float, float]) -> str:
    return f"{formatted(value, '.3f')} ({formatted(chance[0], '.3f')})"


def _other_scores(probe: LayerScore) -> list[Cell]:
    return [
        Number(probe.accuracy),
        Number(probe.majority, ".2f"),
        Number(probe.calibration_error[0], ".2f"),
    ]


def _sites(found: SiteSimilarity) -> Table:
    """Compare sites: of every two, the mean and the most similar pair of their layers."""
    sites = [name.rsplit(".", 1)[0] for name in found.names]
    kinds = list(dict.fromkeys(sites))
    rows: list[list[Cell]] = []
    for i, one in enumerate(kinds):
        for other in kinds[i + 1 :]:
            cells = [
                (value, found.names[j], found.names[k])
                for j, row in enumerate(found.cka)
                for k, value in enumerate(row)
                if (sites[j], sites[k]) == (one, other) and value is not None
            ]
            rows.append([f"{one}, {other}", *_summary(cells)])
    return Table(
        title=f"Similarity of sites ({found.position})",
        header=["sites", "mean", "most", "where"],
        rows=rows,
        note="Linear CKA; every pair of layers: --json, visualize --probes.",
    )


def _summary(cells: Sequence[tuple[float, str, str]]) -> list[Cell]:
    if not cells:
        return [None, None, "all rows are equal"]
    most, one, other = max(cells)
    mean = sum(value for value, _, _ in cells) / len(cells)
    return [Number(mean, ".2f"), Number(most, ".2f"), f"{one}, {other}"]


def _controls(result: AnalysisResult) -> Controls:
    known = [key for labelling in result.questions.values() for key in labelling.baselines]
    sizes = "; ".join(f"{name}: {each.size}" for name, each in result.questions.items())
    return Controls(
        [
            Control("rows and groups", True, sizes or "no labels"),
            Control(
                "no group on both sides of a split",
                True,
                "folds keep groups and equal rows together",
            ),
            Control(
                "several layers", True, "permutation with the largest of all layers of a place"
            ),
            Control("several sites, positions and labellings", False, "each is tested by itself"),
            Control("words and surface of the text", "words" in known, "a probe of the text alone"),
            Control(
                "embedding of the token", "embed" in known, "collect --sites embed,… provides it"
            ),
            Control("model with random weights, control task", False, "`probes run` has both"),
            Control("use by the model", False, "readable is not used: steer along a direction"),
        ]
    )
