"""What the verbs of ``circuit concepts`` print."""

from typing import Any

from circuit.cli import console


def built_text(results: dict[str, Any]) -> str:
    """Lay out the held-out score of every concept at every layer."""
    found: dict[str, dict[int, Any]] = {}
    for each in results["directions"]:
        found.setdefault(each["name"], {})[each["layer"]] = each
    layers = sorted({each["layer"] for each in results["directions"]})
    named = {layer: name for name, layer in results["depths"].items()}
    header = ["concept", *(f"{named.get(layer, 'layer')} ({layer})" for layer in layers), "norm"]
    rows = [
        [name, *(_auroc(own.get(layer)) for layer in layers), _norms(own)]
        for name, own in found.items()
    ]
    positions = {k: v for k, v in results["positions"].items() if v is not None}
    means = ", ".join(f"{value:.2f} at `{name}`" for name, value in positions.items())
    return "\n".join(
        [
            f"{len(results['directions'])} vectors of `{results['model']}` ({results['n_layers']} layers)",
            "",
            console.table(header, rows),
            "",
            "Held-out AUROC with its 95 % interval: how well texts with the concept are told from neutral ones about the same",
            "thing. The words tell them apart as well; whether the model uses the direction, `concepts scan` measures.",
            *([f"Mean of all: {means} position; the vectors are of the first."] if means else []),
            "",
            f"Saved to: {results['archive']}",
        ]
    )


def listed_text(listed: list[dict[str, Any]], model: str | None) -> str:
    """Lay out what concepts there are, and where they have been fitted."""
    header = ["concept", "category", *(["layers: held-out AUROC"] if model else [])]
    rows = [
        [each["name"], each["category"], *([_layers(each["layers"])] if model else [])]
        for each in listed
    ]
    return console.table(header, rows)


def trial_text(results: dict[str, Any]) -> str:
    """Show what was added, and both answers to every prompt."""
    lines = [
        f"{each['name']}: strength {each['strength']:g} x {each['norm']:.1f}"
        + ("" if each["share"] is None else f", {each['share']:.0%} of the residual's norm")
        + (f", held-out AUROC {each['auroc'][0]:.2f}" if each["auroc"] else "")
        for each in results["concepts"]
    ]
    lines += [results["note"], ""]
    for each in results["answers"]:
        lines += [f"Prompt: {each['prompt']!r}"]
        lines += [f"  {kind:8}{_answer(each[kind])}" for kind in ("plain", "steered")]
        lines.append("")
    return "\n".join(lines).rstrip()


def scan_text(results: dict[str, Any]) -> str:
    """Lay out effect, damage and coherence at every point, then the answers."""
    over_layers = results["over"] == "layers"
    key = "layer" if over_layers else "strength"
    header = [key, "of norm", "effect", "random", "p", "KL", "random", "repeated-4"]
    rows = [_point(point, key) for point in results["points"]]
    first = results["points"][0]
    fixed = f"strength {first['strength']:g}" if over_layers else f"layer {first['layer']}"
    lines = [
        f"`{results['name']}` at {fixed}",
        "",
        console.table(header, rows),
        "",
        f"effect: nats per token that {results['n_held_out']} held-out texts with the concept gain beyond neutral ones, 95 % over groups.",
        f"KL: nats per token on {results['n_neutral']} neutral prompts. random: {results['controls']} directions of the same length.",
        *_verdict(results),
        "",
    ]
    for row, plain in enumerate(results["unsteered"]):
        lines += [f"Prompt: {plain['prompt']!r}", f"  plain   {_answer(plain)}"]
        lines += [f"  {p[key]:<8g}{_answer(p['answers'][row])}" for p in results["points"]]
        lines.append("")
    return "\n".join(lines).rstrip()


def _verdict(results: dict[str, Any]) -> list[str]:
    """Say at how many points the concept does what random directions do not."""
    points = [point for point in results["points"] if point["effect"] is not None]
    if not points:
        return ["No text was held out (too few), so there is no effect to measure."]
    if not results["controls"]:
        return []
    beyond = sum(p["effect"][1] > 0 and p["effect"][0] > max(p["random_effects"]) for p in points)
    return [
        f"Above 0, and above every random direction, at {beyond} of {len(points)} points."
        + ("" if beyond else " Nothing here says that the model uses it.")
    ]


def _point(point: dict[str, Any], key: str) -> list[str]:
    share, answers = point["share"], point["answers"]
    repeated = sum(a["repeated_4"] for a in answers) / len(answers) if answers else None
    return [
        f"{point[key]:g}",
        "" if share is None else f"{share:.0%}",
        "" if point["effect"] is None else _interval(point["effect"], "+.2f"),
        _range(point["random_effects"], "+.2f"),
        "" if point["p"] is None else f"{point['p']:.2f}",
        _interval(point["kl"], ".2f"),
        _range(point["random_kl"], ".2f"),
        "" if repeated is None else f"{repeated:.2f}",
    ]


def _answer(answer: dict[str, Any]) -> str:
    return repr(answer["text"]) + ("  (repetition)" if answer["collapsed"] else "")


def _interval(value: list[float], form: str) -> str:
    middle, low, high = value
    return f"{middle:{form}} [{low:{form}}, {high:{form}}]"


def _range(values: list[float], form: str) -> str:
    return f"{min(values):{form}} to {max(values):{form}}" if values else ""


def _auroc(each: dict[str, Any] | None) -> str:
    if each is None or "auroc" not in each:
        return "-"
    middle, low, high = each["auroc"]
    return f"{middle:.2f} [{low:.2f}, {high:.2f}]"


def _norms(own: dict[int, Any]) -> str:
    return ", ".join(f"{own[layer]['norm']:.1f}" for layer in sorted(own))


def _layers(layers: list[dict[str, Any]]) -> str:
    if not layers:
        return "not built"
    return ", ".join(
        f"{each['layer']}: " + (f"{each['auroc'][0]:.2f}" if each["auroc"] else "-")
        for each in layers
    )
