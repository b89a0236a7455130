"""What a file says of a probe's held-out scores; the keys of a probe at a layer, or of a baseline.

Estimates are (value, low, high) with the ends of the 95 % interval.
"""

from dataclasses import dataclass

from circuit.present.document import Estimate
from circuit.values.intervals import Interval


@dataclass(frozen=True, kw_only=True)
class ProbeScore:
    """Held-out scores of one probe: see ``methods.probes.probing``."""

    auroc: Interval
    shuffled: Interval
    p: float | None
    balanced_accuracy: Interval
    accuracy: float
    majority: float
    chance_balanced_accuracy: float
    log_loss: Interval
    log_loss_of_frequencies: float
    brier: Interval
    calibration_error: Interval
    calibration_error_by_chance: Interval
    calibration_bins: int
    n: int
    n_groups: int
    least_groups: int
    n_classes: int
    n_over_d: float
    n_folds: int
    n_shuffles: int
    regularisation: list[float]


@dataclass(frozen=True, kw_only=True)
class StarredScore(ProbeScore):
    """A probe's scores, and whether they are significant (``methods.probes.verdict``)."""

    significant: bool

    def cell(self, form: str = ".2f") -> Estimate:
        """Return the AUROC with its interval, starred where it is significant."""
        return Estimate.of(self.auroc, form, marked=self.significant)

    def value(self, form: str = ".2f") -> Estimate:
        """Return the AUROC alone, starred where it is significant."""
        return Estimate(self.auroc[0], form=form, marked=self.significant)


@dataclass(frozen=True, kw_only=True)
class EmergenceResamples:
    """Where a question becomes readable on resampled groups: median, interval, share of none."""

    median: int | None
    interval_90: tuple[int | None, int | None]
    never: float


@dataclass(frozen=True, kw_only=True)
class EmergenceEntry(EmergenceResamples):
    """Where a question becomes readable: see ``methods.uncertainty.emergence``."""

    layer: int | None
