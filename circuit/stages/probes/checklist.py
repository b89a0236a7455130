"""What a battery's report controlled for and what it did not, item by item.

Each item is a name, whether it was controlled, and the numbers that say how far. It is computed
from the results: what the run did not do is listed as not controlled, not left out.
"""

from collections.abc import Mapping

from circuit.methods.probes.verdict import FEW_GROUPS
from circuit.present.document import Control
from circuit.present.numbers import STRENGTH
from circuit.stages.probes.results import QuestionResult
from circuit.stages.rows.probe_scores import StarredScore


def checklist(
    probes: Mapping[str, QuestionResult], *, n_boot: int, seed: int, random_weights: str | None
) -> list[Control]:
    """Go through what a reviewer asks of a battery's ``probes``."""
    return [
        Control("rows and groups", *_sizes(probes)),
        Control(
            "no group on both sides of a split",
            True,
            "folds keep groups, pairs and equal prompts together",
        ),
        Control(
            "scaling, regularisation and threshold inside the folds",
            True,
            "C by inner grouped folds",
        ),
        Control("interval", True, f"95 %, groups resampled {n_boot} times, paired over layers"),
        Control("several layers", True, "permutation with the largest of all layers"),
        Control("several probes", True, _several(probes)),
        Control("majority", True, "AUROC and balanced accuracy do not gain from the larger class"),
        Control("surface of the text", *_surface(probes)),
        Control("embedding of the token", *_tokens(probes)),
        Control("model with random weights", *_random(random_weights)),
        Control("control task", True, "one random label per group, on the same folds"),
        Control("random directions", True, "1,000 for each layer"),
        Control(
            "calibration",
            True,
            "log-loss, Brier score and calibration error of held-out probabilities",
        ),
        Control("seeds", False, f"one seed of folds and resamples: {seed}"),
        Control(
            "other kinds of prompts",
            False,
            "each probe is trained and tested on prompts of one set",
        ),
        Control("other positions", False, "the last token of the prompt only"),
        Control(
            "use by the model", False, "readable is not used: steer or ablate along the direction"
        ),
        Control("raw scores", True, "of every prompt, in this report"),
    ]


def _sizes(probes: Mapping[str, QuestionResult]) -> tuple[bool, str]:
    few = [name for name, probe in probes.items() if probe.emergence.verdict == FEW_GROUPS]
    rows = [probe.n for probe in probes.values()]
    groups = [probe.n_groups for probe in probes.values()]
    text = f"{min(rows)} to {max(rows)} prompts in {min(groups)} to {max(groups)} groups per probe"
    if few:
        text += f"; too few groups to claim anything: {', '.join(few)}"
    return not few, text


def _several(probes: Mapping[str, QuestionResult]) -> str:
    stars = [probe for probe in probes.values() if STRENGTH.get(probe.emergence.verdict)]
    left = [probe.name for probe in stars if probe.survives]
    return (
        f"{len(left)} of the {len(stars)} with a star remain after correction for {len(probes)} "
        f"(Holm): {', '.join(left) or 'none'}"
    )


def _surface(probes: Mapping[str, QuestionResult]) -> tuple[bool, str]:
    solved = [name for name, probe in probes.items() if probe.emergence.on_surface]
    text = (
        f"read off the text of {', '.join(solved)}" if solved else "no probe is read off the text"
    )
    return True, f"words, length, punctuation, first word, capitals: {text}"


def _tokens(probes: Mapping[str, QuestionResult]) -> tuple[bool, str]:
    known = [name for name, probe in probes.items() if probe.emergence.in_tokens]
    text = f"already in the token: {', '.join(known) or 'no probe'}"
    same = [name for name, probe in probes.items() if _one_token(probe.baselines["embed"])]
    if same:
        where = "all probes" if len(same) == len(probes) else ", ".join(same)
        text += f"; in {where} every class has the same last token, so the embedding bars nothing"
    return True, text


def _one_token(embed: StarredScore) -> bool:
    """Say whether the embedding separates nothing: 0.5 without any spread."""
    return set(embed.auroc) == {0.5}


def _random(random_weights: str | None) -> tuple[bool, str]:
    if random_weights is None:
        return False, "left out (--no-random-weights)"
    return True, f"{random_weights}, every layer"
