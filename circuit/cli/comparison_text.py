"""What ``circuit introspect compare`` prints: both models side by side, prompt by prompt, and what holds over all."""

from typing import Any

from circuit.cli import console
from circuit.cli.figures_text import claim, estimate
from circuit.introspect.compare.vocabulary import is_whole

Record = dict[str, Any]


def comparison_text(results: Record) -> str:
    """Lay out a comparison of two models."""
    names = _names(results["models"])
    lines = [
        f"{name}: {m['family']}, {m['n_layers']} layers of {m['d_model']}"
        for name, m in zip(names, results["models"], strict=True)
    ]
    if not results["same_vocabulary"]:
        lines.append(
            "Their tokenizers differ: answers are compared by their text, distributions are not."
        )
    for each in results["prompts"]:
        lines += ["", *_prompt(each, names)]
    if len(results["prompts"]) > 1:
        lines += ["", *_summary(results, names)]
    return "\n".join([*lines, *claim(results["n_groups"])])


def _names(models: list[Record]) -> list[str]:
    names = [m["name"] for m in models]
    return names if len(set(names)) == 2 else [f"{name} ({i})" for i, name in enumerate(names, 1)]


def _prompt(found: Record, names: list[str]) -> list[str]:
    a, b = found["views"]
    lines = [
        f"Prompt: {found['prompt']!r} ({a['n_tokens']} and {b['n_tokens']} tokens, {'the same' if found['same_answer'] else 'another'} answer)",
        "",
        "=== Final Predictions ===",
        _side_by_side(found, names),
        "",
        "=== Emergence ===",
        *(_emerged(view, name) for view, name in zip((a, b), names, strict=True)),
        "",
        "=== The other's answer ===",
        *(f"  {name}: {_seen(v['others_answer'])}" for v, name in zip((a, b), names, strict=True)),
    ]
    if found["js"] is not None:
        lines.append(
            f"  JS {found['js']:.4f} nats, KL(1‖2) {found['kl_1_2']:.4f}, KL(2‖1) {found['kl_2_1']:.4f}"
        )
    if a["tracked"]:
        lines += ["", "=== Tracked tokens ==="]
        for one, other in zip(a["tracked"], b["tracked"], strict=True):
            lines += [f"  {name}: {_seen(s)}" for name, s in zip(names, (one, other), strict=True)]
    return lines


def _side_by_side(found: Record, names: list[str]) -> str:
    a, b = (view["predictions"] for view in found["views"])
    rows = [
        [str(i + 1), *(f"{text!r} {p:.4f}" for text, p in (x, y))]
        for i, (x, y) in enumerate(zip(a, b, strict=False))
    ]
    return console.table(["rank", *names], rows)


def _emerged(view: Record, name: str) -> str:
    if view["emergence_layer"] is None:
        return f"  {name}: {view['answer']!r}"
    return (
        f"  {name}: {view['answer']!r} is the likeliest from layer {view['emergence_layer']} on "
        f"({view['depth']:.0%} of the depth)"
    )


def _seen(seen: Record) -> str:
    if seen["rank"] is None and not is_whole(seen["text"]):
        return f"{seen['text']!r} is a piece of a character: not compared"
    if seen["rank"] is None:
        pieces = ", ".join(map(repr, seen["pieces"]))
        return f"{seen['text']!r} is no token of it (it makes {pieces} of it): no rank"
    text = f"{seen['text']!r} has rank {seen['rank']}, p {seen['probability']:.4f}"
    if seen["emergence_layer"] is not None:
        text += f", top-1 first at layer {seen['emergence_layer']}"
    return text


def _summary(results: Record, names: list[str]) -> list[str]:
    low, high = results["agreement_interval"]
    lines = [
        f"=== Over {len(results['prompts'])} prompts ===",
        f"  Same answer: {results['agreement']:.2f} [{low:.2f}, {high:.2f}]",
    ]
    if results["js"] is not None:
        lines.append(f"  JS: {estimate(results['js'], '.4f')} nats")
    for name, depth in zip(names, results["depth"], strict=True):
        if depth is not None:
            lines.append(f"  Depth of emergence, {name}: {estimate(depth, '.2f')}")
    return lines
