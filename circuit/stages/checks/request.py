"""The requests of ``circuit verify``, ``sites`` and ``doctor``."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from circuit.stages.options import DTYPE, REVISION, ModelOptions
from circuit.values.requests import argument, group, option


@dataclass(frozen=True, kw_only=True)
class VerifyRequest:
    """Report which files of a chain are ok, changed, missing or stale.

    Follows the inputs and outputs of every manifest. Exits with 1 unless all are ok.

    Examples:
      circuit verify directions.json
      circuit verify activations.safetensors analysis.json --json
    """

    COMMAND: ClassVar[str] = "circuit.stages.checks.verify:VERIFY"

    paths: list[Path] = argument(help="Artifacts, their stems, or folders of them.")


@dataclass(frozen=True, kw_only=True)
class SitesRequest:
    """List what can be collected from a model: each site, its shape for one token, and its module.

    Examples:
      circuit sites -m tiny
      circuit sites -m tiny --json
    """

    COMMAND: ClassVar[str] = "circuit.stages.checks.sites:SITES"

    model: ModelOptions = group(ModelOptions)


@dataclass(frozen=True, kw_only=True)
class DoctorRequest:
    """Report what this machine offers, how fast it is, and whether a model passes a self-test.

    Examples:
      circuit doctor
      circuit doctor -m tiny
    """

    COMMAND: ClassVar[str] = "circuit.stages.checks.doctor:DOCTOR"

    model: str | None = option(
        "--model", "-m", help="Also test this model: id, folder or tiny.", default=None
    )
    revision: str | None = option("--revision", help=REVISION, default=None)
    dtype: str = option(
        "--dtype",
        help=DTYPE,
        default="auto",
    )
