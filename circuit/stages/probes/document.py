"""The document of a battery: each question's verdict with the numbers that decide it."""

from collections.abc import Sequence

from circuit.methods.probes.verdict import DECODABLE, NOT_DECODABLE, SELECTIVE
from circuit.present.document import (
    Cell,
    Controls,
    Document,
    Estimate,
    Finding,
    Notice,
    Number,
    Part,
    Section,
    Table,
    Text,
)
from circuit.present.numbers import (
    STRENGTH,
    counted,
    emergence_sentence,
    in_groups,
    interval,
    layer_text,
    layers_text,
    listed,
    p_text,
    power_sentences,
)
from circuit.stages.probes.figures import probes_figure, stratigraphy_figure
from circuit.stages.probes.results import BatteryResult, LayerScore, QuestionResult
from circuit.stages.rows.probe_scores import ProbeScore
from circuit.values.thresholds import LEVEL, MIN_CLASS_GROUPS, MIN_GROUPS

# ``known``: the baselines that were run; ``beneath``: those of them that have seen tokens only.
MEANING = {
    "selective": "Readable from the layers, and above {known} and the control task.",
    "decodable": "Readable from the layers, and above {known}, but not shown to be above the "
    "control task: a probe of this kind may learn arbitrary labels as well.",
    "tokens": "Readable, but not shown to be above {beneath}: nothing shows that training put it "
    "there.",
    "surface": "Readable, but no layer is shown to be above the words, their neighbours or the "
    "surface of the text itself.",
    "unresolved": "Readable, but not shown to be above a baseline (one of {known}) that is not "
    "above chance itself: it explains nothing, and more groups would tell.",
    "not decodable": "Not shown to be readable at any layer. That is not evidence of absence.",
    "few groups": f"Under {MIN_GROUPS} groups, or {MIN_CLASS_GROUPS} of a class, nothing is "
    "claimed.",
}
BASELINES = {
    "words": "the words",
    "word_pairs": "pairs of neighbouring words",
    "surface": "the surface of the text",
    "embed": "the token's own embedding",
    "random": "a model with random weights",
}


def present(result: BatteryResult, *, stratigraphy: bool = True) -> Document:
    """Show the figure and the findings, then scores by layer, where each emerges, and controls."""
    probes = list(result.probes.values())
    parts: list[Part] = [
        Text([_lead(result, probes)]),
        stratigraphy_figure(result),
        *(_finding(probe, len(probes)) for probe in probes),
        probes_figure(result),
        _scores(result, probes),
        Section("Each probe by layer", [part for probe in probes for part in _layers(probe)]),
        *_without_bits(result, probes),
    ]
    if stratigraphy:
        parts += [_where(probes), Controls(result.checklist)]
    return Document(f"Battery of probes: {result.model}", parts)


def _lead(result: BatteryResult, probes: Sequence[QuestionResult]) -> str:
    verdicts = [probe.emergence.verdict for probe in probes]
    counts = [f"{verdicts.count(name)} {name}" for name in MEANING if verdicts.count(name)]
    readable = [probe for probe in probes if STRENGTH.get(probe.emergence.verdict)]
    left = sum(probe.survives for probe in readable)
    corrected = (
        f" {left} of the {len(readable)} that are readable remain after correction for "
        f"{counted(len(probes), 'question')} (Holm, p at most {LEVEL})."
    )
    return (
        f"{counted(len(probes), 'question')} put to {result.model} ({len(result.layers)} of its "
        f"{result.n_layers} layers): {listed(counts)}.{corrected if readable else ''}"
    )


