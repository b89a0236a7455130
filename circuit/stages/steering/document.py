"""What ``circuit steer`` says: did the direction do more than random ones of the same norm?

*Used* is said where the p over all labels and coefficients that were tried is at most 0.05, the
change from the unsteered answers and the excess over those of random directions have intervals on
the same side of 0, and the prompts have 10 groups or more. With k random directions no p is below
1/(k + 1), so fewer than 19 cannot show it.
"""

from collections.abc import Sequence

from circuit.present.document import (
    Cell,
    Control,
    Controls,
    Document,
    Estimate,
    Facts,
    Finding,
    Number,
    Part,
    Section,
    Table,
    Text,
)
from circuit.present.numbers import counted, interval, p_text, written
from circuit.stages.steering.figures import rates_figure
from circuit.stages.steering.result import ExtractResult, Generation, SteerResult
from circuit.stages.steering.trial import Rate, Trial
from circuit.values.thresholds import MIN_CONTROLS, MIN_GROUPS

MeanAndRange = tuple[float, float, float]
SHOWN = 20  # answers in the table of a trial; the artifact has all


def extract_document(result: ExtractResult) -> Document:
    """Show what was extracted from a pair of prompts."""
    made = result.direction
    prompts: list[tuple[str, Cell]] = [
        ("  Positive", repr(made.extra["positive_prompt"])),
        ("  Negative", repr(made.extra["negative_prompt"])),
    ]
    numbers: list[tuple[str, Cell]] = [
        ("  Layer", made.layer),
        ("  Norm", Number(made.norm, ".4f")),
        ("  Cosine similarity (pos, neg)", Number(result.cosine, ".4f")),
        ("  Separation", Number(1 - result.cosine, ".4f")),
    ]
    title = f"Extracting direction from layer {made.layer}"
    return Document(title, [Facts(prompts), Text(["", "Direction extracted:"]), Facts(numbers)])


def steer_document(result: SteerResult, *, complete: bool = True) -> Document:
    """Show the answers, or what a trial found; ``complete``: both, and what was not measured."""
    title = title_of(result)
    if result.trial is None and not complete:
        return Document(title, _answer_sections(result))
    if result.trial is None:
        return Document(title, [_not_measured(result), _answers(result.generations)])
    trial = result.trial
    parts: list[Part] = [
        *_findings(result, trial),
        rates_figure(result, trial),
        _rates(trial),
        *([_answers(result.generations)] if complete else []),
        _controls(trial),
    ]
    return Document(title, parts)


def _not_measured(result: SteerResult) -> Finding:
    return Finding(
        subject=result.direction.name,
        verdict="not measured",
        strength=0,
        sentence="No criterion judged the answers: nothing is counted, so nothing is claimed.",
    )


def title_of(result: SteerResult) -> str:
    """Name the directions, the number of answers and the coefficients."""
    acting = ", ".join(f"{each.name} at layer {each.layer}" for each in result.directions)
    coefficients = sorted({each.coefficient for each in result.generations})
    return (
        f"{acting}: {counted(len(result.generations), 'answer')} at "
        f"{'coefficient' if len(coefficients) == 1 else 'coefficients'} "
        f"{', '.join(f'{c:g}' for c in coefficients)}"
    )


def heading(prompt: str, coefficient: float) -> str:
    """Return what stands before an answer that is shown while it is written."""
    return f"=== Prompt: {prompt!r} ===\n\n  {_named(coefficient)}:\n"


def _answer_sections(result: SteerResult) -> list[Part]:
    coefficients = list(dict.fromkeys(each.coefficient for each in result.generations))
    sections: list[Part] = []
    if len(coefficients) > 1:
        sections.append(Text([f"Comparing steering at coefficients: {coefficients}"]))
    for prompt in dict.fromkeys(each.prompt for each in result.generations):
        lines = []
        for each in result.generations:
            if each.prompt == prompt:
                lines += ["", f"  {_named(each.coefficient)}:{_remarks(each)}"]
                lines.append(f"    {each.output!r}")
        sections.append(Section(f"Prompt: {prompt!r}", [Text(lines)]))
    return sections


def _named(coefficient: float) -> str:
    sense = "neutral" if coefficient == 0 else "→ positive" if coefficient > 0 else "← negative"
    return f"Coef {coefficient:+} ({sense})"


def _remarks(answer: Generation) -> str:
    remarks = {
        "not steered: the probe does not fire": answer.coefficient and not answer.steered,
        "repetitive": answer.collapsed,
    }
    return "".join(f" [{remark}]" for remark, applies in remarks.items() if applies)


def _findings(result: SteerResult, trial: Trial) -> list[Part]:
    rates_ = [rate for rate in trial.rates if rate.coefficient != 0]
    return [
        _finding(result.direction.name, trial, [rate for rate in rates_ if rate.label == label])
        for label in dict.fromkeys(rate.label for rate in rates_)
    ]


