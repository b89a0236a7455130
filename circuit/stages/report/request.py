"""The request of ``circuit report``."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from circuit.values.requests import argument, option


@dataclass(frozen=True, kw_only=True)
class ReportRequest:
    """Join the artifacts of a run in one page: what was found, how sure, and from which files.

    The page loads nothing from anywhere, so it can be sent, kept and read on a phone. Of a folder,
    every artifact in it is shown, and the pictures of visualize in the folders below it.

    Examples:
      circuit report . -o run.html
      circuit report analysis.json directions.json -o layers.html --json
    """

    COMMAND: ClassVar[str] = "circuit.stages.report.report:REPORT"

    paths: tuple[Path, ...] = argument(
        help="Artifacts of probes run, analyze, directions, steer, visualize, or folders of them."
    )
    output: Path = option("--output", "-o", help="The page: one HTML file.")
    force: bool = option("--force", help="Replace output that exists.", default=False)
