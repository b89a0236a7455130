"""``visualize --report``: the report of a battery or of steering as pictures, each with its numbers.

stratigraphy.png   probes against layers and baselines, with where each emerges
probes.png         a panel for each probe: its curve with the interval, over everything that it has to beat
dose_response.png  share of steered answers that meet the criterion against strength, beside random directions; of a sweep, the read-out
                   against the dose, and with it
frontier.png       effect against damage
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from circuit.artifacts.files.documents import plain, read_json, schema_of
from circuit.artifacts.manifest.manifest import (
    Run,
    check_outputs,
    read_manifest,
    reusable,
    write_manifest,
)
from circuit.errors import ArtifactError
from circuit.plots.multiples import Curve, multiples
from circuit.plots.stratigraphy import Row, stratigraphy
from circuit.plots.style import png
from circuit.stages.figures.archive import Picture, described_picture, write_picture
from circuit.stages.figures.steering import rates_picture
from circuit.stages.figures.sweep import sweep_pictures
from circuit.values import schemas

Record = dict[str, Any]


def visualize_report(report: Path, out: Path, *, force: bool = False) -> tuple[Record, bool]:
    """Draw a report into the folder ``out``; return the results and whether they were there already."""
    started = time.perf_counter()
    schema = schema_of(read_json(report))
    if schema not in DRAWN:
        message = f"`{report}` holds {f'`{schema}`' if schema else 'no circuit document'}, which is not drawn"
        raise ArtifactError(message, hint=f"give a document of {' or '.join(DRAWN)}")
    manifest = read_manifest(report, schema)
    check_outputs(report, manifest)
    about: dict[str, Any] = {
        "schema": schemas.PLOTS,
        "parameters": {"report": True},
        "inputs": [report],
    }
    target = out / "plots.json"
    found = reusable(target, **about, force=force)
    if found is not None:
        return found.results, True
    pictures = DRAWN[schema](manifest.results)
    results = {"figures": [plain(described_picture(picture)) for picture in pictures]}
    written = [path for picture in pictures for path in write_picture(picture, out, force)]
    write_manifest(
        target,
        **about,
        outputs=written,
        results=results,
        model=manifest.model,
        run=Run.since(started),
        force=force,
    )
    return results, False


def stratigraphy_picture(results: Record) -> Picture:
    """The whole battery as one figure."""
    layers = results["layers"]
    rows = [_row(name, probe, layers) for name, probe in results["probes"].items()]
    beside = [n.replace("_", " ") for n in next(iter(results["probes"].values()))["baselines"]]
    untrained = ""
    if results["random_weights"] is not None:
        beside.append("random")
        untrained = "from the best layer of the same model with random weights, "
    caption = (
        f"Computational stratigraphy of {results['model']}. Colour: held-out AUROC of a probe for the question on the left, from what needs no "
        f"layer (words, pairs of neighbouring words, surface, the token's embedding), {untrained}and from each layer. "
        "Dot: decodable (interval above 0.5, family-wise permutation p at most 0.05, 10 groups or more, 5 of each class). Triangle: emergence layer, the "
        "first above all baselines that stays; line: 90 % of resamples of the groups."
    )
    numbers = {
        "layers": layers,
        "probes": {
            name: {"emergence": probe["emergence"], "auroc": _values(probe)}
            for name, probe in results["probes"].items()
        },
    }
    return Picture("stratigraphy", png(stratigraphy(rows, beside, layers)), caption, numbers)


def _row(name: str, probe: Record, layers: list[int]) -> Row:
    found = probe["emergence"]
    entries = [probe["layers"][str(layer)] for layer in layers]
    baselines = [entry["auroc"][0] for entry in probe["baselines"].values()]
    random = [entry["random_weights"] for entry in entries if entry["random_weights"] is not None]
    if random:
        baselines.append(max(value for value, _, _ in random))
    return Row(
        name=name,
        stratum=probe["category"],
        baselines=baselines,
        layers=[entry["auroc"][0] for entry in entries],
        decodable=[entry["significant"] for entry in entries],
        emergence=_index(found["layer"], layers),
        interval=(_index(found["interval_90"][0], layers), _index(found["interval_90"][1], layers)),
        verdict=found["verdict"],
    )


def _index(layer: int | None, layers: list[int]) -> int | None:
    return None if layer is None else layers.index(layer)


def probes_picture(results: Record) -> Picture:
    """A panel for each probe."""
    curves = [_curve(name, probe, results["layers"]) for name, probe in results["probes"].items()]
    caption = (
        "Held-out AUROC of each probe along the layers (blue, 95 % interval; filled where decodable), beside the words and the surface of the "
        "text and the embedding (level lines), the same layers of the model with random weights (grey) and the control task "
        "(yellow, dotted). Dotted grey: chance; dashed: the threshold. Triangle: emergence layer."
    )
    numbers = {"probes": {name: _values(probe) for name, probe in results["probes"].items()}}
    figure = multiples(curves, threshold=results["threshold"])
    return Picture("probes", png(figure), caption, numbers)


def _curve(name: str, probe: Record, layers: list[int]) -> Curve:
    entries = [probe["layers"][str(layer)] for layer in layers]
    random = [entry["random_weights"] for entry in entries]
    return Curve(
        name=name,
        layers=layers,
        scores=[entry["auroc"] for entry in entries],
        decodable=[entry["significant"] for entry in entries],
        random=None if None in random else random,
        control=[entry["control"]["auroc"] for entry in entries],
        baselines={key: entry["auroc"] for key, entry in probe["baselines"].items()},
        emergence=probe["emergence"]["layer"],
    )


def _values(probe: Record) -> Record:
    """The numbers that are drawn."""
    return {
        "baselines": {key: entry["auroc"] for key, entry in probe["baselines"].items()},
        "layers": {
            layer: {
                "auroc": entry["auroc"],
                "significant": entry["significant"],
                "random_weights": entry["random_weights"],
                "control": entry["control"]["auroc"],
            }
            for layer, entry in probe["layers"].items()
        },
    }


# What a document's schema is drawn as.
DRAWN: dict[str, Callable[[Record], list[Picture]]] = {
    schemas.PROBES: lambda results: [stratigraphy_picture(results), probes_picture(results)],
    schemas.STEERING: lambda results: [rates_picture(results)],
    schemas.SWEEP: sweep_pictures,
}
