"""What ``circuit introspect patch`` prints: the pairs, the strongest cells of each grid, and estimates beside effects."""

from typing import Any

from circuit.cli import console
from circuit.cli.figures_text import claim

TOP = 8  # cells of a grid that are printed; all are in the file


def patching_text(results: dict[str, Any]) -> str:
    """Lay out a patching."""
    used = [pair for pair in results["pairs"] if pair["is_used"]]
    lines = [
        f"Activation patching of `{results['model']}`: {len(used)} of {len(results['pairs'])} pairs, "
        f"{len(results['positions'])} positions, {results['format']}"
    ]
    if results["n_excluded"]:
        lines.append(
            f"{results['n_excluded']} pairs show no difference in the logits and are left out"
        )
    lines += [line for pair in used[:3] for line in _pair(pair)]
    if len(used) > 3:
        lines.append(f"… and {len(used) - 3} more pairs")
    if results["method"] == "attribution":
        lines += ["", "Effects are estimates from one gradient; the largest are verified below."]
    for grid in results["grids"]:
        lines += ["", *_grid(grid, results["positions"])]
    for direction, correlation in results["rank_correlation"].items():
        lines += ["", *_checked(results, direction, correlation)]
    return "\n".join([*lines, "", *claim(results["n_groups"], "pair")]).rstrip()


def _pair(pair: dict[str, Any]) -> list[str]:
    return [
        f"  clean   {pair['clean']!r}: {pair['answer']!r} over {pair['wrong']!r} by {pair['clean_difference']:+.3f} logits",
        f"  corrupt {pair['corrupt']!r}: {pair['corrupt_difference']:+.3f}",
    ]


def _grid(grid: dict[str, Any], positions: list[int]) -> list[str]:
    verb = {"denoising": "brings back", "noising": "takes away"}[grid["direction"]]
    cells = [
        (value, k, column)
        for k, row in enumerate(grid["effect"])
        for column, value in enumerate(row)
    ]
    strongest = sorted(cells, key=lambda cell: -abs(cell[0]))[:TOP]
    rows = [
        [f"L{grid['layers'][k]}", _where(grid, c, positions), _with_interval(grid, k, c)]
        for value, k, c in strongest
        if value
    ]
    title = f"{grid['component']}, {grid['direction']}: what share of the difference it {verb}"
    if not rows:
        return [title, "  nothing has an effect"]
    heads = "head" if grid["component"] == "heads" else "token"
    return [title, console.table(["layer", heads, "effect"], rows)]


def _with_interval(grid: dict[str, Any], k: int, column: int) -> str:
    value = grid["effect"][k][column]
    if grid["low"] is None:
        return f"{value:+.3f}"
    return f"{value:+.3f} [{grid['low'][k][column]:+.3f}, {grid['high'][k][column]:+.3f}]"


def _where(grid: dict[str, Any], column: int, positions: list[int]) -> str:
    name = grid["columns"][column]
    if grid["component"] == "heads" or name == str(positions[column]):
        return str(name)
    return f"{name!r} ({positions[column]})"


def _checked(results: dict[str, Any], direction: str, correlation: float | None) -> list[str]:
    grids = {grid["component"]: grid for grid in results["grids"]}
    rows = [
        [
            f"{one['component']} L{one['layer']}",
            _where(grids[one["component"]], one["column"], results["positions"]),
            f"{one['estimate']:+.3f}",
            f"{one['effect']:+.3f}",
        ]
        for one in results["checked"]
        if one["direction"] == direction
    ]
    ranks = "cannot be computed" if correlation is None else f"{correlation:.2f}"
    return [
        f"The largest estimates of {direction}, verified by patching (rank correlation {ranks}):",
        console.table(["component", "where", "estimate", "effect"], rows),
    ]
