"""What ``circuit introspect attention`` prints: of each kind of head the ones that are most of that kind."""

from typing import Any

from circuit.cli import console
from circuit.cli.figures_text import claim, counted

TOP = 5
ABOUT = {
    "previous": "looks at the token before",
    "first": "looks at the first token",
    "self": "looks at the token itself",
    "duplicate": "looks at an earlier copy of the token",
    "induction": "looks at what came after an earlier copy",
    "entropy": "spreads its attention (share of the largest entropy)",
}


def attention_text(results: dict[str, Any]) -> str:
    """Lay out the scores."""
    n, repeated = len(results["prompts"]), results["n_repeated"]
    lines = [
        f"Attention of `{results['model']}`: {counted(n)}, {results['format']}; "
        f"duplicate and induction on {repeated} sequences of random tokens said twice",
    ]
    for name, about in ABOUT.items():
        found = [s for s in results["scores"] if s["score"] == name]
        if found:
            best = sorted(found, key=lambda s: -s["value"])[:TOP]
            even = results["uniform"][name]
            rows = [[f"L{s['layer']}.H{s['head']}", _value(s)] for s in best]
            lines += ["", f"{name}: {about} (all alike: {even:.3f})"]
            lines.append(console.table(["head", "score"], rows))
    if (first := results["patterns"][0]) and n > 1:
        names = ", ".join(f"L{p['layer']}.H{p['head']}" for p in first)
        lines += [
            "",
            f"Patterns of {names}: the file has those of every prompt, the picture those of {results['prompts'][0]!r}.",
        ]
    lines += ["", "A pattern says where a head looks, not what it moves."]
    return "\n".join([*lines, *claim(results["n_groups"])])


def _value(score: dict[str, Any]) -> str:
    if score["interval"] is None:
        return f"{score['value']:.3f}"
    low, high = score["interval"]
    return f"{score['value']:.3f} [{low:.3f}, {high:.3f}]"