def _finding(name: str, trial: Trial, own: Sequence[Rate]) -> Finding:
    """Describe the coefficient with the smallest p, and then the largest change, for one label."""
    label = own[0].label
    zero = next((r for r in trial.rates if (r.label, r.coefficient) == (label, 0)), None)
    start = 0.0 if zero is None else zero.rate
    rate = min(own, key=lambda r: (1 if r.p_any is None else r.p_any, -abs(r.rate - start)))
    verdict, meaning = _verdict(rate, trial.n_controls)
    random = _mean_and_range(rate)
    before = "" if zero is None else f", against {written(_share(zero))} unsteered"
    others = "" if random is None else f"; random directions of the same norm {_range(random)}"
    baselines: dict[str, float | None] = {} if zero is None else {"unsteered": zero.rate}
    if random is not None:
        baselines["random"] = random[0]
    return Finding(
        subject=f"{name} on {label} prompts, c = {rate.coefficient:+g}",
        verdict=verdict,
        strength=2 if verdict == "used" else 0,
        sentence=(
            f"At coefficient {rate.coefficient:g}, {written(_share(rate))} of the answers to "
            f"{label} prompts meet “{trial.criterion}”{before}{others} "
            f"(n = {rate.n} in {rate.n_groups} groups; p {p_text(rate.p)}, {p_text(rate.p_any)} "
            f"over all labels and coefficients). {meaning}"
        ),
        score=_share(rate),
        measure="share of answers",
        baselines=baselines,
        n=rate.n,
        n_groups=rate.n_groups,
    )


def _verdict(rate: Rate, controls: int) -> tuple[str, str]:
    if not controls:
        return "not controlled", "Without random directions, any direction may do the same."
    if rate.n_groups < MIN_GROUPS:
        return "few groups", f"Under {MIN_GROUPS} groups nothing is claimed."
    if rate.p_any is None:
        return "not controlled", "Without coefficient 0 there is nothing to measure a change from."
    change, excess = interval(rate.change, "+.2f"), interval(rate.excess, "+.2f")
    further = f"{change} from the unsteered answers, {excess} from those of random directions"
    if rate.used:
        return (
            "used",
            f"It changes the share by {further}: the model uses this direction, or one near it, "
            "for this behaviour.",
        )
    if controls < MIN_CONTROLS:
        return (
            "use not shown",
            f"With {controls} random directions no p is below {1 / (controls + 1):.3f}, so nothing "
            f"can be shown: give {MIN_CONTROLS} --controls or more.",
        )
    return "use not shown", f"Random directions may move the answers as far: {further}."


def _share(rate: Rate) -> Estimate:
    return Estimate(rate.rate, *rate.interval)


def _mean_and_range(rate: Rate) -> MeanAndRange | None:
    found = rate.controls
    return (sum(found) / len(found), min(found), max(found)) if found else None


def _range(found: MeanAndRange | None) -> str:
    return "-" if found is None else f"{found[0]:.2f} ({found[1]:.2f} to {found[2]:.2f})"


def _rates(trial: Trial) -> Table:
    rows: list[Sequence[Cell]] = [
        (
            rate.label,
            f"{rate.coefficient:+g}" if rate.coefficient else "0",
            _share(rate),
            _range(_mean_and_range(rate)),
            Number(rate.p if rate.controls else None),
            Number(rate.p_any),
            rate.n,
            rate.n_groups,
        )
        for rate in trial.rates
    ]
    header = [
        "prompts",
        "coefficient",
        "share",
        "random: mean (range)",
        "p",
        "p (all)",
        "n",
        "groups",
    ]
    note = (
        f"Share of answers that meet `{trial.criterion}`, with Wilson's 95 % interval (which "
        f"counts prompts, not groups), alongside {trial.n_controls} random directions of the same "
        "norm. p (all): over all labels and coefficients."
    )
    return Table(title="Share of answers by coefficient", header=header, rows=rows, note=note)


def _controls(trial: Trial) -> Controls:
    n = trial.n_controls
    apart = "not recorded: `dataset split` provides them"
    in_words = "a system message that asks for the same was not tried"
    return Controls(
        [
            Control(
                "random directions of the same norm",
                n >= MIN_CONTROLS,
                f"{n}, so no p below {1 / (n + 1):.3f}",
            ),
            Control("several labels and coefficients", bool(n), "p over all of them"),
            Control("other prompts than the direction was fitted to", False, apart),
            Control("baseline of a prompt", False, in_words),
            Control("damage to the text", False, "coherence was not measured"),
        ]
    )


def _answers(generations: Sequence[Generation]) -> Table:
    shown = generations[:SHOWN]
    rows = [[each.prompt, f"{each.coefficient:g}", each.output] for each in shown]
    title = f"Answers: the first {len(shown)} of {len(generations)}"
    header = ["prompt", "coefficient", "answer"]
    return Table(title=title, header=header, rows=rows, prose=True, folded=True)