def _finding(probe: QuestionResult, n_probes: int) -> Finding:
    emergence = probe.emergence
    layer = emergence.best_layer if emergence.layer is None else emergence.layer
    entry = probe.layers[layer]
    strength = STRENGTH.get(emergence.verdict, 0)
    return Finding(
        subject=probe.name,
        verdict=emergence.verdict,
        strength=strength if probe.survives else min(strength, 1),
        sentence=" ".join(_sentences(probe, layer, n_probes)),
        score=Estimate.of(entry.auroc),
        measure="held-out AUROC",
        baselines=_baselines(probe, entry),
        n=probe.n,
        n_groups=probe.n_groups,
        layer=emergence.layer,
        chance=0.5,
    )


def _sentences(probe: QuestionResult, layer: int, n_probes: int) -> list[str]:
    found, entry = probe.emergence, probe.layers[layer]
    chosen = "where it emerges" if found.layer is not None else "the best layer, so optimistic"
    many = "" if len(probe.layers) == 1 else f" ({chosen})"
    sentences = [
        f"{probe.question or 'A probe.'} Held-out AUROC {interval(entry.auroc)} at L{layer}{many}, "
        f"{in_groups(probe.n, probe.n_groups)}, p over all layers {p_text(entry.p_any)}.",
        _meaning(probe, entry),
    ]
    if found.verdict == NOT_DECODABLE:
        sentences += power_sentences(probe.power)
    if found.verdict == NOT_DECODABLE and entry.p_any is not None and entry.p_any <= LEVEL:
        sentences.append(
            "The permutation test alone would say so, but the interval over groups reaches chance."
        )
    # Above the baselines of its own layer something may emerge that others explain: the verdict
    # wins.
    if found.verdict in (DECODABLE, SELECTIVE):
        sentences.append(emergence_sentence(found.layer, found.interval_90, found.never))
    if STRENGTH.get(found.verdict) and not probe.survives:
        p = p_text(probe.p_battery)
        sentences.append(f"It does not survive the correction for {n_probes} probes (p {p}).")
    return sentences + [f"{flag[0].upper()}{flag[1:]}." for flag in probe.flags]


def _meaning(probe: QuestionResult, entry: LayerScore) -> str:
    """Say what a verdict means given the baselines that were run, and no other."""
    run = [*probe.baselines, *(["random"] if entry.random_weights is not None else [])]
    beneath = [BASELINES[name] for name in run if name in {"embed", "random"}]
    known = ", ".join(BASELINES[name] for name in run)
    meaning = MEANING[probe.emergence.verdict]
    return meaning.format(known=known, beneath=" or ".join(beneath))


def _baselines(probe: QuestionResult, entry: LayerScore) -> dict[str, float | None]:
    scores = {name.replace("_", " "): each.auroc[0] for name, each in probe.baselines.items()}
    random = entry.random_weights
    return {
        **scores,
        "random weights": None if random is None else random[0],
        "control task": entry.control.auroc[0],
    }


def _scores(result: BatteryResult, probes: Sequence[QuestionResult]) -> Table:
    rows: list[list[Cell]] = [
        [
            probe.name,
            *(each.value() for each in probe.baselines.values()),
            Number(_best_random(probe), ".2f"),
            *(probe.layers[layer].value() for layer in result.layers),
        ]
        for probe in probes
    ]
    random = "not run" if result.random_weights is None else "the best layer with random weights"
    note = (
        "Held-out AUROC. A star: the 95 % interval lies above 0.5, p over all layers is at most "
        f"0.05, {MIN_GROUPS} groups or more, {MIN_CLASS_GROUPS} of each class. Words and surface "
        f"use no model; random: {random}."
    )
    columns = [name.replace("_", " ") for name in probes[0].baselines]
    header = ["probe", *columns, "random", *(f"L{layer}" for layer in result.layers)]
    return Table(title="Probes by layer", header=header, rows=rows, note=note)


def _best_random(probe: QuestionResult) -> float | None:
    known = [each.random_weights for each in probe.layers.values()]
    return max((each[0] for each in known if each is not None), default=None)


