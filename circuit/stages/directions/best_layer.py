"""Which layer's direction is best, how good the choice is, and how it transfers."""

from collections.abc import Sequence

from circuit.artifacts.activations.activations import Activations
from circuit.artifacts.files.documents import restored
from circuit.errors import DataError
from circuit.methods.linear.threads import workers_for
from circuit.methods.quality.design import design
from circuit.methods.quality.nested import nested_layer_choice
from circuit.stages.directions.fit import FitSettings, Fitted
from circuit.stages.directions.results import BestLayer, CategoryTransfer
from circuit.stages.rows.contrasts import Contrast, Place, transfer_between_categories
from circuit.stages.run import Note


def category_transfer(
    activations: Activations, main: Contrast, place: Place, layer: int, settings: FitSettings
) -> CategoryTransfer | None:
    """Score the direction of one category's prompts on another's, at one layer."""
    rows = activations.read(place.site, layer, place.position)[main.rows]
    found = transfer_between_categories(
        activations, main, rows, settings.method, folds=settings.folds, seed=settings.seed
    )
    return None if found is None else restored(CategoryTransfer, found.as_dict())


def chosen_layer(
    activations: Activations,
    main: Contrast,
    of_label: Sequence[Fitted],
    place: Place,
    settings: FitSettings,
    *,
    note: Note,
) -> BestLayer:
    """Choose a layer; with several, score the choice on prompts that it was not made on."""
    if len(of_label) == 1:
        return _unscored(of_label[0])
    candidates = (
        (layer, activations.read(place.site, layer, place.position)[main.rows])
        for layer in (each.direction.layer for each in of_label)
    )
    try:
        choice = nested_layer_choice(
            settings.method,
            candidates,
            design(main.y, main.groups, main.pairs),
            folds=settings.folds,
            seed=settings.seed,
            n_boot=settings.n_boot,
            workers=workers_for(len(main.rows) * activations.width(place.site)),
        )
    except DataError:
        return best_measured(of_label, "too few groups to score the choice of a layer", note)
    return restored(BestLayer, choice.as_dict())


def best_measured(of_label: Sequence[Fitted], why: str, note: Note) -> BestLayer:
    """Choose the layer with the best score; ``why`` says why the choice has no score of its own."""
    if len(of_label) > 1:
        note(f"{why}: it is the best of those measured")
    return _unscored(max(of_label, key=lambda f: (f.quality.auroc.value, f.quality.d_prime)))


def _unscored(best: Fitted) -> BestLayer:
    return BestLayer(layer=best.direction.layer, auroc=None, chosen_by_fold=None)
