"""What ``circuit introspect analyze`` prints: predictions, and how they come about layer by layer."""

from typing import Any

BAR = 50  # characters of a probability of 1


def analysis_text(results: dict[str, Any]) -> str:
    """Lay out the model and every analysis."""
    about = results["model"]
    lines = [
        f"Model: {about['id']}",
        f"  Family: {about['family']}",
        f"  Layers: {about['n_layers']}",
        f"  Hidden size: {about['d_model']}",
        f"  Vocab size: {about['vocab_size']}",
        f"  Tied embeddings: {about['tied_embeddings']}",
    ]
    for each in results["analyses"]:
        lines += ["", *_analysis(each)]
    return "\n".join(lines)


def _analysis(found: dict[str, Any]) -> list[str]:
    lines = [
        f"Analyzing: {found['prompt']!r}",
        "",
        f"Tokens ({len(found['tokens'])}): {found['tokens']}",
        f"Captured layers: {found['captured_layers']}",
        "",
        "=== Final Prediction ===",
        *(_bar(one["probability"], repr(one["token"])) for one in found["final_prediction"]),
        "",
        "=== Logit Lens (top prediction at each layer) ===",
        *(_layer(layer) for layer in found["layer_predictions"]),
    ]
    if found["layer_transitions"]:
        lines += ["", "=== Layer Transitions (nats) ===", *_transitions(found["layer_transitions"])]
    decision = found["decision_layer"]
    lines += ["", f"Decision layer: {'none' if decision is None else decision}"]
    if found["token_evolutions"]:
        lines += ["", "=== Token Evolution ==="]
        for token in found["token_evolutions"]:
            lines += _evolution(token)
    return lines


def _layer(layer: dict[str, Any]) -> str:
    first = layer["predictions"][0]
    text = f"  Layer {layer['layer_idx']:2d}: {first['token']!r} ({first['probability']:.4f})"
    if layer["entropy"] is None:
        return text
    return (
        f"{text}  entropy {layer['entropy']:.3f} ({layer['normalized_entropy']:.2f} of the largest)"
    )


def _transitions(steps: list[dict[str, Any]]) -> list[str]:
    largest = max(step["kl_divergence"] for step in steps)
    return [
        f"  {step['from_layer']:2d} -> {step['to_layer']:2d}: KL {step['kl_divergence']:.3f}, JS {step['js_divergence']:.3f}"
        + ("  <-- largest" if step["kl_divergence"] == largest else "")
        for step in steps
    ]


def _evolution(token: dict[str, Any]) -> list[str]:
    pieces = token["pieces"]
    several = f" ({len(pieces)} tokens: {pieces}; the first is followed)" if len(pieces) > 1 else ""
    lines = [f"Token {token['token']!r}{several}:"]
    for layer, p in token["layer_probabilities"].items():
        bar = "#" * round(BAR * p)
        rank = token["layer_ranks"][layer]
        lines.append(f"  Layer {int(layer):2d}: {p:.4f} {bar}{' ' if bar else ''}(rank {rank})")
    emerged = token["emergence_layer"]
    lines.append(
        "  --> Never the likeliest of the layers looked at"
        if emerged is None
        else f"  --> Becomes top-1 at layer {emerged}"
    )
    return lines


def _bar(p: float, name: str) -> str:
    return f"  {p:.4f} {'#' * max(1, round(BAR * p))} {name}"
