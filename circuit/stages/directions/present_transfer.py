"""What ``directions transfer`` finds, and its document."""

from dataclasses import dataclass

from circuit.present.document import Cell, Document, Estimate, Facts, Number, Table
from circuit.present.numbers import in_groups


@dataclass(frozen=True, kw_only=True)
class TransferredDirection:
    """One direction on the rows of the other archive; ``at_home`` is its own held-out AUROC."""

    name: str
    layer: int
    method: str | None
    auroc: list[float]
    d_prime: float | None
    shuffled: list[float]
    p: float | None
    p_any: float | None
    at_home: list[float] | None


@dataclass(frozen=True, kw_only=True)
class TransferResult:
    """Every direction scored on the prompts that were not used for fitting."""

    file: str
    archive: str
    site: str
    position: str
    positive_label: str
    negative_label: str
    n: int
    n_groups: int
    n_left_out: int
    overlap_known: bool
    n_shuffles: int
    seed: int
    directions: list[TransferredDirection]


def present(result: TransferResult) -> Document:
    """Show how each direction scores on the prompts of another archive."""
    size = in_groups(result.n, result.n_groups)
    if not result.overlap_known:
        note = f"{size}; whether they were used for fitting is unknown"
    elif result.n_left_out:
        note = f"{size}; {result.n_left_out} prompts that were used for fitting are left out"
    else:
        note = f"{size}; none of these prompts was used for fitting"
    header = ["direction", "layer", "AUROC", "shuffled", "p", "p_any", "d′", "at home"]
    facts: list[tuple[str, Cell]] = [
        ("Archive", result.archive),
        ("Labels", f"{result.negative_label} -> {result.positive_label}"),
        ("Place", f"{result.site} at `{result.position}`"),
    ]
    rows = [_row(each) for each in result.directions]
    return Document("Transfer", [Facts(facts), Table(header=header, rows=rows, note=note)])


def _row(each: TransferredDirection) -> list[Cell]:
    return [
        each.name,
        str(each.layer),
        Estimate.of(each.auroc, ".3f"),
        Estimate.of(each.shuffled),
        Number(each.p),
        Number(each.p_any),
        Number(each.d_prime, ".2f"),
        Number(None if each.at_home is None else each.at_home[0]),
    ]
