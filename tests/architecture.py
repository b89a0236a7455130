"""How the package stands, as numbers: ``python -m tests.architecture`` prints them, ``test_architecture`` holds the bounds.

Imports are read from the source, function-local and ``TYPE_CHECKING`` ones included.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parents[1] / "circuit"
Graph = Mapping[str, set[str]]


class Function(NamedTuple):
    """A function with its place, its length in lines and how many parameters it has."""

    place: str
    lines: int
    parameters: int


def sources() -> list[Path]:
    """Return every Python file of the package."""
    return sorted(PACKAGE.rglob("*.py"))


@cache
def tree(path: Path) -> ast.Module:
    """Parse a file once."""
    return ast.parse(path.read_text())


def module(path: Path) -> str:
    """Return the dotted name of a file."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> Iterator[tuple[str, str | None]]:
    """Yield what a file imports: a module, and the name that is taken from it."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((str(node.module), alias.name) for alias in node.names)


def files() -> dict[str, set[str]]:
    """Return which file of the package imports which."""
    known = {module(path) for path in sources()}
    graph: dict[str, set[str]] = {}
    for path in sources():
        here = module(path)
        found = {
            whole if (whole := f"{source}.{name}") in known else source
            for source, name in imported(path)
        }
        graph[here] = (found & known) - {here}
    return graph


def folders() -> dict[str, set[str]]:
    """Return which folder imports from which; a file directly in ``circuit`` counts as a folder."""
    packages = {module(path) for path in sources() if path.name == "__init__.py"}

    def folder(name: str) -> str:
        alone = name in packages or name.count(".") == 1
        return name if alone else name.rpartition(".")[0]

    graph: dict[str, set[str]] = {}
    for here, found in files().items():
        graph.setdefault(folder(here), set()).update(map(folder, found))
    return {name: found - {name} for name, found in graph.items()}


def circle(graph: Graph) -> list[str]:
    """Return the nodes of one circle, or nothing."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def functions() -> list[Function]:
    """Return every function and method."""
    found = []
    for path in sources():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                arguments = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                place = f"{path.relative_to(PACKAGE.parent)}:{node.lineno} {node.name}"
                found.append(Function(place, lines, len(arguments)))
    return found


def lines() -> list[str]:
    """Return every line of every file."""
    return [line for path in sources() for line in path.read_text().splitlines()]


def untyped(line: str) -> bool:
    """Say whether a line gives something the type ``Any``."""
    return re.search(r"\bAny\b", line) is not None and "import" not in line


def measured() -> dict[str, int]:
    """Return the numbers that the house is judged by."""
    every, written = functions(), lines()
    return {
        "circles between files": len(circle(files())),
        "circles between folders": len(circle(folders())),
        "functions over 60 lines": sum(f.lines > 60 for f in every),
        "functions with more than 12 parameters": sum(f.parameters > 12 for f in every),
        "lines over 100 columns": sum(len(line) > 100 for line in written),
        "lines with Any, imports aside": sum(map(untyped, written)),
        "files in circuit/stages": len(list((PACKAGE / "stages").glob("*.py"))),
        "files circuit/cli/*_text.py": len(list((PACKAGE / "cli").glob("*_text.py"))),
        "Python files": len(sources()),
        "lines of Python": len(written),
    }


def table(numbers: Mapping[str, int]) -> Iterable[str]:
    """Lay the numbers out."""
    return (f"{name:<40} {number:>7,}" for name, number in numbers.items())


if __name__ == "__main__":
    print("\n".join(table(measured())))
