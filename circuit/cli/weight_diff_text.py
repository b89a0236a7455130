"""What ``circuit introspect weight-diff`` prints: components, layers, and the tensors that changed most."""

from typing import Any

from circuit.cli import console

Record = dict[str, Any]
MUCH, MARK = 0.1, "***"  # a larger relative change is marked
KINDS = ("attention", "mlp", "norm")
RANKS = (
    "Of B - A: the largest singular values, the stable rank (sum of their squares / the largest square), "
    "the effective rank (exp of the entropy of their shares)"
)


def weight_diff_text(results: Record, *, top: int) -> str:
    """Lay out the difference of two checkpoints."""
    tensors, components = results["tensors"], results["components"]
    lines = [
        f"Base: {results['base']}",
        f"Fine-tuned: {results['finetuned']}",
        f"{len(tensors)} tensors, {results['n_equal']} of them equal",
        *_depths(results["n_layers"]),
        *_storage(tensors),
        "",
        "=== Components ===",
        _components([*(c for c in components if c["layer"] is None), results["whole"]]),
    ]
    if any(each["layer"] is not None for each in components):
        lines += ["", "=== Relative change by layer ===", _layers(components)]
    changed = [each for each in tensors if each["largest"]]
    if changed:
        lines += ["", "=== Changed most ===", _tensors(changed, top)]
        if any(each["spectrum"] is not None for each in changed):
            lines.append(RANKS)
        if results["n_without_spectrum"]:
            n = results["n_without_spectrum"]
            lines.append(f"No spectrum of {n} tensors (--spectrum, --largest-svd)")
    if any(MARK in line for line in lines):
        lines.append(f"{MARK}: a relative change over {MUCH:g}")
    return "\n".join([*lines, *_missing(results)])


def _depths(n_layers: tuple[int, int]) -> list[str]:
    if n_layers[0] == n_layers[1]:
        return []
    return [f"They have {n_layers[0]} and {n_layers[1]} blocks: those of one number are compared"]


def _storage(tensors: list[Record]) -> list[str]:
    kinds = sorted({tuple(each["stored"]) for each in tensors if len(set(each["stored"])) > 1})
    return [f"Stored as {a} and {b}: rounding is part of the difference" for a, b in kinds]


def _components(found: list[Record]) -> str:
    header = ["component", "tensors", "numbers", "|B - A| / |A|", "cosine"]
    rows = [
        [
            each["kind"],
            str(each["n_tensors"]),
            f"{each['n_numbers']:,}",
            _number(each["relative"]),
            _number(each["cosine"], ".6f"),
        ]
        for each in found
    ]
    return console.table(header, rows)


def _layers(components: list[Record]) -> str:
    known = {(c["layer"], c["kind"]): c["relative"] for c in components if c["layer"] is not None}
    rows = [
        [str(layer), *(_marked(known.get((layer, kind), "-")) for kind in KINDS)]
        for layer in sorted({layer for layer, _ in known})
    ]
    return console.table(["layer", *KINDS], rows)


def _marked(value: float | str | None) -> str:
    if isinstance(value, str):
        return value
    return _number(value) + (f" {MARK}" if value is not None and value > MUCH else "")


def _tensors(changed: list[Record], top: int) -> str:
    order = sorted(changed, key=lambda each: -(each["relative"] or float("inf")))
    header = [
        "tensor",
        "shape",
        "|B - A| / |A|",
        "cosine",
        "singular values",
        "stable",
        "effective",
    ]
    return console.table(header, [_row(each) for each in order[:top]])


def _row(each: Record) -> list[str]:
    found = each["spectrum"]
    values = "-" if found is None else " ".join(f"{v:.3g}" for v in found["values"])
    ranks = ["-", "-"]
    if found is not None:
        ranks = [f"{found['stable_rank']:.1f}", f"{found['effective_rank']:.1f}"]
    shape = " x ".join(map(str, each["shape"]))
    cells = [_marked(each["relative"]), _number(each["cosine"], ".6f"), values, *ranks]
    return [each["name"], shape, *cells]


def _number(value: float | None, form: str = ".6f") -> str:
    return "-" if value is None else format(value, form)


def _missing(results: Record) -> list[str]:
    lines = []
    for key, words in (("only_base", "base"), ("only_finetuned", "fine-tuned model")):
        if names := results[key]:
            lines.append(f"Only in the {words} ({len(names)}): {_few(names)}")
    for name, a, b in results["reshaped"]:
        lines.append(f"Another shape: {name}, {list(a)} and {list(b)}")
    return ["", *lines] if lines else []


def _few(names: list[str]) -> str:
    return ", ".join(names[:6]) + (" ..." if len(names) > 6 else "")
