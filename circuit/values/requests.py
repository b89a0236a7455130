"""Requests: what a command is asked to do, as a frozen dataclass whose fields carry their options.

    @dataclass(frozen=True, kw_only=True)
    class LayerRequest:
        '''Compare what a model holds for several prompts.'''
        model: ModelOptions = group(ModelOptions)
        labels: str | None = option("--labels", "-l", help="A label for each prompt.", default=None)

The command line (``circuit.cli.arguments``) and Python callers use the same class: its docstring is
the help text, its fields are the options. A field that is a ``group`` is a dataclass of options
that several commands share; its options stand in the command line like the request's own. Names of
options are unique within a request.
"""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, TypeVar

R = TypeVar("R")


@dataclass(frozen=True)
class Option:
    """How a field is written on the command line; an ``argument`` stands there without a name."""

    names: tuple[str, ...]
    help: str
    minimum: float | None = None
    maximum: float | None = None
    shown_default: str | None = None  # where the default depends on the model or the machine
    argument: bool = False
    unnamed: bool = False  # what an argument without a name was probably meant for


@dataclass(frozen=True)
class Parameter:
    """One option of a request: the path of fields that leads to it, its type and its default."""

    path: tuple[str, ...]
    option: Option
    type: Any
    default: Any

    @property
    def name(self) -> str:
        """The name of the field itself."""
        return self.path[-1]

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.default is MISSING


def option(
    *names: str,
    help: str,  # noqa: A002
    default: Any = MISSING,
    minimum: float | None = None,
    maximum: float | None = None,
    shown_default: str | None = None,
    unnamed: bool = False,
) -> Any:
    """Declare a field that is an option; without ``default`` it is required."""
    described = Option(names, help, minimum, maximum, shown_default, unnamed=unnamed)
    return field(default=default, metadata={"option": described})


def argument(*, help: str, default: Any = MISSING) -> Any:  # noqa: A002
    """Declare a field that is a positional argument."""
    return field(default=default, metadata={"option": Option((), help, argument=True)})


def group(kind: type[R], **defaults: Any) -> Any:
    """Declare a field that is a group of options, with other ``defaults`` than the group's own."""
    required = any(p.required and p.name not in defaults for p in parameters(kind))
    metadata = {"group": (kind, defaults)}
    if required:
        return field(metadata=metadata)
    return field(default_factory=lambda: kind(**defaults), metadata=metadata)


def parameters(kind: type[Any]) -> list[Parameter]:
    """Return every option of a request, those of its groups in the place of the group."""
    return list(_parameters(kind, (), {}))


def _parameters(
    kind: type[Any], path: tuple[str, ...], defaults: Mapping[str, Any]
) -> Iterator[Parameter]:
    for each in fields(kind):
        here = (*path, each.name)
        if "group" in each.metadata:
            inner, given = each.metadata["group"]
            yield from _parameters(inner, here, given)
        elif "option" in each.metadata:
            default = defaults.get(each.name, _default(each))
            yield Parameter(here, each.metadata["option"], each.type, default)


def _default(each: "Field[Any]") -> Any:
    return each.default if each.default_factory is MISSING else each.default_factory()


def assembled(kind: type[R], values: Mapping[str, Any]) -> R:
    """Make a request of the values of its options, by field name."""
    made: dict[str, Any] = {}
    for each in fields(kind):  # type: ignore[arg-type]
        if "group" in each.metadata:
            made[each.name] = assembled(each.metadata["group"][0], values)
        elif "option" in each.metadata and each.name in values:
            made[each.name] = values[each.name]
    return kind(**made)
