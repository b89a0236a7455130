"""The request of ``circuit analyze``."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from circuit.stages.options import ArchiveOptions, OutputOptions, ProbeOptions, SeedOptions
from circuit.values.requests import group, option


@dataclass(frozen=True, kw_only=True)
class AnalyzeRequest:
    """Measure each layer: its geometry, and what a probe reads from it on held-out prompts.

    Probes are cross-validated with whole groups (templates) held out. Intervals are 95 % and
    count groups, not prompts. A star: the interval is above 0.5, and the p of a permutation test
    with all layers is at most 0.05.

    Examples:
      circuit analyze -a activations.safetensors
      circuit analyze -a activations.safetensors --layers 0,-1 --umap -o layers.json
      circuit analyze -a activations.safetensors --compare activations.safetensors --layer -1
    """

    COMMAND: ClassVar[str] = "circuit.stages.analyze.run:COMMAND"

    archive: ArchiveOptions = group(ArchiveOptions)
    probe: ProbeOptions = group(ProbeOptions)
    umap: bool = option(
        "--umap", help="Also lay the prompts out by UMAP; kept in the output.", default=False
    )
    compare: Path | None = option(
        "--compare",
        help="Archive of the same prompts: what moved, what still reads.",
        default=None,
    )
    threshold: float = option(
        "--threshold", help="AUROC whose first crossing is reported.", default=0.75
    )
    seed: SeedOptions = group(SeedOptions)
    output: OutputOptions = group(OutputOptions)
    n_boot: int = 1000
    n_shuffles: int = 1000
