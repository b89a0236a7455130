"""What a report says of ``steer sweep``: the verdict that the sweep came to, and the numbers that it rests on."""

from circuit.artifacts.manifest.manifest import Manifest
from circuit.present.numbers import Record, counted, p_text
from circuit.stages.figures.sweep import sweep_pictures, title
from circuit.stages.report.page import Finding, Section, Table
from circuit.stages.sweep.verdict import STEERS
from circuit.values.thresholds import MIN_CONTROLS


def section(manifest: Manifest) -> Section:
    """The finding, a table of doses and the figures of a sweep."""
    results = manifest.results
    verdict = results["verdict"]
    low, high = results["slope_ci"]
    lead = (
        f"{title(results)}, on {counted(results['n_test'], 'test prompt')} in {counted(results['n_groups'], 'group')}, "
        f"in doses of {results['c_star']:.3g} ({results['dose_unit']})."
    )
    text = (
        f"slope {results['slope']:.2f} [{low:.2f}, {high:.2f}] per dose, {results['anti_steerable_frac']:.0%} of the prompts move the wrong way; "
        f"p {p_text(results['random']['perm_p'])} against random and {p_text(results['shuffled']['perm_p'])} against shuffled-label "
        f"directions. {verdict['text']}"
    )
    word = verdict["word"]
    finding = Finding(title(results), word, 2 if word == STEERS else 0, text)
    return Section(
        lead, [finding], sweep_pictures(results), tables=[_doses(results)], checklist=_done(results)
    )


def _doses(results: Record) -> Table:
    rows = [
        [
            f"{dose:+g}" if dose else "0",
            f"{value:.2f} [{low:.2f}, {high:.2f}]",
            f"{change[0]:+.2f} [{change[1]:+.2f}, {change[2]:+.2f}]",
            f"{kl:.2f}",
            f"{top1:.0%}",
            "–" if nll is None else f"{nll:+.2f}",
        ]
        for dose, (value, low, high), change, kl, top1, nll in zip(
            results["doses"],
            results["curve"],
            results["change"],
            results["kl_p95"],
            results["top1"],
            results["nll_delta"],
            strict=True,
        )
    ]
    header = ["dose", "read-out", "change", "KL p95", "same top token", "ΔNLL"]
    note = "Intervals: 95 %, over groups of test prompts. KL, agreement and ΔNLL on neutral prompts; nats."
    return Table("Read-out and cost by dose", header, rows, note)


def _done(results: Record) -> list[tuple[str, bool, str]]:
    calibration, asked = results["calibration"], results["prompt_baseline"]
    enough = {kind: results[kind]["n"] for kind in ("random", "shuffled")}
    unknown = any("not known" in text for text in results["warnings"])
    said = (
        "not calibrated"
        if calibration is None
        else f"{calibration['status']}, KL {calibration['kl']:.2f}"
    )
    return [
        ("test prompts apart from those of the fit", not unknown, "by group and text"),
        (
            "10 random directions of the same size",
            enough["random"] >= MIN_CONTROLS,
            str(enough["random"]),
        ),
        (
            "10 shuffled-label directions",
            enough["shuffled"] >= MIN_CONTROLS,
            str(enough["shuffled"]),
        ),
        ("strength calibrated on neutral text", calibration is not None, said),
        ("damage to the text", True, "KL, agreement, NLL and repetitions on neutral prompts"),
        ("prompt-only baseline", asked is not None, "asked in words" if asked else "not tried"),
    ]
