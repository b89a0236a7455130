"""What ``circuit steer`` prints: every answer, or the share of answers that meet a criterion."""

from typing import Any

from circuit.cli import console

LINE = "=" * 70


def extracted_text(data: dict[str, Any], positive: str, negative: str) -> str:
    """Lay out what was extracted from a pair of prompts."""
    lines = [
        f"Extracting direction from layer {data['layer']}...",
        f"  Positive: {positive!r}",
        f"  Negative: {negative!r}",
        "",
        "Direction extracted:",
        f"  Layer: {data['layer']}",
        f"  Norm: {data['norm']:.4f}",
        f"  Cosine similarity (pos, neg): {data['cosine_similarity']:.4f}",
        f"  Separation: {data['separation']:.4f}",
        "",
        f"Direction saved to: {data['output']}",
    ]
    return "\n".join(lines)


def answer_start(prompt: str, coefficient: float) -> str:
    """Return what stands before an answer that is shown while it is written."""
    return f"{LINE}\nPrompt: {prompt!r}\n{LINE}\n\n  Coef {coefficient:+.1f} ({_sense(coefficient)}):\n"


def answers_text(results: dict[str, Any], compared: bool) -> str:
    """Lay out every answer, prompt by prompt."""
    generations = results["generations"]
    lines = []
    if compared:
        coefficients = list(dict.fromkeys(one["coefficient"] for one in generations))
        lines = [f"Comparing steering at coefficients: {coefficients}", ""]
    for prompt in dict.fromkeys(one["prompt"] for one in generations):
        lines += [LINE, f"Prompt: {prompt!r}", LINE]
        for one in generations:
            if one["prompt"] == prompt:
                sense = _sense(one["coefficient"])
                lines += [
                    "",
                    f"  Coef {one['coefficient']:+.1f} ({sense}):{_beside(one)}",
                    f"    {one['output']!r}",
                ]
        lines.append("")
    return "\n".join(lines).rstrip()


def _beside(answer: dict[str, Any]) -> str:
    """Say what is odd about an answer."""
    notes = {
        "the probe is silent: not steered": answer["coefficient"] and not answer["steered"],
        "falls into repetition": answer["collapsed"],
    }
    return "".join(f" [{note}]" for note, is_so in notes.items() if is_so)


def _sense(coefficient: float) -> str:
    if coefficient == 0:
        return "neutral"
    return "→ positive" if coefficient > 0 else "← negative"


def trial_text(results: dict[str, Any]) -> str:
    """Lay out the shares of a trial as a table, random directions below the direction."""
    trial, direction = results["trial"], results["direction"]
    coefficients = sorted({rate["coefficient"] for rate in trial["rates"]})
    title = (
        f"Share of answers that meet `{trial['criterion']}`: direction `{direction['name']}`, "
        f"layer {direction['layer']}, {trial['n_controls']} random directions of the same norm"
    )
    rows = []
    for label in dict.fromkeys(rate["label"] for rate in trial["rates"]):
        own = [rate for rate in trial["rates"] if rate["label"] == label]
        own.sort(key=lambda rate: float(rate["coefficient"]))
        named = f"{label} (n={own[0]['n']}, {own[0]['n_groups']} groups)"
        rows.append([named] + [_own(rate) for rate in own])
        if trial["n_controls"]:
            rows.append(["  random: mean (range)"] + [_random(rate) for rate in own])
            rows.append(["  p"] + [_p(rate) for rate in own])
    return (
        title
        + "\n\n"
        + console.table(["", *(f"c = {c:+g}" if c else "c = 0" for c in coefficients)], rows)
    )


def _own(rate: dict[str, Any]) -> str:
    low, high = rate["interval"]
    return f"{rate['rate']:.2f} [{low:.2f}, {high:.2f}]"


def _random(rate: dict[str, Any]) -> str:
    shares = rate["controls"]
    if not shares:
        return ""
    return f"{sum(shares) / len(shares):.2f} ({min(shares):.2f} to {max(shares):.2f})"


def _p(rate: dict[str, Any]) -> str:
    return "" if rate["p"] is None or not rate["controls"] else f"{rate['p']:.2f}"
