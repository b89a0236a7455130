"""What a sweep may be called, in words: beaten controls or none, and what a reader has to know.

    few groups      under 10 groups of test prompts nothing is claimed
    not readable    the answers of the read-out hold less than half of the probability at most points
    wrong way       the interval of the slope lies below 0
    no effect       it holds 0
    not above ...   above 0, but a random or a shuffled-label direction of the same size moves the read-out as far
    few controls    above 0 and above all controls, but there are fewer than 10 of a kind
    steers          above 0, and above every one of 10 or more random and of 10 or more shuffled-label directions

With k controls of a kind, "above every one" has p = 1/(k + 1): a larger k can say more.
"""

from typing import Any

from circuit.values.thresholds import MIN_CONTROLS, MIN_GROUPS, MIN_PROMPTS

Record = dict[str, Any]
FEW, UNREADABLE, WRONG, NONE, UNCONTROLLED, STEERS = (
    "few groups",
    "not readable",
    "wrong way",
    "no effect",
    "few controls",
    "steers",
)
NAMES = {"random": "random", "shuffled": "shuffled labels"}


def verdict(results: Record) -> Record:
    """Return the word, and a sentence that says why."""
    word = _word(results)
    return {"word": word, "text": _TEXTS.get(word, _BELOW).format(**_numbers(results))}


def _word(results: Record) -> str:
    low, high = results["slope_ci"]
    if results["n_groups"] < MIN_GROUPS:
        return FEW
    if results["valid_frac"] is not None and results["valid_frac"] < 0.5:
        return UNREADABLE
    if high < 0:
        return WRONG
    if low <= 0:
        return NONE
    below = [NAMES[kind] for kind in NAMES if not _above(results, kind)]
    if below:
        return f"not above {' or '.join(below)}"
    if any(results[kind]["n"] < MIN_CONTROLS for kind in NAMES):
        return UNCONTROLLED
    return STEERS


def _above(results: Record, kind: str) -> bool:
    """Whether the slope is larger than that of every control of a kind, whatever their sign."""
    return all(abs(slope) < results["slope"] for slope in results[kind]["slopes"])


_TEXTS = {
    FEW: f"{{n_groups}} groups of test prompts are too few to claim anything; {MIN_GROUPS} are the least.",
    UNREADABLE: "The answers that were asked for hold half of the probability at {valid:.0%} of the points only: "
    "the model does not answer this question in these words.",
    WRONG: "It steers the wrong way: more of it gives less of the positive answer.",
    NONE: "The interval of the slope holds 0: no effect is shown.",
    UNCONTROLLED: "It moves the read-out, further than the {n_random} random and {n_shuffled} shuffled-label directions beside it; "
    f"with fewer than {MIN_CONTROLS} of each, nothing says that it is this direction that matters.",
    STEERS: "It moves the read-out further than each of {n_random} random and {n_shuffled} shuffled-label directions of the "
    "same {same}.",
}
_BELOW = "It moves the read-out, and {beaten} of the same {same} move it as far: the effect is not shown to be this direction's."


def _numbers(results: Record) -> Record:
    beaten = [
        f"{sum(abs(s) >= results['slope'] for s in results[kind]['slopes'])} of {results[kind]['n']} {kind} directions"
        for kind in NAMES
        if not _above(results, kind)
    ]
    return {
        "n_groups": results["n_groups"],
        "valid": results["valid_frac"] or 0.0,
        "n_random": results["random"]["n"],
        "n_shuffled": results["shuffled"]["n"],
        "same": "KL" if results["random"]["same"] == "kl" else "norm",
        "beaten": " and ".join(beaten),
    }


def warnings(results: Record, *, known: bool) -> list[str]:
    """Return what a reader has to know beside the numbers."""
    found = []
    if not known:
        found.append("the prompts that the direction was fitted to are not known")
    if results["n_test"] < MIN_PROMPTS:
        found.append(f"{results['n_test']} test prompts: under {MIN_PROMPTS} there is no score")
    calibration = results["calibration"]
    if calibration is not None and calibration["status"] != "converged":
        found.append(
            f"calibration: {calibration['status']}, KL {calibration['statistic']} {calibration['kl']:.2g} at c*"
        )
    collapsed = [
        f"{dose:+g}"
        for dose, share in zip(results["doses"], results["collapsed"], strict=True)
        if share is not None and share > results["collapsed"][results["doses"].index(0)] + 0.2
    ]
    if collapsed:
        found.append(f"texts collapse into repetition at dose {', '.join(collapsed)}")
    if results["readout"]["order_balanced"] is False:
        found.append("the order of the answers is not balanced over the prompts")
    asked, curve = results["prompt_baseline"], [point[0] for point in results["curve"]]
    if results["readout"]["kind"] == "logprob" and max(curve) < 0:
        found.append(
            f"the positive answers stay the less likely ones at every dose (m at most {max(curve):.1f}): "
            "what the model writes need not change"
        )
    if asked is not None and asked["delta_m"] >= max(curve) - curve[results["doses"].index(0)]:
        found.append("asking for it in words moves the read-out as far as any dose")
    return found
