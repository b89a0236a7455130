"""What a battery's report controlled for and what it did not, item by item, as a reviewer would ask.

Each item is a name, whether it was controlled, and the numbers that say how far. It is computed from the report: an item that the
run did not do is listed as not controlled, not left out.
"""

from collections.abc import Mapping
from typing import Any

from circuit.methods.probes.permutation import LEVEL
from circuit.methods.probes.verdict import FEW_GROUPS
from circuit.present.numbers import STRENGTH

Record = dict[str, Any]


def checklist(results: Mapping[str, Any]) -> list[Record]:
    """Go through what a reviewer asks of ``results`` of ``probes run``."""
    probes = results["probes"]
    return [
        _item("rows and groups", *_sizes(probes)),
        _item(
            "no group on both sides of a split",
            True,
            "folds keep groups, pairs and equal prompts together",
        ),
        _item(
            "scaling, regularisation and threshold inside the folds",
            True,
            "C by inner grouped folds",
        ),
        _item(
            "interval",
            True,
            f"95 %, groups resampled {results['n_boot']} times, paired over layers",
        ),
        _item("several layers", True, "permutation with the largest of all layers"),
        _item("several probes", True, _several(probes)),
        _item("majority", True, "AUROC and balanced accuracy do not gain from the larger class"),
        _item("surface of the text", *_surface(probes)),
        _item("embedding of the token", *_tokens(probes)),
        _item("model with random weights", *_random(results)),
        _item("control task", True, "one random label per group, on the same folds"),
        _item("random directions", True, "1,000 for each layer"),
        _item(
            "calibration",
            True,
            "log-loss, Brier score and calibration error of held-out probabilities",
        ),
        _item("seeds", False, f"one seed of folds and resamples: {results['seed']}"),
        _item(
            "other kinds of prompts",
            False,
            "each probe is trained and tested on prompts of one set",
        ),
        _item("other positions", False, "the last token of the prompt only"),
        _item(
            "use by the model", False, "readable is not used: steer or ablate along the direction"
        ),
        _item("raw scores", True, "of every prompt, in this report"),
    ]


def _item(name: str, controlled: bool, detail: str) -> Record:
    return {"item": name, "controlled": controlled, "detail": detail}


def _sizes(probes: Mapping[str, Record]) -> tuple[bool, str]:
    few = [name for name, probe in probes.items() if probe["emergence"]["verdict"] == FEW_GROUPS]
    rows = [probe["n"] for probe in probes.values()]
    groups = [probe["n_groups"] for probe in probes.values()]
    text = f"{min(rows)} to {max(rows)} prompts in {min(groups)} to {max(groups)} groups a probe"
    if few:
        text += f"; too few groups to claim anything: {', '.join(few)}"
    return not few, text


def _several(probes: Mapping[str, Record]) -> str:
    stars = {name: p for name, p in probes.items() if STRENGTH.get(p["emergence"]["verdict"])}
    held = [name for name, probe in stars.items() if (probe["p_battery"] or 1) <= LEVEL]
    return (
        f"{len(held)} of the {len(stars)} with a star remain after correction for {len(probes)} (Holm): "
        f"{', '.join(held) or 'none'}"
    )


def _surface(probes: Mapping[str, Record]) -> tuple[bool, str]:
    solved = [name for name, probe in probes.items() if probe["emergence"]["on_surface"]]
    text = (
        f"read off the text of {', '.join(solved)}" if solved else "no probe is read off the text"
    )
    return True, f"words, length, punctuation, first word, capitals: {text}"


def _tokens(probes: Mapping[str, Record]) -> tuple[bool, str]:
    known = [name for name, probe in probes.items() if probe["emergence"]["in_tokens"]]
    text = f"already in the token: {', '.join(known) or 'no probe'}"
    same = [name for name, probe in probes.items() if _one_token(probe["baselines"]["embed"])]
    if same:
        where = "all probes" if len(same) == len(probes) else ", ".join(same)
        text += f"; of {where} every class has the same last token, so the embedding bars nothing"
    return True, text


def _one_token(embed: Record) -> bool:
    """Say whether the embedding tells nothing apart: 0.5 without any spread."""
    return set(embed["auroc"]) == {0.5}


def _random(results: Mapping[str, Any]) -> tuple[bool, str]:
    if results["random_weights"] is None:
        return False, "left out (--no-random-weights)"
    return True, f"{results['random_weights']}, every layer"
