"""What ``circuit dataset`` prints about a prompt set: counts, samples, the surface of its labels, its verdict."""

from typing import Any

from circuit.cli import console


def checked(data: dict[str, Any]) -> str:
    """Lay out everything about one file."""
    lines = [f"{each['level']}: {each['message']}" for each in data["findings"]]
    return "\n".join(
        [data["file"], summary(data), "", _surface(data["surface"]), "", *lines, *_verdict(data)]
    )


def _verdict(data: dict[str, Any]) -> list[str]:
    verdict = data["verdict"]
    lines = [
        f"{name}: {value:.2f}  [{low:.2f}, {high:.2f}]  held-out AUROC without a model, chance 0.5"
        for name, (value, low, high) in verdict["baselines"].items()
    ]
    return [
        *lines,
        "Clean." if verdict["clean"] else "Not clean:",
        *map("  ".__add__, verdict["reasons"]),
    ]


def verdicts(documents: list[dict[str, Any]]) -> str:
    """Lay out the verdicts of several files, one a line."""
    rows, measured = [], [data["verdict"]["baselines"] for data in documents]
    names = next(filter(None, measured), {"words": None})
    for data in documents:
        verdict = data["verdict"]
        scores = [f"{score[0]:.2f}" for score in verdict["baselines"].values()]
        scores = scores or ["-"] * len(names)
        clean = "clean" if verdict["clean"] else "not clean"
        rows.append([data["name"], str(data["prompts"]), str(data["groups"]), *scores, clean])
    return console.table(
        ["set", "prompts", "groups", *(n.replace("_", " ") for n in names), "verdict"], rows
    )


def summary(data: dict[str, Any]) -> str:
    """Lay out the counts of a set below a title."""
    return "\n".join(["Dataset Summary:", *counts(data)])


def counts(data: dict[str, Any]) -> list[str]:
    """Count the prompts by label, category and tool."""
    lines = [f"  Total prompts: {data['prompts']}"]
    lines += _indented("By label:", {**data["labels"], "(no label)": data["unlabelled"]})
    lines += _indented("By category:", data["categories"])
    lines += _indented("By tool:", data["tools"])
    lines.append(f"  Groups: {data['groups']}")
    return [*lines, f"  Pairs: {data['pairs']}"] if data["pairs"] else lines


def _indented(title: str, counts: dict[str, int]) -> list[str]:
    entries = [f"    {name}: {count}" for name, count in counts.items() if count]
    return [f"  {title}", *entries] if entries else []


def sample(prompt: dict[str, Any]) -> str:
    """Show a prompt in one line; the text in quotes, since its blanks matter."""
    tags = [prompt["category"] or "-", prompt["expected_tool"] or prompt["label"] or "-"]
    text = prompt["text"]
    shown = repr(text if len(text) <= 60 else f"{text[:57]}...")
    return f"  [{tags[0]}] [{tags[1]}]: {shown}"


def _surface(surface: dict[str, dict[str, float]]) -> str:
    labels = list(next(iter(surface.values()), {}))
    rows = [[name, *(f"{means[label]:.2f}" for label in labels)] for name, means in surface.items()]
    return console.table(["mean per prompt", *labels], rows)
