"""``analyze --compare``: two archives of the same prompts, place by place.

Where the texts, labels and groups of the prompts are equal, row i of both is the same prompt, and so it can be said how far it moved. Every site,
position and layer that both archives hold is compared; how is in ``methods.across``. Two models that were
not trained from one another share no axes: then CKA is the number to read, and a probe of one says nothing of the other.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from circuit.artifacts.activations.activations import Activations
from circuit.errors import DataError, UsageError
from circuit.methods.probes.across_archives import cross_archive_probes, drift
from circuit.methods.probes.question import Task
from circuit.stages.rows.questions import Question
from circuit.stages.run import Track

Place = tuple[str, str]


def check_same_prompts(activations: Activations, other: Activations) -> None:
    """Refuse an archive of other prompts, or of the same prompts under other labels."""
    for what, ours, theirs in (
        ("texts", activations.prompt_set.texts, other.prompt_set.texts),
        ("labels", _labels(activations), _labels(other)),
        ("groups", activations.groups().tolist(), other.groups().tolist()),
    ):
        if ours != theirs:
            message = (
                f"the prompts of `{activations.path}` and `{other.path}` differ in their {what}"
            )
            hint = "collect both archives from one prompt set"
            raise DataError(message, hint=hint)


def _labels(activations: Activations) -> list[str | None]:
    return [prompt.label for prompt in activations.prompts]


def compare(
    activations: Activations,
    other: Activations,
    wanted: Mapping[Place, list[int]],
    tasks: Sequence[tuple[Question, Task]],
    n_boot: int,
    track: Track,
) -> dict[str, Any]:
    """Compare every place of ``wanted`` that ``other`` holds as well."""
    places = [
        (site, position, layer)
        for (site, position), layers in wanted.items()
        for layer in layers
        if site in other.sites and position in other.positions and layer in other.layers(site)
    ]
    if not places:
        message = f"`{other.path}` holds no site, position and layer that is analysed"
        raise UsageError(message, hint="collect both archives at the same places")
    return {
        "model": None if other.manifest.model is None else other.manifest.model.id,
        "layers": [
            _place(activations, other, place, tasks, n_boot)
            for place in track(places, "Comparing", len(places))
        ],
    }


def _place(
    activations: Activations,
    other: Activations,
    place: tuple[str, str, int],
    tasks: Sequence[tuple[Question, Task]],
    n_boot: int,
) -> dict[str, Any]:
    site, position, layer = place
    A, B = (each.read(site, layer, position) for each in (activations, other))  # noqa: N806
    groups = activations.groups()
    return {
        "site": site,
        "position": position,
        "layer": layer,
        **drift(A, B, groups, n_boot=n_boot).as_dict(),
        "probes": {
            question.name: cross_archive_probes(A[question.rows], B[question.rows], task).as_dict()
            for question, task in tasks
        }
        if A.shape == B.shape
        else None,
    }
