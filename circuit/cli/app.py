"""The command ``circuit``: every subcommand, made from its request, and the error boundary.

A command is named here with the request that it takes (``module:Class``); ``circuit.cli.arguments``
makes its options of the request's fields, and ``circuit.stages.run`` runs it. A module is imported
when its command is named, or when its help is shown: ``circuit --help`` imports requests only. The
questions of ``circuit introspect`` are the files of ``circuit.introspect.questions``.
"""

import importlib
import os
import pkgutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command_from_info
from typer.models import CommandInfo

from circuit.cli import console
from circuit.cli.arguments import UsageProblem, check_words, command
from circuit.cli.perform import perform
from circuit.cli.usage import usage_error
from circuit.errors import CircuitError, UsageError
from circuit.values.version import VERSION

Table = Mapping[str, "str | Table"]
QUESTIONS = "circuit.introspect.questions"


def questions() -> dict[str, str]:
    """Return the questions of ``circuit introspect``: the files of a folder, by name."""
    folder = importlib.import_module(QUESTIONS)
    names = sorted(found.name for found in pkgutil.iter_modules(folder.__path__))
    return {name.replace("_", "-"): f"{QUESTIONS}.{name}:COMMAND" for name in names}


# A group with the verb "" does something by itself, too.
STEER: Table = {
    "": "circuit.stages.steering.request:SteerRequest",
    "calibrate": "circuit.stages.steering.request:CalibrateRequest",
    "select": "circuit.stages.sweep.request:SelectRequest",
    "sweep": "circuit.stages.sweep.request:SweepRequest",
    "specificity": "circuit.stages.sweep.request:SpecificityRequest",
    "table": "circuit.stages.sweep.request:TableRequest",
}
COMMANDS: Table = {
    "dataset": {
        "create": "circuit.stages.dataset.request:CreateRequest",
        "sets": "circuit.stages.dataset.request:SetsRequest",
        "list": "circuit.stages.dataset.request:ListRequest",
        "show": "circuit.stages.dataset.request:ShowRequest",
        "import": "circuit.stages.dataset.request:ImportRequest",
        "split": "circuit.stages.dataset.request:SplitRequest",
        "check": "circuit.stages.dataset.request:CheckRequest",
    },
    "collect": "circuit.stages.collect.request:CollectRequest",
    "analyze": "circuit.stages.analyze.request:AnalyzeRequest",
    "directions": {
        "": "circuit.stages.directions.request:DirectionsRequest",
        "compare": "circuit.stages.directions.request:CompareRequest",
        "show": "circuit.stages.directions.request:ShowRequest",
        "transfer": "circuit.stages.directions.request:TransferRequest",
    },
    "visualize": "circuit.stages.figures.request:VisualizeRequest",
    "probes": {
        "init": "circuit.stages.probes.request:InitRequest",
        "list": "circuit.stages.probes.request:ListRequest",
        "run": "circuit.stages.probes.request:RunRequest",
        "apply": "circuit.stages.probes.request:ApplyRequest",
    },
    "steer": STEER,
    "evaluate": "circuit.stages.evaluate.request:EvaluateRequest",
    "concepts": {
        "build": "circuit.stages.concepts.request:BuildRequest",
        "list": "circuit.stages.concepts.request:ListRequest",
        "try": "circuit.stages.concepts.request:TryRequest",
        "scan": "circuit.stages.concepts.request:ScanRequest",
        "create": "circuit.stages.concepts.request:CreateRequest",
        "remove": "circuit.stages.concepts.request:RemoveRequest",
    },
    "export": "circuit.stages.exchange.request:ExportRequest",
    "import": "circuit.stages.exchange.request:ImportRequest",
    "introspect": {"steer": STEER},  # and the files of ``QUESTIONS``
    "report": "circuit.stages.report.request:ReportRequest",
    "verify": "circuit.stages.checks.request:VerifyRequest",
    "sites": "circuit.stages.checks.request:SitesRequest",
    "doctor": "circuit.stages.checks.request:DoctorRequest",
}
HELP = {
    "dataset": "Make, read, check and divide prompt sets.",
    "probes": "Find the layers at which questions about the prompt become readable.",
    "concepts": "Vectors of seventeen concepts (moods, styles, voices) and your own.",
    "introspect": "Ask one question about a model: what it predicts early, what it needs.",
}


