"""What ``steer sweep`` says: the verdict, and the response, controls and cost at every dose."""

from collections.abc import Sequence

from circuit.present.document import (
    Cell,
    Control,
    Controls,
    Document,
    Estimate,
    Facts,
    Finding,
    Notice,
    Number,
    Table,
)
from circuit.present.numbers import counted, formatted, p_text, written
from circuit.stages.steering.readout import ReadoutSummary
from circuit.stages.sweep.figures import sweep_figures
from circuit.stages.sweep.result import ControlSlopes, SweepResult
from circuit.stages.sweep.verdict import STEERS
from circuit.values.intervals import Bounds
from circuit.values.thresholds import MIN_CONTROLS

WHAT = {"random": "random directions", "shuffled": "shuffled-label directions"}
COSTS = {
    "pmass_mean": "p of the answers",
    "kl_p95": "KL p95",
    "top1": "same top-1",
    "nll_delta": "ΔNLL",
    "repeated_4": "repeated 4-grams",
    "collapsed": "collapsed",
}


def sweep_document(result: SweepResult) -> Document:
    """Show a sweep."""
    size = f"{counted(result.n_test, 'test prompt')} in {counted(result.n_groups, 'group')}"
    return Document(
        f"Steering {result.title}: {size}",
        [
            Facts([("Read-out", read_out(result.readout)), ("Dose 1", _dose_one(result))]),
            _finding(result),
            *[Notice(f"{text}.") for text in result.warnings],
            *sweep_figures(result),
            _doses(result),
            _slopes(result),
            Facts(_facts(result)),
            _controls(result),
        ],
    )


def read_out(readout: ReadoutSummary) -> str:
    """Describe a read-out in a phrase."""
    after = f" after {readout.prefill!r}" if readout.prefill else ""
    if readout.kind == "criterion":
        return f"share of texts that meet `{readout.criterion}`{after}"
    against = "|".join(readout.negative) or "everything else"
    return f"log p({'|'.join(readout.positive)}) - log p({against}){after}"


def _dose_one(result: SweepResult) -> str:
    return f"c = {result.c_star:.4f} ({result.dose_unit})"


def slope_of(result: SweepResult) -> Estimate:
    """Return the slope with its interval."""
    return Estimate(result.slope, *result.slope_ci, form="+.2f")


def _finding(result: SweepResult) -> Finding:
    word = result.verdict.word
    controls = {kind: each.slope_p95 for kind, each in result.controls.items()}
    sentence = (
        f"Slope {written(slope_of(result))} per dose; {result.anti_steerable_frac:.0%} of the "
        f"prompts move the wrong way; p {p_text(result.random.perm_p)} against random and "
        f"{p_text(result.shuffled.perm_p)} against shuffled-label directions. {result.verdict.text}"
    )
    return Finding(
        subject=result.title,
        verdict=word,
        strength=2 if word == STEERS else 0,
        sentence=sentence,
        score=slope_of(result),
        measure="slope per dose",
        baselines={WHAT[kind]: value for kind, value in controls.items() if value is not None},
        n=result.n_test,
        n_groups=result.n_groups,
        scale=_scale(result),
        chance=0.0,
    )


def _scale(result: SweepResult) -> tuple[float, float]:
    """Return a range that holds 0, the slope with its interval, and the slopes of all controls."""
    own = [0.0, *result.slope_ci, *result.random.slopes, *result.shuffled.slopes]
    low, high = min(own), max(own)
    return (low, high) if low < high else (-1.0, 1.0)


def _doses(result: SweepResult) -> Table:
    bands = {kind: each.curves for kind, each in result.controls.items() if each.n}
    costs = {name: label for name, label in COSTS.items() if getattr(result, name) is not None}
    rows: list[list[Cell]] = []
    for k, dose in enumerate(result.doses):
        ranges = [_range([curve[k] for curve in curves]) for curves in bands.values()]
        cost = [Number(getattr(result, name)[k], ".2f") for name in costs]
        estimates = [Estimate(*result.curve[k]), Estimate(*result.change[k], form="+.2f")]
        rows.append([f"{dose:+g}" if dose else "0", *estimates, *ranges, *cost])
    return Table(
        title="Read-out and cost by dose",
        header=["dose", "m", "change", *bands, *costs.values()],
        rows=rows,
        note=(
            "m with its 95 % interval over groups of test prompts, and the lowest and highest of "
            "the controls. KL, agreement, ΔNLL and repetitions on neutral prompts; nats."
        ),
    )


