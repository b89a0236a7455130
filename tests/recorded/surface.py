"""The command line's surface: every option of every command, with default, bounds and choices.

``python -m recorded.surface`` prints it as JSON, one command a line.
"""

import enum
import json
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import typer
import typer.core
import typer.main


def options() -> dict[str, dict[str, Any]]:
    """Return for each command, by its words, a table of its options and arguments."""
    from circuit.cli.app import app

    return {
        " ".join(words): {name: entry for each in command.params for name, entry in described(each)}
        for words, command in commands(whole(app))
    }


def whole(app: Any) -> Any:
    """Return the command ``circuit``: a typer app before the rebuild, a function that makes it since."""
    return typer.main.get_command(app) if isinstance(app, typer.Typer) else app()


def commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the words and the command of every group and verb."""
    yield words, command
    children = dict(getattr(command, "commands", {}))
    if not children and hasattr(command, "list_commands"):
        children = {name: command.get_command(None, name) for name in command.list_commands(None)}
    for word, child in sorted(children.items()):
        yield from commands(child, (*words, word))


def described(parameter: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each spelling of a parameter with what it takes; what is usual is left out."""
    is_argument = isinstance(parameter, typer.core.TyperArgument)
    default = parameter.default
    entry = {
        "kind": "argument" if is_argument else kind(parameter),
        "required": parameter.required,
        "default": default.value if isinstance(default, enum.Enum) else default,
        "min": parameter.min,
        "max": parameter.max,
        "choices": choices(parameter),
        "multiple": getattr(parameter, "multiple", False),
        "nargs": None if parameter.nargs == 1 else parameter.nargs,
    }
    entry = {name: value for name, value in entry.items() if is_said(name, value)}
    names = [parameter.name] if is_argument else [*parameter.opts, *parameter.secondary_opts]
    for name in names:
        off = {"turns": "off"} if name in parameter.secondary_opts else {}
        yield name, json.loads(json.dumps(entry | off, default=str))


def is_said(name: str, value: Any) -> bool:
    """Leave out what most options share, but not the default of a flag or a 0."""
    return value not in (None, [], ()) and (value is not False or name == "default")


def kind(parameter: Any) -> str:
    """Return what an option takes: nothing, a number or a text."""
    if getattr(parameter, "is_flag", False):
        return "flag"
    name = getattr(parameter.type_descriptor.annotation, "__name__", "")
    return name if name in ("int", "float") else "text"


def choices(parameter: Any) -> list[str]:
    """Return the values that an option is limited to."""
    annotation = parameter.type_descriptor.annotation
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return [str(each.value) for each in annotation]
    return [str(each) for each in get_args(annotation)] if get_origin(annotation) is Literal else []


if __name__ == "__main__":
    entries = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in options().items()]
    print("{\n" + ",\n".join(entries) + "\n}")
