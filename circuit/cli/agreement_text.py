"""How the labels that the model gave by its answers agree with those of the prompts, as text."""

from typing import Any

from circuit.cli import console


def agreement(found: dict[str, Any] | None) -> list[str]:
    """Return the lines of the table; none where the labels are the prompts' own."""
    if found is None:
        return []
    lines = [
        f"Labels: what the model did, by `{found['criterion']}` "
        f"({found['n']} answers of at most {found['max_tokens']} tokens, "
        f"{found['unfinished']} cut off there)"
    ]
    if found["labels"]:
        rows = [
            [label, *map(str, counts)]
            for label, counts in zip(found["labels"], found["counts"], strict=True)
        ]
        lines.append(console.table(["label", *found["classes"]], rows))
    if found["n_differing"] is not None:
        meaning = f"`{found['labels'][1]}` taken to mean `{found['classes'][1]}`"
        lines.append(
            f"{found['n_differing']} of {found['n']} prompts differ from their label ({meaning})"
        )
    return lines