def _range(values: Sequence[float], form: str = ".2f") -> str:
    return f"{formatted(min(values), form)} to {formatted(max(values), form)}"


def band(controls: ControlSlopes) -> str:
    """Return the lowest and the highest slope of the controls of a kind."""
    return _range(controls.slopes, "+.2f") if controls.n else "none"


def _slopes(result: SweepResult) -> Table:
    """Compare the slope of the direction, of each label's prompts, and of the controls."""
    rows: list[list[Cell]] = [
        ["direction", slope_of(result), None, None, result.n_test, result.n_groups]
    ]
    rows += [
        [
            f"  {each.label}",
            _label_slope(each.slope, each.slope_ci),
            None,
            None,
            each.n,
            each.n_groups,
        ]
        for each in result.by_label
    ]
    rows += [
        [WHAT[kind], band(each), Number(each.slope_p95), Number(each.perm_p), each.n, None]
        for kind, each in result.controls.items()
    ]
    header = ["", "slope per dose", "95 % of |slope|", "p", "n", "groups"]
    same = "KL" if result.random.same == "kl" else "norm"
    note = (
        f"Controls have the same {same}; p: the share of them whose slope is as steep, of "
        f"either sign."
    )
    return Table(title="Slopes", header=header, rows=rows, note=note)


def _label_slope(slope: float, interval: Bounds | None) -> Estimate:
    low, high = interval or (None, None)
    return Estimate(slope, low, high, "+.2f")


def _facts(result: SweepResult) -> list[tuple[str, Cell]]:
    against = Estimate(result.anti_steerable_frac, *result.anti_steerable_ci, form=".0%")
    both = "" if result.bidirectional else ", not in both directions"
    facts: list[tuple[str, Cell]] = [
        (
            "Quartiles of the prompts' slopes",
            ", ".join(f"{q:+.3f}" for q in result.slope_quantiles),
        ),
        ("Anti-steerable prompts", against),
        ("R2", Number(result.r2, ".2f")),
        ("Spearman", Number(result.spearman, ".2f")),
        ("Monotone steps", Number(result.monotone_frac, ".0%")),
        ("Symmetry", Number(result.symmetry, ".2f")),
        ("Linear", f"up to |dose| {result.linear_range:g}{both}"),
        ("Effect per root of KL", Number(result.efficiency)),
        ("Score (slope x R2 x valid^2)", Number(result.score)),
    ]
    if result.valid_frac is not None:
        least = f"smallest {formatted(result.pmass_min)}"
        points = f"{result.valid_frac:.0%}, {least}"
        facts.append(("Points whose answers hold half of the probability", points))
    asked = result.prompt_baseline
    if asked is not None:
        change = written(Estimate(asked.delta_m, *asked.delta_ci, form="+.2f"))
        facts.append((f"Asking in words ({asked.text!r})", f"m {asked.m:.2f}, change {change}"))
    if result.configs_tried is not None:
        facts.append(("Configurations tried on validation prompts", result.configs_tried))
    return facts


def _controls(result: SweepResult) -> Controls:
    calibration, asked = result.calibration, result.prompt_baseline
    known = not any("not known" in text for text in result.warnings)
    strength = "not calibrated"
    if calibration is not None:
        strength = f"{calibration.status}, KL {calibration.kl:.2f}"
    enough = {kind: each.n for kind, each in result.controls.items()}
    damage = "KL, agreement, NLL and repetitions on neutral prompts"
    return Controls(
        [
            Control("test prompts apart from those of the fit", known, "by group and text"),
            *[
                Control(f"{MIN_CONTROLS} {WHAT[kind]}", n >= MIN_CONTROLS, str(n))
                for kind, n in enough.items()
            ],
            Control("strength calibrated on neutral text", calibration is not None, strength),
            Control("damage to the text", True, damage),
            Control(
                "baseline of a prompt", asked is not None, "in words" if asked else "not tried"
            ),
        ]
    )
