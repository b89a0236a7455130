"""Usage errors that typer finds by itself, in the form of ours: one sentence, and a hint.

unknown-command      the closest names, else all
unknown-option       the closest names
unexpected-argument  which option it was probably meant for (``Option.unnamed``)
missing-option, missing-argument, value-missing, bad-value   what the option takes
option-given-twice   an option that takes one value
"""

import difflib
import re
from collections.abc import Sequence
from typing import Any, get_args

from circuit.errors import UsageError
from circuit.values.requests import Parameter, parameters

KINDS = {int: "an integer", float: "a number"}


def usage_error(problem: Any) -> UsageError:
    """Make of typer's error one of ours."""
    command = "circuit" if problem.ctx is None else problem.ctx.command_path
    match type(problem).__name__:
        case "NoSuchOption":
            return _unknown_option(problem, command)
        case "MissingParameter":
            return _missing(problem, command)
        case "BadParameter" if problem.param is not None:
            return _bad_value(problem, command)
        case "BadOptionUsage":
            return _bad_usage(problem, command)
    message = problem.format_message().rstrip(".")
    if (unknown := re.fullmatch("No such command '(.*)'", message)) is not None:
        return _unknown_command(problem, command, unknown[1])
    if (extra := re.search(r"unexpected extra arguments?(?:\(s\))? \((.*)\)", message)) is not None:
        return _unexpected(problem, command, extra[1])
    return UsageError("usage", _lower(message), hint=_see(command), command=command)


def refuse_repetition(ctx: Any, order: Sequence[Any]) -> None:
    """Raise for an option that takes one value and is given twice; typer would take the last."""
    once = [
        each
        for each in order
        if not (each.multiple or each.nargs != 1 or getattr(each, "is_flag", False))
    ]
    for each in once:
        if once.count(each) > 1 and each.param_type_name == "option":
            name = each.opts[0]
            message = f"`{name}` is given {_times(once.count(each))} and takes one value"
            hint = _help(ctx, each) or _see(ctx.command_path)
            raise UsageError("option-given-twice", message, hint=hint, option=name)


def _times(n: int) -> str:
    return "twice" if n == 2 else f"{n} times"


def _unknown_command(problem: Any, command: str, name: str) -> UsageError:
    names = problem.ctx.command.list_commands(problem.ctx)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    close += [each for each in names if each.startswith(name) and each not in close]
    hint = f"did you mean {_either(close)}?" if close else f"it has {', '.join(names)}"
    message = f"`{command}` has no command `{name}`"
    return UsageError("unknown-command", message, hint=hint, command=command, name=name)


def _unknown_option(problem: Any, command: str) -> UsageError:
    name = problem.option_name
    close = sorted(problem.possibilities or [])
    hint = f"did you mean {_either(close)}?" if close else _see(command)
    message = f"`{command}` has no option `{name}`"
    return UsageError("unknown-option", message, hint=hint, command=command, option=name)


def _missing(problem: Any, command: str) -> UsageError:
    param = problem.param
    if param is None:
        message = _lower(problem.format_message().rstrip("."))
        return UsageError("missing-option", message, hint=_see(command), command=command)
    is_option = param.param_type_name == "option"
    name = f"`{param.opts[0]}`" if is_option else f"the argument {param.name.upper()}"
    code = "missing-option" if is_option else "missing-argument"
    hint = _help(problem.ctx, param) or _see(command)
    return UsageError(code, f"`{command}` needs {name}", hint=hint, command=command, option=name)


def _bad_value(problem: Any, command: str) -> UsageError:
    """Say what an option takes, where its value is of another type or out of range."""
    param = problem.param
    name = param.opts[0] if param.param_type_name == "option" else param.name.upper()
    known = _parameter(problem.ctx, param)
    cause = problem.__cause__
    if known is None or not hasattr(cause, "errors"):
        message = f"`{name}`: {_lower(problem.message.rstrip('.'))}"
        return UsageError("bad-value", message, hint=_see(command), option=name)
    value = cause.errors()[0]["input"]
    message = f"`{name}` takes {_kind(known)}, got `{value}`"
    hint = _help(problem.ctx, param) or _see(command)
    return UsageError("bad-value", message, hint=hint, option=name, value=value)


def _bad_usage(problem: Any, command: str) -> UsageError:
    name = problem.option_name
    if "requires" not in problem.message:
        message = f"`{name}` takes no value"
        return UsageError("value-given", message, hint=f"write `{name}` alone", option=name)
    given = [] if problem.ctx is None else problem.ctx.command.params
    param = next((each for each in given if name in [*each.opts, *each.secondary_opts]), None)
    hint = (None if param is None else _help(problem.ctx, param)) or _see(command)
    return UsageError("value-missing", f"`{name}` needs a value", hint=hint, option=name)


def _unexpected(problem: Any, command: str, words: str) -> UsageError:
    """Say how an argument without a name is written, where a request says which option it is."""
    message = f"`{command}` takes no argument `{words}`"
    hint = f"values have names here, such as `--model tiny`: {_see(command)}"
    for each in _options(problem.ctx):
        if each.option.unnamed:
            value = words if " " not in words else f'"{words}"'
            hint = f"write `{each.option.names[0]} {value}` ({each.option.help.rstrip('.')})"
    return UsageError("unexpected-argument", message, hint=hint, command=command, words=words)


def _options(ctx: Any) -> list[Parameter]:
    request = getattr(getattr(ctx, "command", None), "request", None)
    return [] if request is None else parameters(request)


def _parameter(ctx: Any, param: Any) -> Parameter | None:
    return next((each for each in _options(ctx) if each.name == param.name), None)


def _kind(known: Parameter) -> str:
    """Say what an option takes: an integer from 0 to 5, a number of at least 1."""
    types = [known.type, *get_args(known.type)]
    kind = next((KINDS[each] for each in types if each in KINDS), "another value")
    low, high = known.option.minimum, known.option.maximum
    if low is not None and high is not None:
        return f"{kind} from {low:.10g} to {high:.10g}"
    if low is not None:
        return f"{kind} of at least {low:.10g}"
    return kind if high is None else f"{kind} of at most {high:.10g}"


def _help(ctx: Any, param: Any) -> str:
    """Return the description of an option, from its request or from typer."""
    known = _parameter(ctx, param)
    text = getattr(param, "help", None) if known is None else known.option.help
    names = ", ".join(f"`{name}`" for name in param.opts if name.startswith("-"))
    return f"{names}: {text.rstrip('.')}" if text and names else (text or "").rstrip(".")


def _either(names: Sequence[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return " or ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)


def _see(command: str) -> str:
    return f"`{command} --help` describes its options"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
