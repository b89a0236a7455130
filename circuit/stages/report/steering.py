"""What a report says of ``steering.json``: did the direction move the answers further than random directions of the same norm?

*Used* is said where that is so after Holm's correction for all labels and strengths that were tried, with 10 groups of prompts or more. With k
random directions no p is below 1/(k + 1), and then the sentence says that no more could have been shown.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from circuit.artifacts.manifest.manifest import Manifest
from circuit.methods.probes.permutation import LEVEL
from circuit.present.numbers import Record, counted, p_text, size
from circuit.stages.figures.steering import Key, corrected_p, key, rates_picture
from circuit.stages.report.page import Finding, Section, Table
from circuit.values.thresholds import MIN_GROUPS

SHOWN = 20  # answers in the table; the rest is in the artifact


def section(manifest: Manifest) -> Section:
    """Findings and tables of a steering run."""
    results = manifest.results
    direction = results["direction"]
    lead = (
        f"{direction['name']} at layer {direction['layer']}, {counted(len(results['generations']), 'answer')} at coefficients "
        f"{', '.join(f'{c:g}' for c in manifest.parameters['coefficients'])}."
    )
    trial = results["trial"]
    if trial is None:
        text = "Answers were generated, and not judged by a criterion: nothing is counted, so nothing is claimed."
        return Section(
            lead, [Finding(direction["name"], "not measured", 0, text)], tables=[_answers(results)]
        )
    corrected = corrected_p(trial)
    rates = [rate for rate in trial["rates"] if rate["coefficient"] != 0]
    return Section(
        lead,
        [
            _finding(trial, direction["name"], [r for r in rates if r["label"] == label], corrected)
            for label in dict.fromkeys(rate["label"] for rate in rates)
        ],
        pictures=[rates_picture(results)],
        tables=[_rates(trial, corrected), _answers(results)],
        checklist=_checklist(trial, len(corrected)),
    )


def _finding(
    trial: Record, name: str, rates: Sequence[Record], corrected: Mapping[Key, float | None]
) -> Finding:
    """Say what the strength with the smallest p, and then the largest change, did to the answers of one label."""
    label = rates[0]["label"]
    unsteered = next(
        (r for r in trial["rates"] if r["label"] == label and r["coefficient"] == 0), None
    )
    start = 0.0 if unsteered is None else unsteered["rate"]
    rate = min(rates, key=lambda r: (r["p"] if r["p"] is not None else 1, -abs(r["rate"] - start)))
    p = corrected.get(key(rate))
    word, meaning = _verdict(rate, p, trial["n_controls"])
    before = "" if unsteered is None else f", against {_share(unsteered)} without steering"
    beside = "" if not rate["controls"] else f"; random directions of the same norm {_random(rate)}"
    text = (
        f"at coefficient {rate['coefficient']:g}, {_share(rate)} of the answers to {label} prompts meet “{trial['criterion']}”{before}{beside} "
        f"({size(rate)}; p {p_text(rate['p'])}, {p_text(p)} after correction for {len(corrected)} comparisons). {meaning}"
    )
    return Finding(f"{name} on {label} prompts", word, 2 if word == "used" else 0, text)


def _verdict(rate: Record, p: float | None, controls: int) -> tuple[str, str]:
    if not controls or p is None:
        return (
            "not controlled",
            "Without random directions beside it, nothing says that it is this direction that matters.",
        )
    if rate["n_groups"] < MIN_GROUPS:
        return "few groups", f"Under {MIN_GROUPS} groups nothing is claimed."
    if p <= LEVEL:
        return "used", "The model uses this direction, or one near it, for this behaviour."
    if rate["p"] <= 1.0 / (controls + 1) + 1e-9:
        return (
            "use not shown",
            f"It moved the answers further than each of {controls} random directions, but with so few of them and so many comparisons "
            "this is as much as could have been shown: more --controls can show more.",
        )
    return "use not shown", "Random directions move the answers as far, so use is not shown."


def _share(rate: Record) -> str:
    low, high = rate["interval"]
    return f"{rate['rate']:.2f} [{low:.2f}, {high:.2f}]"


def _random(rate: Record) -> str:
    found = rate["controls"]
    return f"{sum(found) / len(found):.2f} ({min(found):.2f} to {max(found):.2f})"


def _rates(trial: Record, corrected: Mapping[Key, float | None]) -> Table:
    header = [
        "prompts",
        "coefficient",
        "share",
        "random: mean (range)",
        "p",
        "p (Holm)",
        "n",
        "groups",
    ]
    rows = [
        [
            rate["label"],
            f"{rate['coefficient']:+g}" if rate["coefficient"] else "0",
            _share(rate),
            _random(rate) if rate["controls"] else "–",
            p_text(rate["p"] if rate["controls"] else None),
            p_text(corrected.get(key(rate))),
            str(rate["n"]),
            str(rate["n_groups"]),
        ]
        for rate in trial["rates"]
    ]
    note = (
        f"Share of answers that meet {trial['criterion']}, with Wilson's 95 % interval (which counts prompts, not groups), beside "
        f"{trial['n_controls']} random directions of the same norm."
    )
    return Table("Share of answers by strength", header, rows, note)


def _answers(results: Record) -> Table:
    shown = results["generations"][:SHOWN]
    rows = [[one["prompt"], f"{one['coefficient']:g}", one["output"]] for one in shown]
    title = f"Answers: the first {len(shown)} of {len(results['generations'])}"
    return Table(title, ["prompt", "coefficient", "answer"], rows, prose=True, folded=True)


def _checklist(trial: Record, comparisons: int) -> list[tuple[str, bool, str]]:
    controls: Any = trial["n_controls"]
    return [
        (
            "random directions of the same norm",
            bool(controls),
            f"{controls}, so no p below {1 / (controls + 1):.3f}",
        ),
        ("several labels and strengths", bool(controls), f"Holm over {comparisons} comparisons"),
        (
            "other prompts than the direction was fitted to",
            False,
            "not recorded: `dataset split` provides them",
        ),
        ("prompt-only baseline", False, "a system prompt that asks for the same was not tried"),
        ("damage to the text", False, "coherence was not measured"),
    ]
