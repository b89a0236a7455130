"""Every error that a user can meet, as the source says it: ``python -m tests.sentences`` writes ``sentences.txt``.

A block for each raise: code, class, the sentence and the hint with what is filled in in braces. The file is there to be read: is each
sentence plain, does it say what and where, does the hint say what to do? ``test_sentences`` holds it against the source.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parents[1] / "circuit"
GOLDEN = Path(__file__).with_name("sentences.txt")
ERRORS = ("UsageError", "DataError", "ArtifactError", "ModelError", "StoppedError")
HEADER = "Every error of circuit by its code. Written by `python -m tests.sentences`.\n"


class Sentence(NamedTuple):
    """One way to go wrong."""

    code: str
    error: str
    message: str
    hint: str
    place: str


def sentences() -> list[Sentence]:
    """Return what every raise of the package says, by code."""
    found = [each for path in sorted(PACKAGE.rglob("*.py")) for each in _of_file(path)]
    return sorted(found, key=lambda each: each[:4])


def _of_file(path: Path) -> Iterator[Sentence]:
    tree = ast.parse(path.read_text())
    owner = {
        child: node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) in ERRORS and node.args:
            scope = owner.get(node, tree)
            arguments = [_text(each, scope, node.lineno) for each in node.args]
            named = {each.arg: each.value for each in node.keywords}
            hint = _text(named["hint"], scope, node.lineno) if "hint" in named else ""
            code, message = arguments if len(arguments) == 2 else ("", arguments[0])
            place = f"{path.relative_to(PACKAGE.parent)}:{node.lineno}"
            yield Sentence(code, str(getattr(node.func, "id", "")), message, hint, place)


def _text(node: ast.expr, scope: ast.AST, line: int) -> str:
    """Return the text of an expression; a name stands for what was last assigned to it above ``line``."""
    match node:
        case ast.Constant(value=str() as text):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_text(part, scope, line) for part in parts)
        case ast.FormattedValue(value=value):
            return f"{{{ast.unparse(value)}}}"
        case ast.IfExp(body=one, orelse=other):
            return f"{_text(one, scope, line)} / {_text(other, scope, line)}"
        case ast.BinOp(left=one, op=ast.Add(), right=other):
            return _text(one, scope, line) + _text(other, scope, line)
        case ast.Name(id=name):
            before = [
                each
                for each in ast.walk(scope)
                if isinstance(each, ast.Assign)
                and each.lineno < line
                and any(getattr(target, "id", None) == name for target in each.targets)
            ]
            if before:
                return _text(max(before, key=lambda each: each.lineno).value, scope, line)
    return f"{{{ast.unparse(node)}}}"


def golden() -> str:
    """Return what the file has to say; the same sentence from several places stands once."""
    blocks = dict.fromkeys(each[:4] for each in sentences())
    lines = [
        f"{code} ({error})\n  {message}\n" + (f"  hint: {hint}\n" if hint else "")
        for code, error, message, hint in blocks
    ]
    return "\n".join([HEADER, *lines])


if __name__ == "__main__":
    GOLDEN.write_text(golden())
