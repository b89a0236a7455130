"""What a sweep may be called: the verdict in a word, and what a reader has to know.

    few groups      under 10 groups of test prompts nothing is claimed
    not readable    the answers of the read-out hold less than half of the probability at most
                    points
    wrong way       the interval of the slope lies below 0
    no effect       the interval contains 0
    few controls    above 0, but with fewer than 19 controls of a kind no p is at most 0.05
    not above ...   above 0, but random or shuffled-label directions of the same size move the
                    read-out as far: p of their slopes above 0.05
    steers          above 0, and p at most 0.05 both against random and against shuffled-label
                    directions

Both p must be small, so that neither is corrected for the other; ``steer table`` takes the p over
all its sweeps.
"""

from circuit.present.numbers import p_text
from circuit.stages.sweep.result import ControlSlopes, SweepResult, Verdict
from circuit.values.thresholds import LEVEL, MIN_CONTROLS, MIN_GROUPS, MIN_PROMPTS

FEW, UNREADABLE, WRONG, NONE, UNCONTROLLED, STEERS = (
    "few groups",
    "not readable",
    "wrong way",
    "no effect",
    "few controls",
    "steers",
)
NAMES = {"random": "random", "shuffled": "shuffled labels"}
READABLE = 0.5  # least share of points whose answers hold half of the probability
MORE_COLLAPSED = 0.2  # rise in the share of collapsed texts that is named


def verdict(result: SweepResult) -> Verdict:
    """Return the word, and a sentence that says why."""
    low, high = result.slope_ci
    not_above = {k: c for k, c in result.controls.items() if c.p is None or c.p > LEVEL}
    both = f"{result.random.n} random and {result.shuffled.n} shuffled-label directions"
    if result.n_groups < MIN_GROUPS:
        text = (
            f"Test prompts of {result.n_groups} groups cannot show anything: {MIN_GROUPS} are "
            f"needed."
        )
        return Verdict(FEW, text)
    if result.valid_frac is not None and result.valid_frac < READABLE:
        text = (
            f"The given answers hold half of the probability at {result.valid_frac:.0%} of the "
            "points only: the model does not answer this question in these words."
        )
        return Verdict(UNREADABLE, text)
    if high < 0:
        text = "It steers the wrong way: more of it gives less of the positive answer."
        return Verdict(WRONG, text)
    if low <= 0:
        return Verdict(NONE, "The interval of the slope contains 0: no effect is shown.")
    if any(each.n < MIN_CONTROLS for each in result.controls.values()):
        text = (
            f"It moves the read-out; {both} cannot show that the effect is this direction's: "
            f"{MIN_CONTROLS} of a kind are needed."
        )
        return Verdict(UNCONTROLLED, text)
    if not_above:
        return Verdict(
            f"not above {' or '.join(NAMES[kind] for kind in not_above)}",
            _beaten(result, not_above),
        )
    ps = ", ".join(f"{p_text(each.p)}" for each in result.controls.values())
    text = f"It moves the read-out further than {both} of the same {_same(result)} do (p {ps})."
    return Verdict(STEERS, text)


def _same(result: SweepResult) -> str:
    return "KL" if result.random.same == "kl" else "norm"


def _beaten(result: SweepResult, controls: dict[str, ControlSlopes]) -> str:
    counts = [
        f"{sum(abs(slope) >= result.slope for slope in each.slopes)} of {each.n} {kind} ones "
        f"(p {p_text(each.p)}{'' if each.p_all is None else ' over all sweeps'})"
        for kind, each in controls.items()
    ]
    return (
        f"It moves the read-out, and of directions of the same {_same(result)} "
        f"{' and '.join(counts)} move it as far: the effect is not shown to be this direction's."
    )


def warnings(result: SweepResult, *, known: bool) -> list[str]:
    """Return what a reader has to know; ``known``: the training prompts of the direction."""
    found = []
    if not known:
        found.append("the training prompts of the direction are not known")
    if result.n_test < MIN_PROMPTS:
        found.append(f"{result.n_test} test prompts: under {MIN_PROMPTS} there is no score")
    calibration = result.calibration
    if calibration is not None and calibration.status != "converged":
        at = f"KL {calibration.statistic} {calibration.kl:.2g} at c*"
        found.append(f"calibration: {calibration.status}, {at}")
    if collapsed := _collapsed(result):
        found.append(f"texts collapse into repetition at dose {', '.join(collapsed)}")
    if result.readout.order_balanced is False:
        found.append("the order of the answers is not balanced over the prompts")
    top = max(value for value, _, _ in result.curve)
    if result.readout.kind == "logprob" and top < 0:
        found.append(
            "the positive answers stay less likely than the others at every dose (m at most "
            f"{top:.1f}): the generated text need not change"
        )
    asked = result.prompt_baseline
    if asked is not None and asked.delta_m >= top - result.curve[result.zero][0]:
        found.append("asking in words moves the read-out as far as any dose")
    return found


def _collapsed(result: SweepResult) -> list[str]:
    """Name the doses at which more texts collapse than without steering."""
    base = result.collapsed[result.zero] or 0.0
    return [
        f"{dose:+g}"
        for dose, share in zip(result.doses, result.collapsed, strict=True)
        if share is not None and share > base + MORE_COLLAPSED
    ]