def _layers(probe: QuestionResult) -> list[Part]:
    """Show every baseline and layer of one probe, and what is wrong with its rows."""
    rows: list[list[Cell]] = [
        [name.replace("_", " "), each.cell(".3f"), None, None, None, _calibration(each)]
        for name, each in probe.baselines.items()
    ]
    for layer, entry in probe.layers.items():
        random = entry.random_weights
        rows.append(
            [
                f"L{layer}",
                entry.cell(".3f"),
                Number(entry.p_any),
                Number(entry.control.auroc[0], ".2f"),
                Number(None if random is None else random[0], ".2f"),
                _calibration(entry),
            ]
        )
    header = ["", "AUROC", "p", "control", "random", "calibration error"]
    question = f": {probe.question}" if probe.question else ""
    size = f"{probe.n} prompts in {probe.n_groups} groups, {probe.n_folds} folds."
    note = " ".join([size, *_choosing(probe), *_bits(probe)])
    title = f"{probe.name} ({probe.category}){question}"
    notices = [Notice(f"{probe.name}: {flag}") for flag in probe.flags]
    return [*notices, Table(title=title, header=header, rows=rows, note=note, folded=True)]


def _calibration(entry: ProbeScore) -> Number:
    return Number(entry.calibration_error[0], ".2f")


def _choosing(probe: QuestionResult) -> list[str]:
    """Give the score of the best layer, chosen without the rows that it is scored on."""
    if probe.choosing is None:
        return []
    layers = ", ".join(f"L{layer}" for layer in sorted(set(probe.choosing.chosen_by_fold)))
    return [f"Choosing the layer inside the folds ({layers}): {interval(probe.choosing.auroc)}."]


def _bits(probe: QuestionResult) -> list[str]:
    """Give the description length of the labels, where there are prompts enough for one."""
    bits = probe.bits
    if bits is None:
        return []
    many = len(probe.layers)
    chosen = f" (the best of {many}, optimistic)" if many > 1 else ""
    return [
        f"Bits: {bits.bits:.0f} for the labels given L{bits.layer}{chosen}, "
        f"{bits.uniform_bits:.0f} without; compression {interval(bits.compression)}, "
        "1 is nothing learned."
    ]


def _without_bits(result: BatteryResult, probes: Sequence[QuestionResult]) -> list[Part]:
    if any(probe.bits is not None for probe in probes):
        return []
    least = result.bits_from_prompts
    return [Text([f"Description length (bits) needs {least} prompts, which no probe here has."])]


def _where(probes: Sequence[QuestionResult]) -> Table:
    """Show where each question emerges, strata in the order of depth that is expected."""
    strata = list(dict.fromkeys(probe.category for probe in probes))
    ordered = sorted(probes, key=lambda probe: (strata.index(probe.category), *_depth(probe)))
    rows: list[list[Cell]] = [
        [
            probe.name,
            probe.category,
            layer_text(probe.emergence.layer),
            None if probe.emergence.layer is None else layers_text(probe.emergence.interval_90),
            layer_text(probe.emergence.saturation_layer),
            layer_text(probe.emergence.threshold_layer),
            Number(probe.p_battery),
            probe.emergence.verdict,
            _already(probe) or None,
        ]
        for probe in ordered
    ]
    header = ["probe", "stratum", "emerges", "90 %", "saturates", "threshold", "p (Holm)"]
    header += ["verdict", "readable from"]
    note = (
        "Emerges: the first layer above every baseline that stays above in the next two, and where "
        "90 % of the resamples place it. Threshold: the first layer whose AUROC reaches it, "
        "whatever its uncertainty; it decides nothing."
    )
    return Table(title="Computational stratigraphy", header=header, rows=rows, note=note)


def _depth(probe: QuestionResult) -> tuple[bool, int]:
    layer = probe.emergence.layer
    return layer is None, layer or 0


def _already(probe: QuestionResult) -> str:
    found = {"tokens": probe.emergence.in_tokens, "surface": probe.emergence.on_surface}
    return ", ".join(name for name, known in found.items() if known)
