"""The request of ``circuit visualize``."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from circuit.stages.options import SeedOptions
from circuit.values.requests import group, option


@dataclass(frozen=True, kw_only=True)
class VisualizeRequest:
    """Draw what analyze and directions found, each picture with its numbers in JSON beside it.

    With --report, draw a battery of probes: the stratigraphy, and a panel for each probe; or what
    steering did: the share of answers that meet the criterion at each strength, with random
    directions.

    Examples:
      circuit visualize -a activations.safetensors -o pictures
      circuit visualize -a activations.safetensors -o layers --pca --layer 0,-1
      circuit visualize --report report.json -o battery_pictures
      circuit visualize --report trial.json -o steering_pictures
    """

    COMMAND: ClassVar[str] = "circuit.stages.figures.visualize:COMMAND"

    output: Path = option("--output", "-o", help="Folder for the pictures and their numbers.")
    activations: Path | None = option(
        "--activations", "-a", help="Archive of activations, from collect.", default=None
    )
    report: Path | None = option(
        "--report", help="What probes run or steer wrote, instead of an archive.", default=None
    )
    layers: str | None = option(
        "--layers",
        "--layer",
        help="Layers of the PCA and UMAP pictures.",
        default=None,
        shown_default="the directions' best layer, else the last",
    )
    pca: bool = option("--pca", help="Principal components and spectrum.", default=False)
    umap: bool = option("--umap", help="UMAP by label and category.", default=False)
    probes: bool = option(
        "--probes", help="Held-out probe scores along the layers, and CKA.", default=False
    )
    directions: bool = option(
        "--directions", help="Quality, projections and cosines.", default=False
    )
    everything: bool = option("--all", help="All of these, as when none is named.", default=False)
    analysis: Path | None = option(
        "--analysis",
        help="Results of analyze.",
        default=None,
        shown_default="analysis.json beside -a",
    )
    direction_file: Path | None = option(
        "--direction-file",
        help="Directions to draw.",
        default=None,
        shown_default="directions.safetensors beside -a",
    )
    site: str | None = option("--site", help="One site of the archive.", default=None)
    position: str | None = option("--position", help="One position of the archive.", default=None)
    folds: int = option(
        "--folds", help="Folds of the cross-validation, by group.", default=5, minimum=2
    )
    threshold: float = option("--threshold", help="Line in the plot of the probes.", default=0.75)
    seed: SeedOptions = group(SeedOptions)
    force: bool = option("--force", help="Replace output that exists.", default=False)
