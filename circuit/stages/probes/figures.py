"""The figures of a battery, each with the numbers that are drawn.

stratigraphy   probes against layers and baselines, with the emergence layer of each
probes         a panel for each probe: its curve with the interval, over everything it has to beat
"""

from circuit.plots.multiples import Curve, multiples
from circuit.plots.stratigraphy import Row, stratigraphy
from circuit.plots.style import png
from circuit.present.document import Figure
from circuit.stages.probes.results import BatteryResult, QuestionResult


def stratigraphy_figure(result: BatteryResult) -> Figure:
    """Return the whole battery as one figure."""
    probes = list(result.probes.values())
    columns = [name.replace("_", " ") for name in probes[0].baselines]
    columns += [] if result.random_weights is None else ["random"]
    untrained = ""
    if result.random_weights is not None:
        untrained = "from the best layer of the same model with random weights, "
    caption = (
        f"Computational stratigraphy of {result.model}. Colour: held-out AUROC of a probe for the "
        "question on the left, from what needs no layer (words, pairs of neighbouring words, "
        f"surface, the token's embedding), {untrained}and from each layer. Dot: decodable "
        "(interval above 0.5, family-wise permutation p at most 0.05, 10 groups or more, 5 of each "
        "class). Triangle: emergence layer, the first above all baselines that stays; line: 90 % "
        "of resamples of the groups."
    )
    return Figure(
        name="stratigraphy",
        png=lambda: png(
            stratigraphy([_row(p, result.layers) for p in probes], columns, result.layers)
        ),
        caption=caption,
        numbers={
            "layers": result.layers,
            "probes": {p.name: {"emergence": p.emergence, "auroc": _values(p)} for p in probes},
        },
    )


def _row(probe: QuestionResult, layers: list[int]) -> Row:
    entries = [probe.layers[layer] for layer in layers]
    baselines = [entry.auroc[0] for entry in probe.baselines.values()]
    random = [entry.random_weights[0] for entry in entries if entry.random_weights is not None]
    low, high = probe.emergence.interval_90
    return Row(
        name=probe.name,
        stratum=probe.category,
        baselines=[*baselines, *([max(random)] if random else [])],
        layers=[entry.auroc[0] for entry in entries],
        decodable=[entry.significant for entry in entries],
        emergence=_index(probe.emergence.layer, layers),
        interval=(_index(low, layers), _index(high, layers)),
        verdict=probe.emergence.verdict,
    )


def _index(layer: int | None, layers: list[int]) -> int | None:
    return None if layer is None else layers.index(layer)


def probes_figure(result: BatteryResult) -> Figure:
    """Return a panel for each probe."""
    caption = (
        "Held-out AUROC of each probe along the layers (blue, 95 % interval; filled where "
        "decodable), with the words and the surface of the text and the embedding (level lines), "
        "the same layers of the model with random weights (grey) and the control task (yellow, "
        "dotted). Dotted grey: chance; dashed: the threshold. Triangle: emergence layer."
    )
    curves = [_curve(probe, result.layers) for probe in result.probes.values()]
    return Figure(
        name="probes",
        png=lambda: png(multiples(curves, threshold=result.threshold)),
        caption=caption,
        numbers={"probes": {name: _values(probe) for name, probe in result.probes.items()}},
    )


def _curve(probe: QuestionResult, layers: list[int]) -> Curve:
    entries = [probe.layers[layer] for layer in layers]
    random = [entry.random_weights for entry in entries if entry.random_weights is not None]
    return Curve(
        name=probe.name,
        layers=layers,
        scores=[entry.auroc for entry in entries],
        decodable=[entry.significant for entry in entries],
        random=random if len(random) == len(entries) else None,
        control=[entry.control.auroc for entry in entries],
        baselines={key: entry.auroc for key, entry in probe.baselines.items()},
        emergence=probe.emergence.layer,
    )


def _values(probe: QuestionResult) -> dict[str, object]:
    """Return the numbers that are drawn."""
    return {
        "baselines": {key: entry.auroc for key, entry in probe.baselines.items()},
        "layers": {
            layer: {
                "auroc": entry.auroc,
                "significant": entry.significant,
                "random_weights": entry.random_weights,
                "control": entry.control.auroc,
            }
            for layer, entry in probe.layers.items()
        },
    }
