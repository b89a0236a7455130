"""What ``circuit introspect circuit`` prints: the set, how much of the behaviour it keeps, and what random sets keep."""

from typing import Any

from circuit.cli import console


def circuit_text(results: dict[str, Any]) -> str:
    """Lay out a found circuit."""
    n = results["prompts"]
    against = "all other tokens" if results["wrong"] is None else repr(results["wrong"])
    nodes = results["nodes"]
    found = [node for node in nodes if node["is_found"]]
    rows = [
        [
            node["name"],
            f"{node['estimate']:+.3f}",
            "–" if node["effect"] is None else f"{node['effect']:+.3f}",
        ]
        for node in found
    ]
    correlation = results["rank_correlation"]
    ranks = "cannot be computed" if correlation is None else f"{correlation:.2f}"
    kinds = {k: sum(node["kind"] == k for node in found) for k in ("head", "mlp", "embed")}
    return "\n".join(
        [
            f"What decides for {results['answer']!r} against {against} in `{results['model']}`: "
            f"`{results['prompts_name']}`, {results['format']}",
            f"Prompts: {n['search, positive']} and {n['search, negative']} for the search, "
            f"{n['held out, positive']} and {n['held out, negative']} held out",
            f"The labels are {_bounds(results['behaviour'])} logits apart; with every part at its mean {results['nothing']:+.2f}",
            "",
            f"Found: {len(found)} of {len(nodes)} nodes ({kinds['head']} heads, {kinds['mlp']} MLPs"
            + (", the embedding)" if kinds["embed"] else ")"),
            "Without it alone, as a share of the whole (estimates and effects: rank correlation "
            f"{ranks} among the verified):",
            console.table(["node", "estimate", "effect"], rows),
            "",
            f"Faithfulness, held out: {_bounds(results['faithfulness'])} (search: {results['search_faithfulness']:.3f}, aim: {results['keep']:g})",
            f"The embedding and all nodes but these: {_bounds(results['without'])}",
            _random(results),
            *_exhausted(nodes, bool(results["random"])),
        ]
    )


def _bounds(estimate: list[float]) -> str:
    value, low, high = estimate
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _exhausted(nodes: list[dict[str, Any]], are_drawn: bool) -> list[str]:
    """Say which kinds are found whole, so that random sets of as many of each kind cannot do without them."""
    names = {"head": "heads", "mlp": "MLPs", "embed": "the embedding"}
    there = {kind: [n["is_found"] for n in nodes if n["kind"] == kind] for kind in names}
    whole = [kind for kind, found in there.items() if found and all(found)]
    if not are_drawn or not {"head", "mlp"} & {*whole}:
        return []
    said = " and ".join(names[k] if k == "embed" else f"all {names[k]}" for k in whole)
    compared = [names[k] for k in ("head", "mlp") if any(there[k]) and not all(there[k])]
    what = f"{' and '.join(compared)} only are compared" if compared else "nothing is compared"
    return [f"Every random set has {said} too: {what}."]


def _random(results: dict[str, Any]) -> str:
    if not results["random"]:
        return "No random sets were drawn."
    low, high = results["random_band"]
    return (
        f"{len(results['random'])} random sets of as many heads and MLPs: 5 to 95 % at "
        f"{low:.3f} to {high:.3f}, at most {max(results['random']):.3f}"
    )
