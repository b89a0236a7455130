"""``analyze --compare``: two archives of the same prompts, place by place.

Where the texts, labels and groups of the prompts are equal, row i of both is the same prompt, and
so it is known how far it moved. Every site, position and layer that both archives hold is compared
(``methods.probes.across_archives``). Two models that were not trained from one another share no
axes: then CKA is the number to read, and a probe of one means nothing for the other.
"""

from collections.abc import Sequence

from circuit.artifacts.activations.activations import Activations
from circuit.artifacts.files.documents import restored
from circuit.errors import DataError, UsageError
from circuit.methods.probes.across_archives import cross_archive_probes, drift
from circuit.stages.analyze.layers import Layers, Target
from circuit.stages.analyze.results import ComparedLayer, Comparison, ProbesAcross
from circuit.stages.rows.contrasts import Place
from circuit.stages.run import Track


def check_same_prompts(activations: Activations, other: Activations) -> None:
    """Raise ``DataError`` for an archive of other prompts, or of the same under other labels."""
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
            raise DataError("different-prompts", message, hint=hint, differ_in=what)


def _labels(activations: Activations) -> list[str | None]:
    return [prompt.label for prompt in activations.prompts]


def compare(
    activations: Activations,
    other: Activations,
    wanted: Layers,
    targets: Sequence[Target],
    *,
    n_boot: int,
    track: Track,
) -> Comparison:
    """Compare every place of ``wanted`` that ``other`` holds as well."""
    places = [
        (place, layer)
        for place, layers in wanted.items()
        for layer in layers
        if place.site in other.sites
        and place.position in other.positions
        and layer in other.layers(place.site)
    ]
    if not places:
        message = f"`{other.path}` holds no site, position and layer that is analysed"
        hint = "collect both archives at the same places"
        raise UsageError("no-shared-place", message, hint=hint, path=str(other.path))
    return Comparison(
        model=None if other.manifest.model is None else other.manifest.model.id,
        layers=[
            _compared(activations, other, place, layer, targets, n_boot=n_boot)
            for place, layer in track(places, "Comparing", len(places))
        ],
    )


def _compared(
    activations: Activations,
    other: Activations,
    place: Place,
    layer: int,
    targets: Sequence[Target],
    *,
    n_boot: int,
) -> ComparedLayer:
    A, B = (  # noqa: N806
        each.read(place.site, layer, place.position) for each in (activations, other)
    )
    probes = {
        each.name: restored(
            ProbesAcross,
            cross_archive_probes(A[each.rows.rows], B[each.rows.rows], each.task).as_dict(),
        )
        for each in (targets if A.shape == B.shape else ())
    }
    return restored(
        ComparedLayer,
        {
            "site": place.site,
            "position": place.position,
            "layer": layer,
            **drift(A, B, activations.groups(), n_boot=n_boot).as_dict(),
            "probes": probes if A.shape == B.shape else None,
        },
    )
