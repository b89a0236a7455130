"""Every layer of an archive, measured: its geometry, its pictures, and a probe for each question.

A question gets its folds, resamples and permutations once (``Asked``), so that all layers and baselines are scored alike. ``judge`` adds
what needs all layers of a place: the family-wise p and the star. Layers of large archives are worked on side by side, one core each.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from circuit.artifacts.activations.activations import Activations
from circuit.methods.geometry import geometry, projection
from circuit.methods.geometry.similarity import centred_gram
from circuit.methods.linear.rowspace import row_coordinates
from circuit.methods.linear.threads import parallel_map, workers_for
from circuit.methods.probes.permutation import family_wise
from circuit.methods.probes.probing import ProbeResult, probe
from circuit.methods.probes.question import Task, prepare
from circuit.methods.probes.verdict import decodable
from circuit.methods.text.surface import TEXT_BASELINES
from circuit.stages.rows.questions import (
    Array,
    Note,
    Question,
    category_question,
    joined_groups,
    label_question,
    permutation_units,
    same_partition,
)
from circuit.stages.rows.warnings import flags, tell
from circuit.stages.run import Track

CKA_ROWS = 1000
Place = tuple[str, str]  # site, position
Where = tuple[str, str, int]  # site, position, layer


@dataclass(frozen=True)
class Settings:
    """How layers are measured and probes judged."""

    umap: bool = False
    folds: int = 5
    seed: int = 0
    threshold: float = 0.75
    n_boot: int = 1000
    n_shuffles: int = 1000


@dataclass(frozen=True)
class Asked:
    """A question with the folds, resamples and permutations on which every layer is scored."""

    question: Question
    task: Task


@dataclass(frozen=True)
class Measured:
    """What one layer gave: its entry in the results, its probes and its centred Gram matrix."""

    where: Where
    entry: dict[str, Any]
    probes: dict[str, ProbeResult]
    gram: Array | None


def ask(
    activations: Activations, site: str, position: str, *, settings: Settings, note: Note
) -> list[Asked]:
    """Return the questions that the archive's labels and categories pose, ready to be put."""
    groups = joined_groups(activations, site, position, note)
    label = label_question(activations, groups)
    category = category_question(activations, groups, note)
    questions = [label]
    if category is not None and not same_partition(label, category):
        questions.append(category)
    for question in questions:
        tell(question.name, flags(question, settings.folds), note)
    return [Asked(q, _task(activations, q, settings)) for q in questions]


def _task(activations: Activations, question: Question, settings: Settings) -> Task:
    return prepare(
        question.y,
        question.groups,
        units=permutation_units(activations, question),
        folds=settings.folds,
        seed=settings.seed,
        n_boot=settings.n_boot,
        n_shuffles=settings.n_shuffles,
    )


def measured_layers(
    activations: Activations,
    wanted: Mapping[Place, list[int]],
    asked: list[Asked],
    settings: Settings,
    track: Track,
) -> Iterator[Measured]:
    """Measure every layer of every place, several at once where they are large."""
    places = [(*place, layer) for place, layers in wanted.items() for layer in layers]
    sampled = _sampled(len(activations.prompts), settings.seed)

    def read() -> Iterator[tuple[Where, Array]]:
        for site, position, layer in places:
            yield (site, position, layer), activations.read(site, layer, position)

    def measure(one: tuple[Where, Array]) -> Measured:
        return _layer(*one, asked, sampled, settings)

    workers = workers_for(len(activations.prompts) * activations.d_model)
    yield from track(parallel_map(measure, read(), workers=workers), "Analyzing", len(places))


def _layer(
    where: Where, rows: Array, asked: list[Asked], sampled: Array, settings: Settings
) -> Measured:
    """Describe the rows (n_prompts, d) of one layer, and probe them."""
    coordinates = row_coordinates(rows, standardise=False)
    pictures = {"pca": projection.pca(rows, coordinates).as_dict()}
    if settings.umap and coordinates.shape[1]:  # equal rows have no layout
        pictures["umap"] = projection.umap(coordinates, seed=settings.seed).as_dict()
    probes = {each.question.name: probe(rows[each.question.rows], each.task) for each in asked}
    entry = {
        "site": where[0],
        "position": where[1],
        "layer": where[2],
        "geometry": geometry.shape(rows, coordinates).as_dict(),
        **pictures,
        "separation": {
            e.question.name: _separation(coordinates, e.question, settings) for e in asked
        },
        "probes": {name: result.as_dict() for name, result in probes.items()},
    }
    gram = centred_gram(rows[sampled]) if len(sampled) > 3 else None
    return Measured(where, entry, probes, gram)


def _separation(coordinates: Array, question: Question, settings: Settings) -> dict[str, Any]:
    rows = coordinates[question.rows]
    return geometry.separation(rows, question.y, question.groups, seed=settings.seed).as_dict()


def _sampled(n: int, seed: int) -> Array:
    """The rows of which CKA is taken."""
    if n <= CKA_ROWS:
        return np.arange(n)
    return np.sort(np.random.default_rng([seed, 13]).choice(n, CKA_ROWS, replace=False))


def judge(at: Mapping[int, Measured], question: str) -> None:
    """Add to each layer's entry what depends on all layers of its place."""
    probes = {layer: m.probes[question] for layer, m in at.items()}
    p_any = family_wise({layer: result.null for layer, result in probes.items()})
    stars = decodable(probes)
    for layer, m in at.items():
        m.entry["probes"][question].update(p_any=p_any[layer], significant=stars[layer])


def text_baselines(
    activations: Activations, wanted: Mapping[Place, list[int]], asked: Asked
) -> dict[str, ProbeResult]:
    """Probe the text, and the embedding where it was collected and is not itself analysed."""
    rows = asked.question.rows
    texts = [activations.prompt_set.texts[row] for row in rows]
    features = {name: measure(texts) for name, measure in TEXT_BASELINES.items()}
    if "embed" in activations.sites and any(site != "embed" for site, _ in wanted):
        position = list(wanted)[-1][1]
        features["embed"] = activations.read("embed", 0, position)[rows]
    return {name: probe(X, asked.task) for name, X in features.items()}


def described(result: ProbeResult) -> dict[str, Any]:
    """Return what a file holds of a probe that stands by itself."""
    return {**result.as_dict(), "significant": decodable({0: result})[0]}
