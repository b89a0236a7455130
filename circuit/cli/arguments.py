"""A command line made from a request: every field with an option becomes a typer parameter.

The request's docstring is the help text; its examples keep their lines. The only option that is not
a field is ``--json``, since it changes what is printed and not what is done.
"""

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, get_args, get_origin

import typer
from typer.core import TyperCommand
from typer.main import get_command_from_info
from typer.models import CommandInfo

from circuit.cli.usage import refuse_repetition
from circuit.values.requests import Parameter, assembled, parameters

_KEYWORD = inspect.Parameter.KEYWORD_ONLY
_JSON = inspect.Parameter(
    "as_json",
    _KEYWORD,
    default=False,
    annotation=Annotated[bool, typer.Option("--json", help="Print one JSON document.")],
)
# What an option or an argument was that the command line did not know, as click says it.
UsageProblem: Any = typer.BadParameter.__mro__[1]


class RequestCommand(TyperCommand):
    """A command whose options take one value unless they say that they take several."""

    request: type[Any]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse an option that takes one value and is given twice."""
        check_words(self, ctx, args)
        return super().parse_args(ctx, args)


def check_words(command: Any, ctx: Any, words: Sequence[str]) -> None:
    """Refuse options that are repeated; an error of the parser is one of this command."""
    try:
        _, _, order = command.make_parser(ctx).parse_args(args=list(words))
    except UsageProblem as problem:
        problem.ctx = problem.ctx or ctx
        raise
    refuse_repetition(ctx, order)


def command(name: str, request: type[Any], act: Callable[[Any, bool], None]) -> TyperCommand:
    """Return a command that assembles ``request`` and calls ``act`` with it and with ``--json``."""
    info = CommandInfo(
        name=name, cls=RequestCommand, callback=_function(request, act), help=help_text(request)
    )
    made = get_command_from_info(info, pretty_exceptions_short=True, rich_markup_mode=None)
    assert isinstance(made, RequestCommand)
    made.request = request
    return made


def help_text(request: type[Any]) -> str:
    """Return the docstring of a request, each example on one line; ``\\b`` keeps them apart."""
    text = re.sub(r" \\\n\s*", " ", inspect.getdoc(request) or "")
    return text.replace("Examples:\n", "\b\nExamples:\n")


def signature(request: type[Any]) -> list[inspect.Parameter]:
    """Return the parameters of a request's command, ``--json`` last."""
    return [*map(_parameter, parameters(request)), _JSON]


def _function(request: type[Any], act: Callable[[Any, bool], None]) -> Callable[..., None]:
    def run(**values: Any) -> None:
        as_json = values.pop("as_json")
        act(assembled(request, values), as_json)

    run.__signature__ = inspect.Signature(signature(request))  # type: ignore[attr-defined]
    return run


def _parameter(each: Parameter) -> inspect.Parameter:
    described = each.option
    more: dict[str, Any] = {"help": described.help}
    more |= {} if described.minimum is None else {"min": described.minimum}
    more |= {} if described.maximum is None else {"max": described.maximum}
    more |= {} if described.shown_default is None else {"show_default": described.shown_default}
    declared = (
        typer.Argument(**more) if described.argument else typer.Option(*described.names, **more)
    )
    default = inspect.Parameter.empty if each.required else each.default
    if isinstance(default, tuple):
        default = list(default)
    kind: Any = Annotated[_typed(each.type), declared]
    return inspect.Parameter(each.name, _KEYWORD, default=default, annotation=kind)


def _typed(annotation: Any) -> Any:
    """Return the type as typer reads it: a tuple of any length is a list."""
    if get_origin(annotation) is tuple:
        return list[get_args(annotation)[0]]  # type: ignore[misc]
    return annotation
