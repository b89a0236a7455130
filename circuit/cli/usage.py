"""Usage errors that typer finds by itself, in the form of our own: one sentence, and a hint."""

from typing import Any

from circuit.errors import UsageError
from circuit.values.requests import parameters


def usage_error(problem: Any) -> UsageError:
    """Make of click's error (unknown option, missing option, extra argument, wrong value) one of ours."""
    command = problem.ctx.command_path if problem.ctx is not None else "circuit"
    message = problem.format_message().rstrip(".")
    message = message[:1].lower() + message[1:]
    kind = type(problem).__name__
    hints = {
        "NoSuchOption": _similar(problem, command),
        "MissingParameter": _described(problem, command),
        "UsageError": _named(problem, command),
    }
    hint = hints.get(kind, f"`{command} --help` describes each option")
    return UsageError(_CODES.get(kind, "usage"), message, hint=hint, command=command)


_CODES = {
    "NoSuchOption": "unknown-option",
    "MissingParameter": "missing-option",
    "BadParameter": "bad-value",
    "NoArgsIsHelpError": "no-arguments",
}


def _similar(problem: Any, command: str) -> str:
    close = getattr(problem, "possibilities", None)
    if close:
        return f"did you mean {' or '.join(sorted(close))}?"
    return f"`{command} --help` lists the options"


def _described(problem: Any, command: str) -> str:
    param = getattr(problem, "param", None)
    text = getattr(param, "help", None)
    if param is None or not param.opts or not text:
        return f"`{command} --help` describes each option"
    return f"`{param.opts[0]}`: {text}"


def _named(problem: Any, command: str) -> str:
    """Say how an argument without a name is written, where a request says which option it is."""
    request = getattr(getattr(problem.ctx, "command", None), "request", None)
    if "extra argument" in problem.message and request is not None:
        for each in parameters(request):
            if each.option.unnamed:
                names = " or ".join(each.option.names)
                return f"options have names: write {names} before it ({each.option.help})"
    return f"options have names: see `{command} --help`"