class LazyGroup(TyperGroup):
    """A group that imports a command when it is named."""

    def __init__(self, *, table: Table, **attributes: Any) -> None:
        super().__init__(rich_markup_mode=None, **attributes)
        self.table = table

    def list_commands(self, ctx: object) -> list[str]:  # noqa: ARG002
        """Return the names of all commands, first stage first."""
        return [name for name in self.table if name]

    def get_command(
        self,
        ctx: object,  # noqa: ARG002
        cmd_name: str,
    ) -> TyperCommand | TyperGroup | None:
        """Make the command of this name."""
        place = self.table.get(cmd_name) if cmd_name else None
        return None if place is None else made(cmd_name, place)


class WorksWithoutAVerb(LazyGroup):
    """A group whose own options are those of its work: before a verb none of them may stand."""

    def __init__(self, *, request: type[Any], **attributes: Any) -> None:
        super().__init__(**attributes)
        self.request = request

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Require the group's own options only where no verb comes first, even a misspelt one."""
        ctx.resilient_parsing = bool(args) and not args[0].startswith("-")
        verb_first = ctx.resilient_parsing
        if not verb_first:
            check_words(self, ctx, args)
        try:
            rest = super().parse_args(ctx, args)
        finally:
            ctx.resilient_parsing = False
        verb = next(iter(ctx._protected_args), None)
        if verb_first:
            self.callback = None
        elif verb is not None:
            message = f"options of `{ctx.command_path}` stand before its verb `{verb}`"
            hint = f"{ctx.command_path} {verb} --help"
            raise UsageError("options-before-verb", message, hint=hint, verb=verb)
        return rest


def made(name: str, place: str | Table) -> TyperCommand | TyperGroup:
    """Make the command or the group of a name."""
    if isinstance(place, str):
        return command(name, request_at(place), perform)
    if "" not in place:
        return LazyGroup(name=name, table=place, help=HELP[name], no_args_is_help=True)
    own = place[""]
    assert isinstance(own, str)
    request = request_at(own)
    work = command(name, request, perform)
    return WorksWithoutAVerb(
        request=request,
        name=name,
        table=place,
        help=work.help,
        params=work.params,
        callback=work.callback,
        invoke_without_command=True,
    )


def request_at(place: str) -> type[Any]:
    """Import the request at ``module:Class``, or that of the command at ``module:COMMAND``."""
    module, _, attribute = place.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    kind = found if isinstance(found, type) else found.request
    assert isinstance(kind, type)
    return kind


def _print_version(wanted: bool) -> None:
    if wanted:
        console.result(VERSION, f"circuit {VERSION}", as_json=False)
        raise typer.Exit


def circuit(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True),
) -> None:
    """Find out what a language model represents, in which direction, and whether it uses it."""


def app() -> LazyGroup:
    """Return the whole command."""
    info = CommandInfo(name="circuit", callback=circuit)
    root = get_command_from_info(info, pretty_exceptions_short=True, rich_markup_mode=None)
    introspect: Table = {**questions(), "steer": STEER}
    return LazyGroup(
        name="circuit",
        table={**COMMANDS, "introspect": introspect},
        help=root.help,
        params=root.params,
        callback=root.callback,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def quieten() -> None:
    """Keep transformers from saying about missing packages what nobody here can mend."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code; a user's error is a ``CircuitError``."""
    try:
        code = app().main(arguments, prog_name="circuit", standalone_mode=False)
    except UsageProblem as problem:
        if type(problem).__name__ == "NoArgsIsHelpError":
            console.note(problem.format_message())
            return 2
        raise usage_error(problem) from problem
    return code if isinstance(code, int) else 0


def main() -> None:
    """Run the command line: a user's error becomes one sentence, a hint and an exit code."""
    quieten()
    console.write_any_character()
    try:
        code = run()
    except CircuitError as problem:
        console.error(problem)
        code = problem.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    sys.exit(code)
