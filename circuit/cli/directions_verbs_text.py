"""What the verbs of ``circuit directions`` print."""

from typing import Any

from circuit.cli import console
from circuit.cli.directions_text import WIDEST, matrix_text, strongest_text

Record = dict[str, Any]


def compared_text(results: Record) -> str:
    """Lay out a matrix for each site and layer, with its verdict."""
    blocks = [_place(each) for each in results["places"]]
    if alone := results["alone"]:
        blocks.append(f"{len(alone)} more directions lie alone at their site and layer.")
    return "\n\n".join(blocks)


def _place(found: Record) -> str:
    chance, names = found["chance"], found["names"]
    heading = (
        f"{found['site']}, layer {found['layer']}: cosines of {len(names)} directions (d = {found['d']}; random "
        f"directions: |cos| {chance['mean']:.2f}, 95 % below {chance['bound_95']:.2f})"
    )
    show = matrix_text if len(names) <= WIDEST else strongest_text
    lines = [heading, show(names, found["matrix"]), _verdict(found)]
    if not found["same_weights"]:
        models = ", ".join(found["models"])
        lines.append(
            f"Made with different weights ({models}): a cosine means something only where one model was trained "
            "from the other."
        )
    return "\n".join(lines)


def _verdict(found: Record) -> str:
    largest, names = found["largest"], found["names"]
    pair = f"{names[largest['a']]} and {names[largest['b']]}, {largest['cosine']:+.2f}"
    threshold = found["threshold"]
    bound, what = found["chance"]["bound_95_of_largest"], "what chance gives"
    if threshold is not None:
        bound, what = threshold, "--threshold"
    counts = found["counts"]
    n_pairs = len(found["pairs"])
    of = "the pair" if n_pairs == 1 else f"the largest of {n_pairs} pairs"
    if found["orthogonal"]:
        return f"Orthogonal: {of} ({pair}) is within {what} ({bound:.2f})."
    tally = ", ".join(f"{n} {verdict}" for verdict, n in counts.items())
    return f"Not orthogonal: {of} ({pair}) is above {what} ({bound:.2f}). Pairs: {tally}."


def tally_text(results: Record) -> str:
    """Count the pairs of all places by their verdict."""
    places = results["places"]
    kinds = list(places[0]["counts"])
    counts = {kind: sum(place["counts"][kind] for place in places) for kind in kinds}
    lines = ["=== Pairs ===", *(f"  {kind.capitalize()}: {n}" for kind, n in counts.items())]
    return "\n".join(lines)


def shown_text(results: Record) -> str:
    """Lay out what a steering file holds, where it came from, and the tokens of one direction."""
    lines = [f"{results['file']}: {_counted(results['directions'])}", ""]
    lines += [_table(results["directions"]), "", *_provenance(results)]
    if tokens := results.get("tokens"):
        lines += ["", *_tokens(tokens)]
    return "\n".join(lines)


def _counted(found: list[Record]) -> str:
    return "1 direction" if len(found) == 1 else f"{len(found)} directions"


def _table(found: list[Record]) -> str:
    header = [
        "direction",
        "site",
        "layer",
        "method",
        "from -> to",
        "norm",
        "AUROC",
        "95% interval",
        "shuffled",
        "n (groups)",
    ]
    return console.table(header, [_row(each) for each in found])


def _row(each: Record) -> list[str]:
    quality = each["quality"]
    labels = f"{each['negative_label'] or '?'} -> {each['positive_label'] or '?'}"
    return [
        each["name"] + (" *" if each["recommended"] else ""),
        each["site"],
        str(each["layer"]),
        each["method"] or "-",
        labels,
        f"{each['norm']:.3g}",
        *_auroc(quality.get("auroc")),
        f"{quality['shuffled'][0]:.2f}" if quality.get("shuffled") else "-",
        f"{quality['n']} ({quality['n_groups']})" if "n_groups" in quality else "-",
    ]


def _auroc(estimate: list[float] | None) -> list[str]:
    if estimate is None:
        return ["-", "-"]
    value, low, high = estimate
    return [f"{value:.3f}", f"{low:.2f}-{high:.2f}"]


def _provenance(results: Record) -> list[str]:
    lines = []
    if not any(each["quality"] for each in results["directions"]):
        lines.append("Nothing is known of how well it separates anything.")
    elif any(each["recommended"] for each in results["directions"]):
        lines.append("* what `circuit steer` takes when it is not told otherwise")
    lines += [f"{name}: {value}" for name, value in results["provenance"].items()]
    return lines


def _tokens(found: Record) -> list[str]:
    step = f"{found['coefficient']:g}"
    lines = [
        f"Tokens of {found['name']} ({found['site']} {found['layer']}): logits at +{step} v |h| minus at -{step} v |h|",
        f"(|h| and h of the last block, {found['n_prompts']} prompts, mean over the vocabulary taken off; direct effect only, "
        f"nothing of what later blocks make of it; the strongest token of a random direction has "
        f"{found['random'][0]:.2f}, 95 % below {found['random'][1]:.2f})",
    ]
    for side in ("promoted", "suppressed"):
        rows = [
            [
                repr(each["token"]),
                f"{each['difference']:+.2f}",
                f"{each['low']:+.2f} to {each['high']:+.2f}",
            ]
            for each in found[side]
        ]
        lines += ["", console.table([side, "logits", "over prompts"], rows)]
    return lines


def transferred_text(results: Record) -> str:
    """Lay out how each direction scores on the prompts of another archive."""
    header = [
        "direction",
        "layer",
        "AUROC",
        "95% interval",
        "shuffled",
        "p",
        "p_any",
        "d'",
        "at home",
    ]
    rows = [_transferred_row(each) for each in results["directions"]]
    place = (
        f"{results['archive']}: {results['negative_label']} -> {results['positive_label']}, "
        f"{results['site']} at `{results['position']}`"
    )
    counted = f"(n = {results['n']} in {results['n_groups']} groups; none of these prompts had part in the fit"
    counted += f"; {results['n_left_out']} that had are left out)" if results["n_left_out"] else ")"
    if not results["overlap_known"]:
        counted = f"(n = {results['n']} in {results['n_groups']} groups; whether they had part in the fit is not known)"
    return "\n".join([place, console.table(header, rows), counted])


def _transferred_row(each: Record) -> list[str]:
    value, low, high = each["auroc"]
    shuffled, home = each["shuffled"], each["at_home"]
    return [
        each["name"],
        str(each["layer"]),
        f"{value:.3f}",
        f"{low:.2f}-{high:.2f}",
        f"{shuffled[0]:.2f} ({shuffled[1]:.2f}-{shuffled[2]:.2f})",
        f"{each['p']:.3f}",
        f"{each['p_any']:.3f}",
        "-" if each["d_prime"] is None else f"{each['d_prime']:.2f}",
        "-" if home is None else f"{home[0]:.3f}",
    ]
