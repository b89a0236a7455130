"""The figure of ``steering.json``: dose and response of a trial, with the numbers that are drawn."""

from circuit.errors import DataError
from circuit.methods.probes.permutation import LEVEL, holm
from circuit.plots.rates import Response, rates
from circuit.plots.style import png
from circuit.present.numbers import Record
from circuit.stages.figures.archive import Picture

Key = tuple[str, float]


def key(rate: Record) -> Key:
    """Label and strength."""
    return (rate["label"], rate["coefficient"])


def corrected_p(trial: Record) -> dict[Key, float | None]:
    """Correct the p of every label and strength for their number (Holm)."""
    return holm({key(rate): rate["p"] for rate in trial["rates"] if rate["controls"]})


def rates_picture(results: Record) -> Picture:
    """Share of answers against strength, a panel for each label."""
    trial = results["trial"]
    if trial is None:
        message = "these answers were not judged by a criterion, so there is no share to draw"
        raise DataError(message, hint="circuit steer --compare … --criterion … counts them")
    corrected = corrected_p(trial)
    labels = list(dict.fromkeys(rate["label"] for rate in trial["rates"]))
    of = {name: [rate for rate in trial["rates"] if rate["label"] == name] for name in labels}
    responses = [_response(name, found, corrected) for name, found in of.items()]
    direction = results["direction"]
    caption = (
        f"Share of answers that meet “{trial['criterion']}” against the strength of `{direction['name']}` at layer {direction['layer']} "
        f"(blue; Wilson's 95 % interval, which counts prompts, not groups), beside {trial['n_controls']} random directions of the same "
        f"norm (grey: mean and range). Filled: further than random directions, p at most {LEVEL} after Holm's correction for "
        f"{len(corrected)} comparisons."
    )
    numbers = {"rates": [{**rate, "p_holm": corrected.get(key(rate))} for rate in trial["rates"]]}
    figure = rates(responses, ylabel=f"Answers that meet {trial['criterion']}")
    return Picture("dose_response", png(figure), caption, numbers)


def _response(name: str, found: list[Record], corrected: dict[Key, float | None]) -> Response:
    ps = [corrected.get(key(rate)) for rate in found]
    return Response(
        f"{name} (n = {found[0]['n']}, {found[0]['n_groups']} groups)",
        [rate["coefficient"] for rate in found],
        [[rate["rate"], *rate["interval"]] for rate in found],
        [rate["controls"] for rate in found],
        [p is not None and p <= LEVEL for p in ps],
    )
