"""The command ``circuit``: every subcommand in pipeline order, and the error boundary."""

import os
import sys

import typer
from typer.core import TyperGroup

from circuit.cli import (
    analyze,
    collect,
    concepts,
    console,
    dataset,
    directions,
    doctor,
    evaluate,
    export,
    import_,
    introspect,
    probes,
    report,
    sites,
    steer,
    verify,
    visualize,
)
from circuit.errors import CircuitError
from circuit.values.version import VERSION

PIPELINE = (
    "dataset",
    "collect",
    "analyze",
    "directions",
    "visualize",
    "probes",
    "steer",
    "evaluate",
    "concepts",
    "export",
    "import",
    "introspect",
    "report",
    "verify",
    "sites",
    "doctor",
)


class InPipelineOrder(TyperGroup):
    """List commands in the order in which a pipeline uses them, groups among them."""

    def list_commands(self, ctx: object) -> list[str]:  # noqa: ARG002
        """Return the names of all commands, first stage first."""
        return sorted(self.commands, key=PIPELINE.index)


app = typer.Typer(
    cls=InPipelineOrder,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        console.result(VERSION, f"circuit {VERSION}", as_json=False)
        raise typer.Exit


@app.callback()
def circuit(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True),
) -> None:
    """Find out what a language model represents, in which direction, and whether it uses it."""


app.add_typer(dataset.app, name="dataset")
app.command()(collect.collect)
app.command()(analyze.analyze)
app.add_typer(directions.app, name="directions")
app.command()(visualize.visualize)
app.add_typer(probes.app, name="probes")
app.add_typer(steer.app, name="steer")
app.command()(evaluate.evaluate)
app.add_typer(concepts.app, name="concepts")
app.command()(export.export)
app.command("import")(import_.import_)
app.add_typer(introspect.app, name="introspect")
app.command()(report.report)
app.command()(verify.verify)
app.command()(sites.sites)
app.command()(doctor.doctor)


def quieten() -> None:
    """Keep transformers from saying about missing packages what nobody here can mend."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")


def main() -> None:
    """Run the command line: a user's error becomes one sentence, a hint and an exit code."""
    quieten()
    console.write_any_character()
    try:
        app()
    except CircuitError as problem:
        console.error(problem)
        sys.exit(problem.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
