"""Measure the embedded model on prompts that it was not trained on, and write its card.

    python pipelines/tiny/evaluate.py --model circuit/assets/tiny

Prints the table of scores, each with its 95 % Wilson interval, and with `--write` puts it between the
markers of the README.md beside the weights, with the facts of `training.json`. `--share 0.2` takes a fifth of the prompts.
"""

import argparse
import json
from pathlib import Path

from abilities import ABILITIES, Row

from circuit.methods.uncertainty.scores import wilson
from circuit.model.checkpoint.loading import load_model

CARD = Path(__file__).parent / "card.md"
AIMS = {"a": 95, "b": 95, "c": 90, "d": 80, "e": 90}
MARKERS = ("<!-- {} -->", "<!-- end of {} -->")


def measure(folder: Path, share: float = 1.0, only: str = "abcde") -> list[Row]:
    """Return the rows of the card."""
    model = load_model(str(folder), dtype="float32")
    return [row for key in only for row in ABILITIES[key](model, share)]


def table(rows: list[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        "| | measured on held-out prompts | % | 95 % interval | n | aim |",
        "|---|---|---|---|---|---|",
    ]
    seen: set[str] = set()
    for row in rows:
        low, high = wilson(row.right, row.n)
        first = row.ability not in seen
        seen.add(row.ability)
        aim = str(AIMS[row.ability]) if first else ""
        name = f"**{row.name}**" if first else row.name
        share = f"{100 * row.right / row.n:.1f}"
        interval = f"{100 * low:.1f} to {100 * high:.1f}"
        lines.append(f"| {row.ability} | {name} | {share} | {interval} | {row.n} | {aim} |")
    return "\n".join(lines)


def verdict(rows: list[Row]) -> str:
    """Return one sentence on the aims that were missed."""
    main = {row.ability: row for row in reversed(rows)}
    missed = [
        f"({key}) {100 * row.right / row.n:.1f} % instead of {AIMS[key]} %"
        for key, row in sorted(main.items())
        if 100 * row.right / row.n < AIMS[key]
    ]
    return f"Short of its aim: {'; '.join(missed)}." if missed else "Every aim was reached."


def facts(folder: Path) -> str:
    """Return the facts of the training as a list."""
    data = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    examples = ", ".join(f"{count:,} {name}" for name, count in data["examples"].items())
    return (
        f"- seed {data['seed']}, {data['steps']:,} of {data['steps_planned']:,} steps, "
        f"{data['tokens']:,} tokens with padding\n"
        f"- examples: {examples}\n"
        f"- {data['minutes']} minutes on {data['machine']}"
        + (f"\n- {data['note']}" if data.get("note") else "")
    )


def write_card(folder: Path, rows: list[Row]) -> None:
    """Write README.md: the text of card.md with the measured parts filled in."""
    text = CARD.read_text(encoding="utf-8")
    for name, content in (
        ("scores", f"{table(rows)}\n\n{verdict(rows)}"),
        ("training", facts(folder)),
    ):
        start, end = (marker.format(name) for marker in MARKERS)
        before, rest = text.split(start)
        text = f"{before}{start}\n{content}\n{end}{rest.split(end)[1]}"
    (folder / "README.md").write_text(text, encoding="utf-8")


def main() -> None:
    """Read the command line, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=Path("circuit/assets/tiny"))
    parser.add_argument("--share", type=float, default=1.0, help="part of the prompts")
    parser.add_argument("--only", default="abcde", help="abilities, by letter")
    parser.add_argument("--write", action="store_true", help="write the card")
    options = parser.parse_args()
    rows = measure(options.model.resolve(), options.share, options.only)
    print(table(rows))
    if options.write:
        write_card(options.model, rows)


if __name__ == "__main__":
    main()
